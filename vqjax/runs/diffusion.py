"""A trained denoiser from Python, numpy in and numpy out.

run = vqjax.load("runs/mnist_dit")
images = run.sample(64, classes=[3, 7], guidance=Guidance(2.0))
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from flax import linen as nn

from vqjax import arguments
from vqjax.evaluation.denoising import DenoisingEvaluator
from vqjax.format import shorten
from vqjax.ops.diffusion import mixed
from vqjax.ops.numerics import make_key
from vqjax.runs.base import Opening, Run, Sizes
from vqjax.runs.conditions import Others, condition_arrays, in_words, keywords_for, main_classes
from vqjax.runs.editing import UNGUIDED, cells_under, checked_masks
from vqjax.runs.examples import as_trained, checked_count, checked_examples
from vqjax.runs.source_conditions import SourceConditions
from vqjax.runs.stream_examples import in_turn
from vqjax.sampling import Guidance, Interval
from vqjax.sampling.solvers import Moment, Sample, Solver
from vqjax.tasks.diffusion import DENOISER, DENOISING
from vqjax.training.experiment import Experiment
from vqjax.types import Tree, UsageError

CALL_BATCH = 64  # examples per call of a program
MAX_NAME = 60  # characters of a tokenizer's name in a sentence
ALWAYS = Interval()


class Known(NamedTuple):
    """What stays of examples: the data and the noise [B, *s, C], and where, bool [B, *s]."""

    x0: jax.Array
    noise: jax.Array
    stays: jax.Array


class Plan(NamedTuple):
    """What is drawn: n examples under `cond`, from the time `strength` on; out of noise, or of
    `images` [n, *S, C], of which all stays but `cells`, bool [n, *s]; None: nothing does.
    """

    n: int
    seed: int
    cond: Tree | None
    solver: Solver
    guidance: Guidance
    interval: Interval
    images: np.ndarray | None = None
    cells: np.ndarray | None = None
    strength: float = 1.0


class DiffusionRun(SourceConditions, Run):
    """A denoiser, and the tokenizer over whose latents it works, if any; made by `vqjax.load`.

    Attributes: see `Run`.
    """

    kind = "denoiser"
    headline = (DENOISING,)
    shows = "Samples"
    next_commands = ("vqjax sample RUN --out out", "vqjax report RUN")
    evaluator = DenoisingEvaluator

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        opened = opening.opened
        spec = opened.inputs[self.task.inputs]
        self.dtype = spec.dtype if spec.dtype in ("uint8", "int16") else "float32"
        self.rate: int = round(spec.rate or 0)  # of sound, in Hz
        self._variables = (opened.params, opened.collections, opening.frozen)
        self._begin = jax.jit(self._beginning)
        self._advance = jax.jit(
            self._one_step, static_argnames=("solver", "guidance"), donate_argnums=1
        )
        self._decode = jax.jit(self._decoded)

    def network(self) -> nn.Module:
        """The denoiser."""
        return self.task.network

    @classmethod
    def learned(cls, experiment: Experiment, sizes: Sizes, data: str, short: bool) -> str:
        """See `Run.learned`."""
        task, examples = experiment.task, "examples" if sizes is None else sizes.examples
        condition = in_words(task.denoiser.condition)
        what = "noise"
        if not short and task.tokenizer is not None:
            name = shorten(task.tokenizer.path.rstrip("/").rpartition("/")[2], MAX_NAME)
            what = f"noise, as latents of the tokenizer {name}"
        return f" that learns to make new {examples} like those in {data}{condition}, out of {what}"

    @property
    def conditions(self) -> tuple[str, ...]:
        """See `Run.conditions`."""
        return keywords_for(self.task.denoiser.condition)

    @property
    def classes(self) -> int | None:
        """How many classes it is conditioned on; None: it is not class-conditional."""
        main = main_classes(self.task.denoiser.condition)
        return None if main is None else main.classes

    def sample(
        self,
        n: int = 64,
        seed: int = 0,
        *,
        classes: Sequence[int] | None = None,
        prompts: Sequence[str] | None = None,
        conditions: Others | None = None,
        solver: Solver | None = None,
        guidance: Guidance = UNGUIDED,
        guidance_interval: Sequence[float] = ALWAYS,
        source: Any = None,
    ) -> np.ndarray:
        """Draws examples; sound at the level of its tokenizer's training, as long as the window.

        Args:
            n: how many, at least 0 and no more than memory has room for.
            seed: from 0 to 2**32 - 1; example i is a pure function of (seed, i) and its
                condition.
            classes: of a class-conditional denoiser: used in turn; -1: unconditional; None: all
                classes in turn.
            prompts: of a text-conditional one: used in turn; "" or None: unconditional.
            conditions: see `PriorRun.sample`.
            solver: `Heun(25)`, `Euler`, `Ancestral` or `DPMSolver` of `vqjax.sampling`; None: that
                of the task.
            guidance: classifier-free guidance.
            guidance_interval: times between which it acts, from 0, the data, to 1, the noise; a
                step counts by its beginning.
            source: of one conditioned on the tokens of something else: examples of that, such as
                clips of sound [T], used in turn; None: unconditional.

        Returns:
            [n, *S, C] of the run's `dtype`.

        Raises:
            UsageError: the denoiser takes no classes or has no such class, takes no prompts or none
                so long, cannot be guided, or the solver cannot follow its path; or an argument is
                of the wrong kind.
        """
        self._check_process()
        n = checked_count(n, self.shape, self.dtype)
        how = self._how(seed, solver, guidance, guidance_interval)
        if source is not None:
            cond = in_turn(self.source_tokens(source), n)
        elif self.task.source is not None:
            cond = np.asarray(self.task.denoiser.condition.null(n))
        else:
            cond = self._cond(n, (classes, prompts, conditions))
        return self._drawn(Plan(n, how[0], cond, *how[1:]))

    def network_evaluations(self, options: Mapping[str, Any]) -> int:
        """See `Run.network_evaluations`."""
        solver = self._solver(options.get("solver"))
        low, high = interval_of(options.get("guidance_interval", ALWAYS))
        now = solver.moments().now
        calls = np.where(np.arange(solver.steps) + 1 < solver.steps, solver.calls, 1)
        guided = (low < now) & (now <= high)
        if options.get("guidance", UNGUIDED) == UNGUIDED:
            guided[:] = False
        return int((calls * np.where(guided, 2, 1)).sum())

    def inpaint(
        self,
        images: np.ndarray,
        masks: np.ndarray,
        seed: int = 0,
        *,
        classes: Sequence[int] | None = None,
        prompts: Sequence[str] | None = None,
        conditions: Others | None = None,
        solver: Solver | None = None,
        guidance: Guidance = UNGUIDED,
        guidance_interval: Sequence[float] = ALWAYS,
    ) -> np.ndarray:
        """Draws what is masked anew; the rest stays exactly as it is.

        In every step what stays is put in again, as noisy as it is then (arXiv 2201.09865, without
        resampling). Latents are drawn anew where any pixel of their cell is masked.

        Args:
            images: [B, *S, C] of the run's `dtype` and `shape`.
            masks: bool[B, *S], True where to draw anew.
            seed: as of `sample`, whose other arguments these have, too; classes, prompts and
                conditions are one per example (or fewer, used in turn), -1 or None: unconditional.

        Returns:
            [B, *S, C] of the run's `dtype`.

        Raises:
            UsageError: other shapes, dtypes or classes than these.
        """
        images = self._checked(images)
        masks = checked_masks(masks, images)
        cells = cells_under(masks, self.task.latent_shape(self.shape)[:-1])
        cond = self._cond(len(images), (classes, prompts, conditions), rest_in_turn=False)
        how = self._how(seed, solver, guidance, guidance_interval)
        drawn = self._drawn(Plan(len(images), how[0], cond, *how[1:], images=images, cells=cells))
        return np.where(masks[..., None], drawn, images)

    def variations(
        self,
        images: np.ndarray,
        seed: int = 0,
        *,
        strength: float = 0.5,
        classes: Sequence[int] | None = None,
        prompts: Sequence[str] | None = None,
        conditions: Others | None = None,
        solver: Solver | None = None,
        guidance: Guidance = UNGUIDED,
        guidance_interval: Sequence[float] = ALWAYS,
    ) -> np.ndarray:
        """Takes examples to the time `strength`, and from there back to data (arXiv 2108.01073).

        Args:
            images: [B, *S, C] of the run's `dtype` and `shape`.
            seed: see `inpaint`; so are the others.
            strength: above 0, to 1: all is drawn anew.

        Returns:
            [B, *S, C] of the run's `dtype`.

        Raises:
            UsageError: other shapes, dtypes or classes than these.
        """
        images = self._checked(images)
        strength = arguments.real("strength", strength, above=0, most=1)
        cond = self._cond(len(images), (classes, prompts, conditions), rest_in_turn=False)
        how = self._how(seed, solver, guidance, guidance_interval)
        return self._drawn(
            Plan(len(images), how[0], cond, *how[1:], images=images, strength=strength)
        )

    def _checked(self, images: Any) -> np.ndarray:
        """Examples to edit."""
        self._check_process()
        if self.dtype == "int16":
            raise UsageError(f"{self.path}: edits are of pictures")
        return checked_examples(images, self.shape, self.dtype)

    def _cond(self, n: int, named: tuple, rest_in_turn: bool = True) -> Tree | None:
        """What the condition takes, of (classes, prompts, conditions)."""
        condition, data = self.task.denoiser.condition, self.experiment.data
        return condition_arrays(
            condition, data, n, *named, rest_in_turn=rest_in_turn, network=DENOISER
        )

    def _how(
        self, seed: Any, solver: Any, guidance: Any, interval: Any
    ) -> tuple[int, Solver, Guidance, Interval]:
        """The arguments of drawing, checked."""
        arguments.instance("guidance", guidance, Guidance, "Guidance(2.0)")
        return arguments.seed_of(seed), self._solver(solver), guidance, interval_of(interval)

    def _solver(self, solver: Solver | None) -> Solver:
        """The solver that is asked for, which must fit the path."""
        if solver is None:
            return self.task.solver
        arguments.instance("solver", solver, Solver, "Heun(25)")
        solver.check(self.task.path)
        return solver

    def _drawn(self, plan: Plan) -> np.ndarray:
        """Examples [n, *S, C], with a progress bar on a terminal."""
        n, solver, key = plan.n, plan.solver, make_key(plan.seed)
        moments = solver.moments(plan.strength * solver.times())
        low, high = plan.interval
        guided = (low < moments.now) & (moments.now <= high)
        parts = range(0, max(n, 1), CALL_BATCH)
        bar = {"desc": "steps", "unit": "step", "delay": 1.0, "disable": None, "leave": False}
        results = []
        with self._context(), tqdm.tqdm(total=len(parts) * solver.steps, **bar) as progress:
            for first in parts:
                ids = np.arange(first, first + CALL_BATCH, dtype=np.uint32)
                rows = np.minimum(ids, max(n - 1, 0))  # the last ones are padding
                own = [
                    jax.tree.map(lambda a, rows=rows: np.asarray(a)[rows], tree) if n else tree
                    for tree in (plan.cond, plan.images, plan.cells)
                ]
                begun = self._begin(self._variables, key, ids, *own[1:], moments.now[0])
                for number in range(solver.steps) if n else ():
                    moment = Moment(*(values[number] for values in moments))
                    how = plan.guidance if guided[number] else UNGUIDED
                    sample = self._advance(
                        self._variables[0], begun[0], moment, *begun[1:], own[0], solver=solver,
                        guidance=how,
                    )  # fmt: skip
                    begun = (sample, *begun[1:])
                    progress.update()
                results.append(np.asarray(self._decode(*self._variables, begun[0].x))[: n - first])
        return np.concatenate(results)

    def _beginning(
        self,
        variables: tuple[Tree, Tree, Tree],
        key: jax.Array,
        ids: jax.Array,
        images: jax.Array | None,
        cells: jax.Array | None,
        time: jax.Array,
    ) -> tuple[Sample, jax.Array, Known | None]:
        """Where examples begin, their keys, and what of them stays."""
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(ids)
        sample = self.task.first(keys, self.shape)
        if images is None:
            return sample, keys, None
        _, collections, frozen = variables
        x0, noise = self.task.data_of(collections, frozen, {self.task.inputs: images}), sample.x
        x = mixed(self.task.path, x0, noise, jnp.full(len(ids), time))
        stays = jnp.zeros(x0.shape[:-1], bool) if cells is None else ~cells
        return Sample(x, sample.x0), keys, Known(x0, noise, stays)

    def _one_step(
        self,
        params: Tree,
        sample: Sample,
        moment: Moment,
        keys: jax.Array,
        known: Known | None,
        cond: Tree | None,
        *,
        solver: Solver,
        guidance: Guidance,
    ) -> Sample:
        how = {"solver": solver, "guidance": guidance}
        after = self.task.advance(params, sample, moment, keys, cond, **how)
        if known is None:
            return after
        times = jnp.full(len(keys), moment.after)
        x = mixed(self.task.path, known.x0, known.noise, times)
        return Sample(jnp.where(known.stays[..., None], x, after.x), after.x0)

    def _decoded(self, params: Tree, collections: Tree, frozen: Tree, x: jax.Array) -> jax.Array:
        del params
        return as_trained(self.task.decode(collections, frozen, x), self.dtype)


def interval_of(value: Any) -> Interval:
    """Two times as an interval.

    Raises:
        UsageError: they are not two in [0, 1], the first one below the second.
    """
    ends = arguments.items("guidance_interval", value, "(0.1, 0.8)")
    if len(ends) != 2:
        raise UsageError(f"guidance_interval: {len(ends)} numbers: wanted two, such as (0.1, 0.8)")
    low, high = (arguments.real("guidance_interval", end, least=0, most=1) for end in ends)
    if not low < high:
        raise UsageError(
            f"guidance_interval: {low:g} to {high:g}: wanted the smaller time first (0 is data, 1 "
            "is noise)"
        )
    return Interval(low, high)
