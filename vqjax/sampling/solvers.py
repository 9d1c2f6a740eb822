"""From noise to data: solvers of the ways back along a path, which know no model.

A solver goes in `steps` steps from time 1, the noise, to 0, the data. It asks `predict(x, t) ->
Prediction`, x [B, *S, C], of times above 0, which are traced scalars; an example depends on its
own key alone. `advance` is one step, so that callers can show each of them or compile all as one.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vqjax import arguments
from vqjax.ops.diffusion import Path, Prediction, log_snr, shifted, step_variances
from vqjax.types import UsageError

MAX_STEPS = 100_000
Predict = Callable[[jax.Array, jax.Array], Prediction]


class Moment(NamedTuple):
    """One step: from time `now` to `after`; `before` is where the last step began, or `now` in the
    first one; `number` counts from 0.
    """

    before: jax.Array
    now: jax.Array
    after: jax.Array
    number: jax.Array


class Sample(NamedTuple):
    """Where a solver is: x [B, *S, C], and the data that it predicted one step before."""

    x: jax.Array
    x0: jax.Array


@dataclasses.dataclass(frozen=True)
class Solver:
    """Base. A subclass has `advance`.

        calls: of the network in a step, the last one excepted.
        is_flow: whether it follows velocities, which only a smooth path has everywhere.

    Attributes:
        steps: at least 1.
        shift: of the times, as in training: see `shifted`.
    """

    steps: int = 25
    shift: float = 1.0

    calls: ClassVar[int] = 1
    is_flow: ClassVar[bool] = False

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        steps = arguments.whole("steps", self.steps, least=1, most=MAX_STEPS)
        set_field(self, "steps", steps)
        set_field(self, "shift", arguments.real("shift", self.shift, above=0))

    def check(self, path: Path) -> None:
        """Refuses, with UsageError, a path that it cannot follow."""
        if self.is_flow and not path.smooth:
            raise UsageError(
                f"{type(self).__name__} follows velocities, which are infinite at the end of "
                f"{type(path).__name__}: wanted Ancestral or DPMSolver"
            )

    @property
    def evaluations(self) -> int:
        """How often the network runs for an example, without guidance."""
        return self.calls * (self.steps - 1) + 1

    def times(self) -> np.ndarray:
        """float64[steps + 1], from 1 down to 0."""
        return np.asarray(shifted(np.linspace(1.0, 0.0, self.steps + 1), self.shift))

    def moments(self, times: np.ndarray | None = None) -> Moment:
        """All steps, float32[steps] each and int32[steps]; of other times from 1 to 0 than
        `times()`.
        """
        times = np.asarray(self.times() if times is None else times, np.float32)
        before = np.concatenate([times[:1], times[:-2]])
        return Moment(before, times[:-1], times[1:], np.arange(len(times) - 1, dtype=np.int32))

    def advance(
        self, predict: Predict, path: Path, sample: Sample, moment: Moment, keys: jax.Array
    ) -> Sample:
        """One step.

        Args:
            predict: what the network says.
            path: whose noise is taken away.
            sample: where it is.
            moment: the step.
            keys: key[B].
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Euler(Solver):
    """x += (t' - t) v: the velocity where the step begins."""

    is_flow = True

    def advance(
        self, predict: Predict, path: Path, sample: Sample, moment: Moment, keys: jax.Array
    ) -> Sample:
        """See `Solver.advance`."""
        now = predict(sample.x, moment.now)
        return Sample(sample.x + (moment.after - moment.now) * now.velocity, now.x0)


@dataclasses.dataclass(frozen=True)
class Heun(Solver):
    """x += (t' - t) (v + v') / 2: the mean of the velocities at both ends, two calls a step; the
    last step is Euler's, so that nothing is asked at t = 0 (arXiv 2206.00364, algorithm 1).
    """

    calls = 2
    is_flow = True

    def advance(
        self, predict: Predict, path: Path, sample: Sample, moment: Moment, keys: jax.Array
    ) -> Sample:
        """See `Solver.advance`."""
        now, length = predict(sample.x, moment.now), moment.after - moment.now
        ahead = sample.x + length * now.velocity

        def corrected() -> jax.Array:
            end = predict(ahead, moment.after)
            return sample.x + length * (now.velocity + end.velocity) / 2

        x = jax.lax.cond(moment.after > 0, corrected, lambda: ahead)
        return Sample(x, now.x0)


