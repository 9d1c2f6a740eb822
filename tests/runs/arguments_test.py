"""Every wrong argument of an opened run is refused, in one line, before any work.

The table follows the public signatures: a new method, or a new argument, has no row and fails.
"""

import copy
import inspect
import os
import pickle
import types

import jax
import numpy as np
import pytest
from PIL import Image

import vqjax
from tests.blank import blank_runs
from vqjax import arguments
from vqjax.data import Arrays
from vqjax.runs import base, editing, examples
from vqjax.runs.examples import checked_examples
from vqjax.sampling import Guidance, Heun, MaskedDecoding, TokenSampling
from vqjax.types import UsageError, VqjaxError

NAN, INF = float("nan"), float("inf")
X = np.zeros((2, 8, 8, 1), np.uint8)
F = np.zeros((2, 8, 8, 1), np.float32)
NO_NUMBER = (None, "2", b"2", True, np.True_, [2], (), {}, np.array([2]), NAN, INF, 2j, object())
NO_WHOLE = (*NO_NUMBER, 2.5, 2.0, np.float32(2), -1, -(10**30))
NOTHING = (None, "abc", b"abc", 5, True, {}, {"image": X}, [], [[1, 2], [3]], object(),
           X[0, ..., 0], X[:, :0], X[None], X.astype(object), X.astype(str), X.repeat(3, -1),
           X > 0, X.astype(int), X.astype(complex), [X[0], X[0, :4]])  # fmt: skip
NO_ARRAY = (*NOTHING, X[0], X[..., 0])
NO_FLOATS = (*NO_ARRAY, X, F + NAN, F + INF, F + 255, F - 1.1, F.astype(float) + 1e300)
NO_LATENTS = (*NO_ARRAY, X, F, F[..., :0].repeat(3, -1), *(np.full((1, 1, 1, 3), v, np.float32)
              for v in (NAN, INF, -INF, 1e30)))  # fmt: skip
NO_INDICES = (*NOTHING, X, F, {1: X}, np.full((1, 4, 4), 16), np.full((1, 4, 4), -1),
              np.full((1, 4, 4), 2**63, np.uint64), np.zeros((1, 0, 4), int))  # fmt: skip
NO_SEQUENCE = (5, "ab", b"ab", True, NAN, {}, {3}, np.array(3), object(), range(10**12))
NO_TEXTS = (None, *NO_SEQUENCE, [None], [3], ["a", 3.5])
WRONG = {
    "n": (*NO_WHOLE, 2**31, 10**30),
    "count": NO_WHOLE,
    "seed": (*NO_WHOLE, 2**32, 10**30),
    "steps": (*NO_WHOLE, 0, 1, 10**12),
    "strength": (*NO_NUMBER, -0.1, 1.1, 10**400),
    "shape": (None, *NO_SEQUENCE, (), (8, 8), (8, 8, 3), (8.0, 8, 1), (NAN, 8, 1), (0, 8, 1),
              (-8, 8, 1), (2**40, 8, 1), (None, 8, 1), ("8", 8, 1), (3, 8, 1)),
    "sides": (None, *NO_SEQUENCE, (), (0, 0, 0), (0,) * 5, (0,) * 4, (0, 0, 0, 2.0), (0, 0, 0, "2"),
              (0, 0, 0, None), (0, 0, 0, True), (0, 0, 0, NAN), (0, 0, 0, 3), (-2, 0, 0, 0),
              (0, 0, 0, 10**9), (0, 0, 0, 2**40), (10**4,) * 4),
    "masks": (*NO_ARRAY, X[:1, ..., 0] > 0, X[..., :0] > 0),
    "classes": (*NO_SEQUENCE, [], [3.9], [3.0], [2**32 + 3], [10], [-2], [None], ["3"], [[3]],
                [True], [NAN], np.array([3.9]), np.array([[3]]), [1, 2, 10**30]),
    "prompts": (["a"], "a", 5, []),
    "conditions": (*NO_SEQUENCE[:4], [], [3], {"label": 3}, {"label": []}, {"label": [10]},
                   {"label": ["x"]}, {"label": [2.0]}, {"label": [None]}, {"x": [1]}, {1: [2]}),
    "sampling": (None, 0.9, "plain", TokenSampling, Guidance()),
    "solver": (0.9, "heun", Heun, Guidance()),
    "guidance_interval": (None, 5, "ab", (), (0.1,), (0.8, 0.1), (0, 2), (NAN, 1), (0, "1")),
    "source": ("a", 5, [X], object()),
    "truncation": (*NO_NUMBER, -0.1, 1.1),
    "guidance": (None, 2.0, "2", Guidance, TokenSampling()),
    "rate": (0, -1, 8000.5, "8000", True, [8000]),
    "path": (None, "", 5, b"x", [], object(), True, "/dev/null/x"),
    "overwrite": (None, 1, "yes"),
    "return_length": (None, 1, "yes"),
}  # fmt: skip
EXAMPLES = {"images": X, "masks": np.ones((2, 8, 8), bool), "indices": np.zeros((1, 4, 4), int),
            "sides": (0, 0, 0, 2), "a": X, "b": X, "count": 1,
            "shape": X.shape[1:], "path": "w.safetensors", "source": []}  # fmt: skip
