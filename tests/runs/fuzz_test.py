"""The public Python API under arguments of no sense, drawn from a seed: a call gives a result or a
`VqjaxError` of one line, writes nothing, and takes neither long nor much memory.
"""

import decimal
import fractions
import inspect
import os
import pathlib
import random
import resource
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import vqjax
from tests import tiny
from tests.blank import maskgit_over
from tests.contracts.constructors_test import GIVEN, OWN
from tests.small_source import SmallSource, small_experiment
from vqjax import arguments
from vqjax.config.names import table
from vqjax.config.tree import fields_of, is_required
from vqjax.data import Binarize, Digits
from vqjax.evaluation import compare_runs, parse_topology
from vqjax.runs.judge import judge_samples
from vqjax.sampling import Guidance, MaskedDecoding, TokenSampling
from vqjax.types import VqjaxError

SEED = int(os.environ.get("VQJAX_FUZZ_SEED", "16"))
CALLS = 1_500
SECONDS = 60  # of a call; what compiles takes a few where other tests run beside it
KILOBYTES = 2 << 20  # that a call may add to the process
X = np.arange(2 * 64, dtype=np.uint8).reshape(2, 8, 8, 1)
F = X.astype(np.float32) / 127.5 - 1.0


class Raises:
    """Whatever it is asked, it raises."""

    def __getattr__(self, name):
        raise RuntimeError(name)

    def _refuse(self, *_):
        raise RuntimeError("no")

    __repr__ = __str__ = __len__ = __iter__ = __index__ = __float__ = __array__ = _refuse
    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = __bool__ = __getitem__ = __fspath__ = _refuse
    __hash__ = None


class Endless:
    """A sequence of as many items as are asked for."""

    def __len__(self):
        return 2**40

    def __getitem__(self, index):
        return 0


NASTY = [
    None, True, False, 0, 1, 2, -1, 3.9, 2.0, -0.0, float("nan"), float("inf"), -float("inf"),
    1e300, 1e-320, 2**31, 2**32, 2**32 + 3, 2**63, 10**12, 10**30, 10**5000, 2j,
    decimal.Decimal("NaN"), decimal.Decimal(2), fractions.Fraction(1, 3), np.float64("nan"),
    np.int8(-1), np.uint64(2**63),
    np.bool_(True), np.str_("3"), np.datetime64("2020"), np.array(3), np.array(3.5), jnp.int32(3),
    jnp.bfloat16(0.5), jnp.zeros((2, 8, 8, 1), jnp.bfloat16), jax.random.key(0), "", "x", "3",
    "0008", "x" * 100_000, "\x1b[31m", "\ud800", "a\0b", "~", "../..", b"x", bytearray(8),
    memoryview(b"abcd"), (), [], [1], [None], [[1], [1, 2]], [3.9], ["3"], [10**30], [True],
    [float("nan")], {}, {1: X}, {"tokens": X}, {"tokens": None}, {3}, frozenset(), range(3),
    range(10**12), iter(()), object(), Raises(), [Raises()], Endless(), lambda: 0, print, int, np,
    NotImplemented, ..., slice(None), TokenSampling(), Guidance(), Exception("x"), X, X[0],
    X[..., 0], X[:0], X[:, :0], X[:, :5], X.repeat(3, -1), X.astype(int), X > 3, F, F * 255,
    F + np.nan,
    F.astype(np.float16), X.astype(complex), X.astype(str), X.astype(object), X.astype("M8[s]"),
    np.zeros(3, [("a", int)]), np.ma.masked_array(X, X > 3), np.asfortranarray(X), X.astype(">u2"),
    np.array([None]), np.empty((0,)), np.zeros((1,) * 33), np.zeros((1, 4, 4), int),
    np.full((1, 4, 4), 16), np.full((1, 4, 4), -1), np.zeros((1, 2, 2), int),
    np.zeros((1, 1, 1, 3), np.float32), np.full((1, 1, 1, 3), 1e30, np.float32),
    np.zeros((1, 4, 4, 3), np.float32), np.broadcast_to(np.uint8(0), (2, 10**6, 10**6, 1)),
    np.broadcast_to(np.float32(0), (10**12, 8, 8, 1)), np.broadcast_to(np.int32(0), (10**6,) * 3),
    Image.fromarray(X[0, ..., 0]), [Image.fromarray(x[..., 0]) for x in X],
    [X[0], X[0, :4]], (0, 0, 0, 10**9), (0, 0, 0, 2**62), (10**6,) * 4, (-2, 0, 0, 0), [1, 2, 3, 4],
    np.zeros(4, int), np.array([0, 0, 0, 2.0]), pathlib.Path("nowhere"),
]  # fmt: skip


