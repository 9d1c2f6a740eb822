"""`Run`: what every opened run is, what it can do, and the process that it lives in.

A kind of run is a subclass: its public methods are what it can do, and verbs, pages and benchmarks
read the rest by the names below. `vqjax.runs.load` maps tasks to these classes.
"""

import contextlib
import dataclasses
import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NoReturn

import jax
import numpy as np
import safetensors.numpy
from flax import linen as nn
from flax.traverse_util import flatten_dict
from jax.sharding import Mesh

from vqjax import arguments
from vqjax.evaluation.base import Evaluation
from vqjax.evaluation.losses import LossEvaluator
from vqjax.files import GENERATOR, check_output, write_output
from vqjax.format import times
from vqjax.numbers import Number
from vqjax.paths import as_path
from vqjax.runs.examples import held_out
from vqjax.runs.footprint import Footprint, parts_of, size_of, state_of, values_of
from vqjax.training.experiment import Experiment
from vqjax.training.frozen import load_frozen
from vqjax.training.platform import jax_defaults
from vqjax.training.restore import OpenedRun
from vqjax.types import ArraySpec, Tree, UsageError

# Methods of runs that verbs call, in the order of messages that list them, with the arguments that
# `vqjax.runs` has: reconstruct(images, ...), sample(n, seed, ...).
ABILITIES = (
    "encode", "decode", "reconstruct", "interpolate", "sample", "inpaint", "outpaint", "upscale",
    "variations", "rank", "classify", "evaluate",
)  # fmt: skip
CONDITIONS = ("classes", "prompts", "conditions")  # keywords of such methods
Calls = dict[str, Callable[[Tree, Tree, Any], Any]]  # {name: (params, collections, x) -> y}
Sizes = Footprint | None
_first_opened: list[int] = []  # the process in which the first run was opened


def check_process(opened_in: Sequence[int]) -> None:
    """Refuses, with UsageError, to work in a fork of the process where a run was opened.

    JAX's threads do not live through a fork: the first program would wait for ever.

    Args:
        opened_in: that process's id; empty: none was opened yet.
    """
    pid = os.getpid()
    if opened_in and pid != opened_in[0]:
        raise UsageError(
            f"process {pid} is a fork of {opened_in[0]}, where a run was opened, and JAX does not "
            "live through a fork: start processes by multiprocessing.get_context('spawn') and "
            "vqjax.load the run in each"
        )


def begin_process() -> None:
    """`check_process` for the first run that is opened and for all later ones."""
    check_process(_first_opened)
    if not _first_opened:
        _first_opened.append(os.getpid())


@dataclasses.dataclass(frozen=True)
class Opening:
    """What a `Run` is made of.

    Attributes:
        opened: its record and arrays.
        mesh: where they lie.
        frozen: arrays of the runs that it builds on, by their paths in the experiment.
        trust: what classes may come from.
        load: opens another run, as `vqjax.load` does.
    """

    opened: OpenedRun
    mesh: Mesh
    frozen: Tree
    trust: tuple[str, ...]
    load: Callable[..., "Run"]