OWN = {  # what differs from run to run
    "codes": {"indices": NO_INDICES, "images": (*NO_ARRAY, F)},
    "floats": {"indices": NO_INDICES, "images": NO_FLOATS},
    "vae": {"indices": NO_LATENTS, "images": (*NO_ARRAY, F)},
    "prior": {"images": (*NO_ARRAY, F)},
    "denoiser": {
        "images": (*NO_ARRAY, F),
        "strength": (*NO_NUMBER, 0.0, 1.1, 10**400),
        "sides": (None, (0,) * 4, (0, 0, 0, 2.0), (-2, 0, 0, 0), (0, 0, 0, 10**9)),
    },
    "texts": {"images": ()},
    "generator": {"images": ()},
    "classifier": {"images": (*NO_ARRAY, F + NAN, F + 2)},
}


# A run of its own, and what verbs, pages and benchmarks ask; they hand over what is right.
FOR_OTHERS = {
    "network_evaluations", "media", "rate_of", "shape_of",
    "module", "task", "tokenizer", "network", "evaluator", "abilities", "footprint", "learned",
    "single_calls", "seconds_of_calls", "evaluated", "fitting", "numbers_of", "outputs_of_source",
}  # fmt: skip


@pytest.fixture(scope="module")
def runs():
    return blank_runs()


def refused(call):
    """The line with which `call` is refused."""
    with pytest.raises(UsageError) as refusal:
        call()
    line = str(refusal.value)
    assert len(line) < 500 and "\n" not in line
    return line


@pytest.mark.parametrize("name", OWN)
def test_a_table_over_the_public_signatures(runs, name):
    run, rows = runs[name], {**WRONG, **OWN[name]}
    rows |= {"a": rows["images"], "b": rows["images"]}
    public = [k for k in dir(run) if not k.startswith("_") and k not in FOR_OTHERS]
    methods = {k: getattr(run, k) for k in public}
    for method in filter(callable, methods.values()):
        if name not in ("vae", "denoiser", "generator") and method.__name__ == "interpolate":
            continue  # refused whatever it is given
        if method.__name__ == "apply":
            continue  # the network itself, for whoever wants it without checks
        parameters = inspect.signature(method).parameters.values()
        required = {p.name: EXAMPLES[p.name] for p in parameters if p.default is p.empty}
        for parameter in parameters:
            for value in rows[parameter.name]:
                if value is None and parameter.default is None:
                    continue
                given = {**required, parameter.name: value}
                try:
                    line = refused(lambda given=given, method=method: method(**given))
                except BaseException as error:
                    kind = type(error).__name__
                    pytest.fail(f"{method.__name__}({parameter}={value!r:.200}): {kind}: {error}")
                assert any(word in line for word in WORDS), line


