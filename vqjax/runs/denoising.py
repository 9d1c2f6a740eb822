"""The programs of a denoiser's run: out of noise, or of noisy examples, step by step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from vqjax import arguments
from vqjax.ops.diffusion import mixed
from vqjax.ops.numerics import make_key
from vqjax.runs.base import Opening
from vqjax.runs.conditions import condition_arrays
from vqjax.runs.editing import UNGUIDED
from vqjax.runs.examples import as_trained, in_parts
from vqjax.sampling import Guidance, Interval, to_noise
from vqjax.sampling.solvers import Moment, Sample, Solver
from vqjax.tasks.diffusion import DENOISER
from vqjax.types import Tree, UsageError

CALL_BATCH = 64  # examples per call of a program
ALWAYS = Interval()
INVERSION_STEPS = 50  # of Heun, from data to noise


class Known(NamedTuple):
    """What stays of examples: the data and the noise [B, *s, C], and where, bool [B, *s]."""

    x0: jax.Array
    noise: jax.Array
    stays: jax.Array


class Plan(NamedTuple):
    """What is drawn: n examples under `cond`, from the time `strength` on; out of noise, which may
    be `start` [n, *s, C], or of `images` [n, *S, C], of which all stays but `cells`, bool [n, *s];
    None: nothing does.
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
    start: np.ndarray | None = None


class Denoising:
    """Base of `DiffusionRun`: what draws."""

    def _make_programs(self, opening: Opening) -> None:
        self._variables = (opening.opened.params, opening.opened.collections, opening.frozen)
        self._begin = jax.jit(self._beginning)
        self._advance = jax.jit(
            self._one_step, static_argnames=("solver", "guidance"), donate_argnums=1
        )
        self._decode = jax.jit(self._decoded)
        self._invert = jax.jit(self._inverted)

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
                    for tree in (plan.cond, plan.images, plan.cells, plan.start)
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
        start: jax.Array | None,
        time: jax.Array,
    ) -> tuple[Sample, jax.Array, Known | None]:
        """Where examples begin, their keys, and what of them stays."""
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(ids)
        sample = self.task.first(keys, self.shape)
        if start is not None:
            sample = Sample(start, jnp.zeros_like(start))
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

    def _noise_of(self, images: np.ndarray, cond: Tree | None) -> np.ndarray:
        """The noises [n, *s, C] from which the flow comes to images [n, *S, C]."""
        leaves, structure = jax.tree.flatten(cond)

        def invert(images: np.ndarray, *leaves: np.ndarray) -> jax.Array:
            return self._invert(self._variables, images, jax.tree.unflatten(structure, leaves))

        with self._context():
            return in_parts(invert, (images, *map(np.asarray, leaves)), CALL_BATCH, "noise")

    def _inverted(
        self, variables: tuple[Tree, Tree, Tree], images: jax.Array, cond: Tree | None
    ) -> jax.Array:
        params, collections, frozen = variables
        x0 = self.task.data_of(collections, frozen, {self.task.inputs: images})
        return to_noise(self.task.flow(params, len(images), cond), x0, INVERSION_STEPS)

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