def good(name, run):
    """Values of sense for an argument of that name."""
    shown = [X, X[:1], X[:0]]
    if getattr(run, "dtype", "uint8") == "float32":
        shown = [F, F[:1], F[:0], F.astype(np.float64)]
    tokens = [np.zeros((1, 4, 4), int), np.zeros((2, 4, 4), np.uint8), np.zeros((0, 4, 4), int)]
    latents = [np.zeros((1, 1, 1, 3), np.float32), np.ones((2, 1, 1, 3))]
    return {
        "images": shown, "a": shown[:1], "b": shown[:1], "indices": tokens + latents,
        "masks": [X[..., 0] > 40, np.ones((1, 8, 8), bool), X[:0, ..., 0] > 1],
        "n": [0, 1, 3, np.int64(2)], "count": [0, 1, 5, 10**9],
        "seed": [0, 7, 2**32 - 1, np.uint8(3)], "steps": [2, 3],
        "strength": [0, 0.25, 1, np.float32(0.5)], "shape": [None, (8, 8, 1)],
        "sides": [(0, 0, 0, 2), (2, 0, 2, 0)], "prompts": [None],
        "classes": [None, [3], [3, 7], range(3), np.arange(2), [-1]],
        "sampling": [TokenSampling(), TokenSampling(0.5, 3)],
        "guidance": [Guidance(), Guidance(2.0)],
        "params": ["auto", "raw"], "step": [None, 4], "frozen": [()],
        "trust": [(), ["tests.small_source"]],
    }[name]  # fmt: skip


@pytest.fixture(scope="module")
def opened(make_run, trust):
    """{name: an opened run of initial parameters}, one of each kind."""
    jax.config.update("jax_disable_most_optimizations", True)
    codes = make_run(tiny.vqvae(data=Digits()), name="codes")
    paths = {
        "codes": codes,
        "vae": make_run(tiny.vae(data=Digits((Binarize(),))), name="vae"),
        "floats": make_run(small_experiment(SmallSource(dtype="float32")), name="floats"),
        "prior": make_run(maskgit_over(tiny.vqvae(data=Digits()), str(codes)), name="prior"),
        "classifier": make_run(tiny.classifier(), name="classifier"),
    }
    runs = {name: vqjax.load(path, trust=trust) for name, path in paths.items()}
    runs["vae"].held_out(1)  # imports TensorFlow
    return runs