WORDS = ("wanted", "-conditional", "nothing to add", "name at least", "takes the latents",
         "nearest", "valid:", "made for", "needs at least", "cannot write")  # fmt: skip


def test_nothing_is_opened_with_wrong_arguments(tmp_path, monkeypatch):
    for value in (None, "", 5, b"x", [], object(), True):
        assert refused(lambda value=value: vqjax.load(value)).startswith("run=")
    wrong = {
        "params": (None, "both", 5, [], np.zeros(2)),
        "step": (*NO_WHOLE[1:], "20", 8.0),
        "trust": NO_TEXTS,
        "frozen": NO_TEXTS,
    }
    assert set(wrong) | {"run", "data"} == set(inspect.signature(vqjax.load).parameters)
    for name, values in wrong.items():
        for value in values:
            line = refused(lambda n=name, v=value: vqjax.load(tmp_path, **{n: v}))
            assert line.startswith(name), line
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("~/x", "nowhere", "a\0b", "x" * 5000, "\ud800", "file://x"):
        with pytest.raises(VqjaxError) as refusal:
            vqjax.load(path)
        assert len(str(refusal.value)) < 500 and "~" not in str(refusal.value)


def test_the_advice_puts_it_right(runs):
    grey = [Image.fromarray(x[..., 0]) for x in X]
    for given, advice in ((X[..., 0], "x[..., None]"), (grey, "np.stack(x)[..., None]"),
                          (X[0], "x[None]"), (X[0].tolist(), "np.asarray(x)[None]"),
                          (X[0, ..., 0], "x[None, ..., None]"),
                          (grey[0], "np.asarray(x)[None, ..., None]")):  # fmt: skip
        assert f"pass {advice};" in refused(lambda given=given: runs["codes"].encode(given))
        np.testing.assert_array_equal(eval(advice, {"x": given, "np": np}).shape[1:], (8, 8, 1))
    assert "x / 127.5 - 1" in refused(lambda: runs["floats"].encode(F + 255))
    assert "unequal shapes" in refused(lambda: runs["codes"].encode([X[0], X[0, :4]]))


@pytest.mark.parametrize(
    ("make", "name", "wrong"),
    [
        (TokenSampling, "temperature", (*NO_NUMBER, -0.1, 1e300)),
        (TokenSampling, "top_k", (*NO_WHOLE[1:], 0)),
        (TokenSampling, "top_p", (*NO_NUMBER, 0, 1.1)),
        (Guidance, "scale", (*NO_NUMBER, -0.1, 1e300)),
        (Guidance, "schedule", (None, 5, [], "cosin", True)),
        (MaskedDecoding, "steps", (*NO_WHOLE, 0, 2**31)),
        (MaskedDecoding, "schedule", (None, 5, ["a"], "cosin")),
        (MaskedDecoding, "choice_temperature", (*NO_NUMBER, -0.1)),
    ],
)
def test_how_tokens_are_drawn(make, name, wrong):
    for value in wrong:
        assert name in refused(lambda value=value: make(**{name: value}))


def test_numbers_of_numpy_and_arrays_without_axes_are_numbers():
    assert arguments.whole("n", np.array(3)) == arguments.whole("n", np.uint8(3)) == 3
    assert arguments.wholes("n", np.arange(3), 0, 2, "[1]") == [0, 1, 2]
    sampling = TokenSampling(np.array(0.5), np.int64(3), np.float32(1.0))
    assert sampling == TokenSampling(0.5, 3, 1.0) and hash(sampling) == hash(
        TokenSampling(0.5, 3, 1.0)
    )
    assert type(arguments.real("x", 1)) is int  # what was recorded stays


def test_results_that_memory_has_no_room_for_are_refused(runs, monkeypatch):
    monkeypatch.setattr(arguments, "free_memory", lambda: 10**6)
    assert "n=20000: 0.0 GB of results" in refused(lambda: runs["vae"].sample(20_000))
    assert "n=20000" in refused(lambda: runs["prior"].sample(20_000))
    assert "steps=9000" in refused(lambda: runs["vae"].interpolate(X, X, 9_000))
    assert "2 pictures of 8 x 1008 pixels take 251 windows" not in refused(
        lambda: runs["prior"].outpaint(X.repeat(90, 0), (0, 0, 0, 1_000))
    )
    monkeypatch.setattr(arguments, "free_memory", lambda: None)
    arguments.check_room("n=1", 10**30)  # a system that does not say
    monkeypatch.undo()
    free = arguments.free_memory()
    assert free is None or 2**20 < free < 2**60


