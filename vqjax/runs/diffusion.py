"""A trained denoiser from Python, numpy in and numpy out.

run = vqjax.load("runs/mnist_dit")
images = run.sample(64, classes=[3, 7], guidance=Guidance(2.0))
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from flax import linen as nn

from vqjax import arguments
from vqjax.evaluation.denoising import DenoisingEvaluator
from vqjax.format import shorten
from vqjax.ops.numerics import make_key
from vqjax.runs.base import Opening, Run, Sizes
from vqjax.runs.conditions import Others, condition_arrays, in_words, keywords_for, main_classes
from vqjax.runs.editing import UNGUIDED
from vqjax.runs.examples import as_trained, checked_count
from vqjax.sampling import Guidance, Interval
from vqjax.sampling.solvers import Moment, Sample, Solver
from vqjax.tasks.diffusion import DENOISER, DENOISING
from vqjax.training.experiment import Experiment
from vqjax.types import Tree, UsageError

CALL_BATCH = 64  # examples per call of a program
MAX_NAME = 60  # characters of a tokenizer's name in a sentence
ALWAYS = Interval()


class DiffusionRun(Run):
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
        self._first = jax.jit(functools.partial(self.task.first, shape=self.shape))
        self._advance = jax.jit(
            self._one_step, static_argnames=("solver", "guidance"), donate_argnums=1
        )
        self._decode = jax.jit(self._decoded)

    def network(self) -> nn.Module:
        """The denoiser."""
        return self.task.denoiser

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

        Returns:
            [n, *S, C] of the run's `dtype`.

        Raises:
            UsageError: the denoiser takes no classes or has no such class, takes no prompts or none
                so long, cannot be guided, or the solver cannot follow its path; or an argument is
                of the wrong kind.
        """
        self._check_process()
        n, seed = checked_count(n, self.shape, self.dtype), arguments.seed_of(seed)
        solver = self._solver(solver)
        arguments.instance("guidance", guidance, Guidance, "Guidance(2.0)")
        interval = interval_of(guidance_interval)
        condition = self.task.denoiser.condition
        cond = condition_arrays(
            condition, self.experiment.data, n, classes, prompts, conditions, network=DENOISER
        )
        return self._drawn(n, seed, cond, solver, guidance, interval)

    def _solver(self, solver: Solver | None) -> Solver:
        """The solver that is asked for, which must fit the path."""
        if solver is None:
            return self.task.solver
        arguments.instance("solver", solver, Solver, "Heun(25)")
        solver.check(self.task.path)
        return solver

    def _drawn(
        self,
        n: int,
        seed: int,
        cond: Tree | None,
        solver: Solver,
        guidance: Guidance,
        interval: Interval,
    ) -> np.ndarray:
        """Examples [n, *S, C], with a progress bar on a terminal."""
        moments = solver.moments()
        guided = (interval.low < moments.now) & (moments.now <= interval.high)
        parts = range(0, max(n, 1), CALL_BATCH)
        bar = {"desc": "steps", "unit": "step", "delay": 1.0, "disable": None, "leave": False}
        results = []
        with self._context(), tqdm.tqdm(total=len(parts) * solver.steps, **bar) as progress:
            for first in parts:
                ids = np.arange(first, first + CALL_BATCH, dtype=np.uint32)
                rows = np.minimum(ids, max(n - 1, 0))  # the last ones are padding
                own = jax.tree.map(lambda a, rows=rows: np.asarray(a)[rows], cond) if n else cond
                keys = jax.vmap(lambda i: jax.random.fold_in(make_key(seed), i))(jnp.asarray(ids))
                sample = self._first(keys)
                for number in range(solver.steps) if n else ():
                    moment = Moment(*(values[number] for values in moments))
                    how = guidance if guided[number] else UNGUIDED
                    sample = self._advance(
                        self._variables[0], sample, moment, keys, own, solver=solver, guidance=how
                    )
                    progress.update()
                results.append(np.asarray(self._decode(*self._variables, sample.x))[: n - first])
        return np.concatenate(results)

    def _one_step(
        self,
        params: Tree,
        sample: Sample,
        moment: Moment,
        keys: jax.Array,
        cond: Tree | None,
        *,
        solver: Solver,
        guidance: Guidance,
    ) -> Sample:
        how = {"solver": solver, "guidance": guidance}
        return self.task.advance(params, sample, moment, keys, cond, **how)

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