def targets(runs):
    """(name, function, {argument: values of sense, or nothing where it has a default})."""
    calls = []
    for name, run in runs.items():
        for method in (getattr(run, k) for k in dir(run) if not k.startswith("_")):
            # A hook of the class is called by vqjax alone, and `apply` is the module's own.
            its_own = getattr(method, "__self__", None) is run
            if callable(method) and its_own and method.__name__ != "apply":
                parameters = inspect.signature(method).parameters
                calls.append(
                    (f"{name}.{method.__name__}", method, {k: good(k, run) for k in parameters})
                )
    paths = {"run": [run.path for run in runs.values()]}
    rest = {k: good(k, None) for k in ("params", "step", "trust", "frozen")}
    calls += [("load", vqjax.load, paths | rest)] * 2
    nothing = {"runs": [()], "params": ["auto"], "trust": [()]}
    calls.append(("compare_runs", compare_runs, nothing))
    calls.append(("parse_topology", parse_topology, {"text": ["v5e:4x4", "h100x8"], "slices": [1]}))
    judged = {"prior": [runs["prior"]], "judge": [runs["vae"]], "n": [4], "seed": [0]}
    calls.append(("judge_samples", judge_samples, judged))
    for kind in (TokenSampling, Guidance, MaskedDecoding):
        calls.append((kind.__name__, kind, {k: [] for k in fields_of(kind)}))
    for name, kind in sorted(table().items()):
        fields = fields_of(kind).items()
        values = GIVEN | OWN.get(name, {})
        calls.append(
            (name, kind, {k: [values.get(k, 2)] if is_required(f) else [] for k, f in fields})
        )
    return calls


def drawn_call(rng, calls):
    """(function, arguments, how it is written)."""
    methods = [target for target in calls if "." in target[0] or target[0] == "load"]
    name, function, parameters = rng.choice(methods if rng.random() < 0.8 else calls)
    arguments_ = {}
    wrong = rng.choice(list(parameters)) if parameters else None
    for key, sane in parameters.items():
        if key == wrong and rng.random() < 0.85 or rng.random() < 0.05:
            arguments_[key] = rng.choice(NASTY)
        elif sane and (rng.random() < 0.6 or _required(function, key)):
            arguments_[key] = rng.choice(sane)
    written = ", ".join(f"{k}={arguments.got(v)}" for k, v in arguments_.items())
    return function, arguments_, f"{name}({written})"


def _required(function, key):
    return inspect.signature(function).parameters[key].default is inspect.Parameter.empty


def times_of(folders):
    """When something was last made or removed in each of them."""
    return {folder: os.stat(folder).st_mtime_ns for folder in folders}


def files_below(*roots):
    files = [path for root in roots for path in pathlib.Path(root).rglob("*") if path.is_file()]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_result_or_one_line(opened, tmp_path, tmp_path_factory, monkeypatch):
    jax.config.update("jax_disable_most_optimizations", True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # where TensorFlow writes
    rng, calls = random.Random(SEED), targets(opened)
    roots = [tmp_path, *(run.path for run in opened.values())]
    below = (path for root in roots for path in pathlib.Path(root).rglob("*"))
    folders = [*roots, *filter(pathlib.Path.is_dir, below)]
    times, files = times_of(folders), files_below(*roots)
    outcomes, longest, faults = {"result": 0, "refused": 0}, (0.0, ""), []

    def too_long(*_):
        raise TimeoutError(f"more than {SECONDS} s")

    old = signal.signal(signal.SIGALRM, too_long)
    try:
        for number in range(CALLS):
            function, kwargs, written = drawn_call(rng, calls)
            where = f"seed {SEED}, call {number}: {written}"
            memory, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
            signal.alarm(SECONDS)
            try:
                function(**kwargs)
                outcomes["result"] += 1
            except VqjaxError as error:
                outcomes["refused"] += 1
                line = str(error)
                if not 0 < len(line) < 500 or "\n" in line:
                    faults.append(f"{where}: {line[:300]!r} of {len(line)} letters")
            except BaseException as error:
                faults.append(f"{where}: {type(error).__name__}: {str(error)[:300]}")
            finally:
                signal.alarm(0)
            longest = max(longest, (time.monotonic() - started, where))
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
            if grown >= KILOBYTES:
                faults.append(f"{where}: {grown} kB more")
            if times_of(folders) != times:
                faults.append(f"{where}: wrote")
                times = times_of(folders)
    finally:
        signal.signal(signal.SIGALRM, old)
    assert not faults, "\n".join(faults)
    assert files_below(*roots) == files
    print(outcomes, longest)
    assert min(outcomes.values()) > CALLS // 10, outcomes