@pytest.mark.parametrize("group", ["/slice/job", "/slice/job/step", "/../elsewhere", "/"])
def test_free_memory_is_that_of_the_narrowest_control_group(tmp_path, monkeypatch, group):
    for name, most in (("slice/job", "max"), ("slice", "7000"), ("", "9000")):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "memory.max").write_text(most)
        (tmp_path / name / "memory.current").write_text("2000")
        (tmp_path / name / "memory.stat").write_text("anon 5\ninactive_file 1000\n")
    (tmp_path / "own").write_text(f"4:memory:/other\n0::{group}\n")
    monkeypatch.setattr(arguments, "_GROUPS", str(tmp_path))
    monkeypatch.setattr(arguments, "_GROUP_OF", tmp_path / "own")
    assert arguments.free_memory() == (6000 if "slice" in group else 8000)


def test_too_many_windows_are_refused_before_the_work(runs):
    line = refused(lambda: runs["prior"].outpaint(X, (0, 0, 0, 10**9)))
    assert "8 x 1000000008 pixels take 250,000,001 windows" in line and "at most 1,024" in line
    assert editing.MAX_WINDOWS == 1_024


@pytest.mark.parametrize("dtype", ["float32", "float64", jax.numpy.bfloat16])
def test_held_out_examples_of_floats_are_as_networks_take_them(dtype):
    images = np.linspace(-1.25, 1.25, 3 * 4 * 4).reshape(3, 4, 4, 1).astype(dtype)
    task = types.SimpleNamespace(inputs="image")
    source = Arrays({"image": images}, {"image": images})
    array = examples.held_out(types.SimpleNamespace(task=task, data=source), 3)
    assert array.dtype == np.float32 and array.min() == -1 and array.max() == 1
    checked_examples(array, (4, 4, 1), "float32")


def test_held_out_reads_no_more_than_there_are(runs, monkeypatch):
    run, sizes = runs["vae"], []
    read = type(run.experiment.data).eval

    def spy(self, batch_size, rows):
        sizes.append(batch_size)
        return read(self, batch_size, rows)

    monkeypatch.setattr(type(run.experiment.data), "eval", spy)
    whole = run.held_out(10**9)
    assert whole.shape == (21, 8, 8, 1) and max(sizes) <= examples.HELD_OUT_BATCH
    np.testing.assert_array_equal(run.held_out(5), whole[:5])
    monkeypatch.setattr(examples, "HELD_OUT_BATCH", 4)
    np.testing.assert_array_equal(run.held_out(10), whole[:10])
    assert run.held_out(0).shape == (0, 8, 8, 1)


def test_a_run_does_not_leave_its_process(runs):
    for run in runs.values():
        for leave in (pickle.dumps, copy.copy, copy.deepcopy):
            assert "vqjax.load('RUN'" in refused(lambda run=run, leave=leave: leave(run)).replace(
                os.getcwd() + "/", ""
            )


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
def test_a_fork_is_told_so_instead_of_waiting_for_ever(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(base, "_first_opened", [os.getpid()])
    calls = {
        "codes": lambda: runs["codes"].encode(X),
        "vae": lambda: runs["vae"].sample(1),
        "prior": lambda: runs["prior"].variations(X),
        "classifier": lambda: runs["classifier"].classify(X),
        "load": lambda: vqjax.load(tmp_path),
    }
    child = os.fork()
    if child == 0:
        refusals = 0
        try:
            for call in calls.values():
                try:
                    call()
                except VqjaxError as error:
                    refusals += "is a fork of" in str(error) and "spawn" in str(error)
        finally:
            os._exit(refusals)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == len(calls)