@dataclasses.dataclass(frozen=True)
class Ancestral(Solver):
    """The posterior of a step's end given the predicted data: DDPM (arXiv 2006.11239, eq. 7), and
    with less noise DDIM (arXiv 2010.02502, eq. 12), on any path.

    Where the network says how large its variance is, noise is drawn with that (arXiv 2102.09672).

    Attributes:
        eta: share of the posterior's deviation that is drawn anew; 1: DDPM, 0: DDIM, which draws
            nothing.
    """

    steps: int = 50
    eta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "eta", arguments.real("eta", self.eta, least=0, most=1))

    def advance(
        self, predict: Predict, path: Path, sample: Sample, moment: Moment, keys: jax.Array
    ) -> Sample:
        """See `Solver.advance`."""
        now = predict(sample.x, moment.now)
        to_alpha, to_sigma = path.alpha(moment.after), path.sigma(moment.after)
        added, least = step_variances(path, moment.now, moment.after)
        deviation = self.eta * jnp.sqrt(least)
        towards = jnp.sqrt(jnp.maximum(to_sigma**2 - deviation**2, 0.0))
        x = to_alpha * now.x0 + towards * now.noise  # eq. 12
        if self.eta > 0.0:
            if now.spread is not None:  # of the variance, not of the mean
                tiny = jnp.finfo(jnp.float32).tiny
                low, high = jnp.log(jnp.maximum(least, tiny)), jnp.log(jnp.maximum(added, tiny))
                learned = jnp.exp(0.5 * (now.spread * high + (1 - now.spread) * low))
                deviation = self.eta * jnp.where(least > 0, learned, 0.0)
            x = x + deviation * noise_of(keys, x.shape[1:], moment.number + 1)
        return Sample(x, now.x0)


@dataclasses.dataclass(frozen=True)
class DPMSolver(Solver):
    """DPM-Solver++(2M): second order in log(alpha / sigma) by the last two predictions, one call a
    step (arXiv 2211.01095, algorithm 2). The first step and one to t = 0 are of first order.
    """

    steps: int = 20

    def advance(
        self, predict: Predict, path: Path, sample: Sample, moment: Moment, keys: jax.Array
    ) -> Sample:
        """See `Solver.advance`."""
        x0 = predict(sample.x, moment.now).x0
        before, now, after = (log_snr(path, t) for t in moment[:3])
        # h / (2 h_), of this step and the last one; 0 where one of them is infinitely long.
        usual = (moment.number > 0) & (moment.after > 0) & jnp.isfinite(before)
        last = jnp.where(usual, now - before, 1.0)
        weight = jnp.where(usual, jnp.where(usual, after - now, 0.0) / (2 * last), 0.0)
        ahead = x0 + weight * (x0 - sample.x0)
        alpha, sigma = path.alpha(moment.now), path.sigma(moment.now)
        to_alpha, to_sigma = path.alpha(moment.after), path.sigma(moment.after)
        # to_alpha (1 - exp(-h)), without its logarithm, which may be infinite.
        x = to_sigma / sigma * sample.x + (to_alpha - alpha * to_sigma / sigma) * ahead
        return Sample(x, x0)


def noise_of(keys: jax.Array, shape: tuple[int, ...], number: jax.Array | int) -> jax.Array:
    """Noise float32[B, *shape], the `number`th that each example of keys [B] draws: 0 is where it
    starts.
    """

    def draw(key: jax.Array) -> jax.Array:
        return jax.random.normal(jax.random.fold_in(key, number), shape, jnp.float32)

    return jax.vmap(draw)(keys)


def solve(
    predict: Predict,
    path: Path,
    solver: Solver,
    start: jax.Array,
    keys: jax.Array,
    times: np.ndarray | None = None,
) -> jax.Array:
    """All steps as one loop, float32[B, *S, C].

    Args:
        predict: what the network says.
        path: whose noise is taken away.
        solver: how.
        start: the noise, [B, *S, C].
        keys: key[B].
        times: from 1 to 0, others than the solver's own.
    """
    solver.check(path)
    moments = solver.moments(times)

    def step(sample: Sample, moment: Moment) -> tuple[Sample, None]:
        return solver.advance(predict, path, sample, Moment(*moment), keys), None

    start = start.astype(jnp.float32)
    moments = jax.tree.map(jnp.asarray, moments)
    sample, _ = jax.lax.scan(step, Sample(start, jnp.zeros_like(start)), moments)
    return sample.x