class Run:
    """Base of what `vqjax.load` returns.

    Attributes:
        path: the run directory.
        experiment: what was trained.
        step: finished updates of the parameters in use.
        params_kind: "ema" or "raw".
        lines: messages from opening the run, such as of a damaged step that was skipped.
        task: of the experiment, its networks in the precision of training.
        module: the network, a Linen module; None where the class names none.
        params: parameters of its player, {name: ... array}.
        collections: its other variables, such as a moving codebook: {collection: tree}.
        shape: of one example of the task's inputs, (*S, C); () where the task names none.
        dtype: "uint8", or "float32" for values in [-1, 1].

    Class attributes of a subclass:
        kind: its name in messages and pages.
        headline: names of the numbers at the head of its report.
        numbers: descriptions of those of its numbers that `vqjax.numbers` lacks, by name.
        shows: the heading of its pictures; "": it has none.
        reads: the files that `vqjax reconstruct` takes: "pictures" or "sound".
        next_commands: what `vqjax train` advises at its end, "RUN" being the run.
        evaluator: (experiment, mesh, frozen) -> what evaluates parameters, in training and in
            `vqjax evaluate`: (params, collections) -> `Evaluation`.
    """

    kind: ClassVar[str] = "run"
    headline: ClassVar[tuple[str, ...]] = ()
    numbers: ClassVar[Mapping[str, Number]] = {}
    shows: ClassVar[str] = ""
    reads: ClassVar[str] = "pictures"
    next_commands: ClassVar[tuple[str, ...]] = ("vqjax report RUN",)
    evaluator: ClassVar[Callable[..., Any]] = LossEvaluator

    def __init__(self, opening: Opening) -> None:
        """Opens nothing: `vqjax.load` has. A subclass calls this first."""
        opened = opening.opened
        self._opening, self._mesh, self._process = opening, opening.mesh, os.getpid()
        self.path: str = str(opened.path)
        self.experiment: Experiment = opened.experiment
        self.step: int = opened.step
        self.params_kind: str = opened.params_kind
        self.lines: list[str] = list(opened.lines)
        self.task = self.experiment.network_task()
        self.module: nn.Module | None = self.network()
        player = next(iter(self.task.averaged or self.task.players))
        self.params: Tree = opened.params[player]
        self.collections: Tree = opened.collections[player]
        spec = opened.inputs.get(self.task.inputs)
        self.shape: tuple[int, ...] = () if spec is None else tuple(spec.shape)
        self.dtype = "uint8" if spec is not None and spec.dtype == "uint8" else "float32"

    def network(self) -> nn.Module | None:
        """The network that `apply` applies, of the first player that is averaged."""
        return None

    @classmethod
    def abilities(cls, experiment: Experiment) -> dict[str, str | None]:
        """{method of `ABILITIES`: None, or why a run of `experiment` cannot do that}."""
        del experiment
        return {name: None for name in ABILITIES if callable(getattr(cls, name, None))}

    @classmethod
    def footprint(cls, experiment: Experiment, inputs: Mapping[str, ArraySpec]) -> Footprint:
        """How large its networks are, on examples of `inputs`; computes nothing."""
        task = experiment.network_task()
        params, collections = state_of(task, inputs)
        spec = inputs.get(task.inputs)
        shape = () if spec is None else tuple(spec.shape)
        return Footprint(
            parts_of(params), size_of(collections), shape, (), **values_of(inputs.get(task.inputs))
        )

    @classmethod
    def single_calls(cls, task: Any, shape: tuple[int, ...]) -> Calls:
        """Calls that `vqjax benchmark` times: {name: (params, collections, x) -> y}, variables by
        player. The first x is an example of `shape`, each other one the output of the call before;
        all are batches of one.
        """
        del task, shape
        return {}

    @classmethod
    def seconds_of_calls(cls, task: Any, spec: ArraySpec) -> dict[str, float]:
        """{name of `single_calls`: seconds of sound that one call works on}, of sound with a rate;
        `spec`: of an example.
        """
        del task, spec
        return {}

    @classmethod
    def learned(cls, experiment: Experiment, sizes: Sizes, data: str, short: bool) -> str:
        """What follows "a <kind>" in the first sentence of its report.

        Args:
            sizes: None: unknown.
            data: a description of the data it was trained on.
            short: without the sizes of its inputs and outputs.
        """
        del experiment, sizes, short
        return f" trained on {data}"

    @classmethod
    def evaluated(cls, experiment: Experiment, sizes: Footprint) -> tuple[str, ...]:
        """Names of numbers that only evaluations by older versions of vqjax lack."""
        del experiment, sizes
        return ()

    @property
    def conditions(self) -> tuple[str, ...]:
        """Which of `CONDITIONS` its methods take."""
        keywords = keywords_of(self.sample) if hasattr(self, "sample") else ()
        return tuple(name for name in CONDITIONS if name in keywords)

    def fitting(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The smallest shape (*S, C) that `reconstruct` takes and `shape` fits into.

        Raises:
            UsageError: there is none, or no memory for it.
        """
        if tuple(shape) != self.shape:
            raise UsageError(f"{times(shape)}: the run takes {times(self.shape)}")
        return self.shape

    def evaluate(self) -> Evaluation:
        """Its numbers over the eval split, as `vqjax evaluate` prints them. (That leaves out
        numbers that need a missing file; this raises.)

        Raises:
            DataError: the data, or what a number needs, is not at hand.
        """
        self._check_process()
        opening = self._opening
        frozen = opening.frozen or load_frozen(self.experiment, opening.mesh, opening.trust)
        with jax_defaults(self.experiment.compute_dtype):
            evaluator = type(self).evaluator(self.experiment, opening.mesh, frozen)
            return evaluator(opening.opened.params, opening.opened.collections)

    def network_evaluations(self, options: Mapping[str, Any]) -> int | None:
        """How often a network runs to draw one sample by these keywords of `sample`, guidance as
        two; None: not known.
        """
        del options
        return None

    def numbers_of(self, samples: np.ndarray) -> dict[str, float]:
        """Numbers of samples that `vqjax sample` prints: {name: value}."""
        del samples
        return {}

    def apply(self, params: Tree, *args: Any, method: str | None = None, **keywords: Any) -> Any:
        """The network as a pure function, for a `jit` or a gradient of your own.

            loss = jax.jit(lambda params, x: run.apply(params, x, method="latents").sum())
            loss(run.params, x)

        Arrays go in and come out as the module has them: examples are floats in [-1, 1]
        (`vqjax.tasks.normalize` makes them of uint8), without padding or checks.

        Args:
            params: `run.params`, or others of these shapes.
            args: arguments of the method.
            method: name of a method of `run.module`; None: its `__call__`.
            keywords: of the method, or `rngs` and `mutable` of Linen's `apply`.
        """
        self._check_process()
        if self.module is None:
            raise UsageError(f"{type(self).__name__}.network() names no module to apply")
        variables = {"params": params, **self.collections}
        with jax_defaults(self.experiment.compute_dtype):
            return self.module.apply(variables, *args, method=method, **keywords)

    def save_weights(self, path: str | os.PathLike, *, overwrite: bool = False) -> None:
        """Writes the network's arrays as safetensors, without the optimizer's and without an
        adversary: "params/decoder/to_output/kernel", "codebook/quantizer/sums", ...

        `flax.traverse_util.unflatten_dict(safetensors.numpy.load_file(path), sep="/")` is what
        `run.module.apply` takes.

        Args:
            path: of the file; its folder is made.
            overwrite: whether to replace a file that is not vqjax's.

        Raises:
            UsageError: it cannot be written, or exists and is not vqjax's.
            DataError: the disk is full, or fails.
        """
        self._check_process()
        path = as_path(arguments.path("path", path, "a file"), "path")
        arguments.instance("overwrite", overwrite, bool, "True")
        check_output(path, overwrite=overwrite, option="overwrite=True")
        flat = flatten_dict({"params": self.params, **self.collections}, sep="/")
        arrays = {name: np.asarray(array) for name, array in flat.items()}
        metadata = {"generator": GENERATOR, "step": str(self.step), "parameters": self.params_kind}
        write_output(path, safetensors.numpy.save(arrays, metadata), overwrite=overwrite)

    def held_out(self, count: int) -> np.ndarray:
        """The first `count` examples that training never saw, or all there are: [n, *S, C], floats
        clipped to [-1, 1].

        Raises:
            DataError: the data is not at hand.
            UsageError: `count` is no whole number of at least 0, or more than memory has room for.
        """
        self._check_process()
        return held_out(self.experiment, count)

    def _check_process(self) -> None:
        check_process((self._process,))

    @contextlib.contextmanager
    def _context(self) -> Iterator[None]:
        """Within `with`, whatever the caller has set, the mesh is that of the parameters and JAX's
        defaults are those of training.
        """
        with jax.set_mesh(self._mesh), jax_defaults(self.experiment.compute_dtype):
            yield

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise UsageError(
            "an opened run cannot be pickled or copied: hand its path on, and "
            f"vqjax.load({self.path!r}, step={self.step}) where it is used"
        )


def can(kind: type[Run], experiment: Experiment, name: str) -> bool:
    """Whether runs of `kind` have the ability `name`."""
    return kind.abilities(experiment).get(name, "not at all") is None


def check_can(
    kind: type[Run], experiment: Experiment, path: str | os.PathLike, verb: str, *names: str
) -> None:
    """Refuses, with UsageError, a run of `kind` without any of the abilities `names` (as `verb`
    where there are none).
    """
    names = names or (verb,)
    if any(can(kind, experiment, name) for name in names):
        return
    reasons = kind.abilities(experiment)
    why = next((f", {reasons[name]}" for name in names if reasons.get(name)), "")
    able = ", ".join(name for name, reason in reasons.items() if reason is None)
    raise UsageError(f"{path} is {with_article(kind.kind)}: it cannot {verb}{why} (it can: {able})")


def require(run: Run, verb: str, *names: str) -> None:
    """`check_can` for an opened run.

    Raises:
        UsageError: it cannot, or is no run at all.
    """
    if not isinstance(run, Run):
        raise UsageError(f"{verb}: got {arguments.got(run)}, wanted a run, from vqjax.load")
    check_can(type(run), run.experiment, run.path, verb, *names)


def keywords_of(method: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Parameters of a run's method by name: `n`, `seed`, and whatever has a default.

    An annotation that is missing or cannot be read is `Any`.
    """
    try:
        parameters = inspect.signature(method, eval_str=True).parameters
    except Exception:  # an annotation names what is not defined
        parameters = inspect.signature(method).parameters
    return {
        name: p.replace(annotation=Any) if _is_unresolved(p.annotation) else p
        for name, p in parameters.items()
        if name in ("n", "seed") or p.kind is p.KEYWORD_ONLY or p.default is not p.empty
    }


def _is_unresolved(annotation: Any) -> bool:
    return annotation is inspect.Parameter.empty or isinstance(annotation, str)


def with_article(kind: str) -> str:
    """A kind of run with its article."""
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
