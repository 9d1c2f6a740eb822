"""Noise: how it is mixed into data, what a network may say of it, and times to train at.

Time is 0 at the data and 1 at the noise, everywhere. A path mixes x_t = alpha(t) x0 + sigma(t)
noise, x0 [B, *S, C], noise ~ N(0, 1), t float[B] in [0, 1]. All is in float32 at least.
"""

import dataclasses
import functools
import math
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from vqjax import arguments
from vqjax.ops.numerics import at_least_float32

__all__ = ["DDPMPath", "CosinePath", "LogitNormalTimes", "Path", "StraightPath", "UniformTimes"]

PREDICTIONS = ("x0", "noise", "velocity")
BETAS = ("linear", "scaled", "cosine")
TRAIN_FLOOR, FLOOR = 0.05, 1e-3  # least alpha or sigma that is divided by, in training and sampling


@runtime_checkable
class Path(Protocol):
    """How data become noise. `smooth`: whether `slopes` are finite for all t in (0, 1]."""

    smooth: bool

    def alpha(self, t: jax.Array) -> jax.Array:
        """Share of the data: 1 at t = 0."""

    def sigma(self, t: jax.Array) -> jax.Array:
        """Share of the noise: 0 at t = 0."""

    def slopes(self, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The derivatives of `alpha` and `sigma` by t."""


@dataclasses.dataclass(frozen=True)
class StraightPath:
    """alpha = 1 - t, sigma = t: rectified flow (arXiv 2403.03206, eq. 13)."""

    smooth = True

    def alpha(self, t: jax.Array) -> jax.Array:
        return 1.0 - t

    def sigma(self, t: jax.Array) -> jax.Array:
        return jnp.asarray(t)

    def slopes(self, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        return -jnp.ones_like(t), jnp.ones_like(t)


@dataclasses.dataclass(frozen=True)
class CosinePath:
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2): keeps the variance of data of variance 1
    (arXiv 2401.08740, "GVP").
    """

    smooth = True

    def alpha(self, t: jax.Array) -> jax.Array:
        return jnp.sin(math.pi / 2 * (1.0 - t))  # exactly 0 at t = 1

    def sigma(self, t: jax.Array) -> jax.Array:
        return jnp.sin(math.pi / 2 * t)

    def slopes(self, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        return -math.pi / 2 * self.sigma(t), math.pi / 2 * self.alpha(t)


@dataclasses.dataclass(frozen=True)
class DDPMPath:
    """DDPM's steps: alpha^2 is the product of 1 - beta_i over i < t count (arXiv 2006.11239, eq.
    4), and between steps its logarithm follows a line. Step i, from 0 on, ends at (i + 1) / count.

    Attributes:
        count: of steps.
        first, last: of the betas; not of "cosine".
        kind: "linear"; "scaled", linear in the square root of beta; or "cosine" (arXiv 2102.09672,
            eq. 17, with betas of at most .999).
    """

    count: int = 1_000
    first: float = 1e-4
    last: float = 0.02
    kind: str = "linear"

    smooth = False  # sigma grows infinitely fast at t = 0

    def __post_init__(self) -> None:
        arguments.one_of("path.kind", self.kind, BETAS)
        arguments.whole("path.count", self.count, least=1, most=100_000)
        for name in ("first", "last"):
            arguments.real(f"path.{name}", getattr(self, name), above=0, most=0.999)

    @functools.cached_property
    def logs(self) -> np.ndarray:
        """log alpha^2 at t = 0, 1 / count, ..., 1: float64[count + 1]."""
        if self.kind == "cosine":
            share = np.arange(self.count + 1) / self.count
            kept = np.cos((share + 0.008) / 1.008 * np.pi / 2) ** 2  # [count + 1]
            betas = np.minimum(1 - kept[1:] / kept[:-1], 0.999)  # eq. 17
        elif self.kind == "scaled":
            betas = np.linspace(self.first**0.5, self.last**0.5, self.count) ** 2
        else:
            betas = np.linspace(self.first, self.last, self.count)
        return np.concatenate([[0.0], np.cumsum(np.log1p(-betas))])

    def _log(self, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        """log alpha^2 at t, and its derivative there, from the left."""
        at = jnp.asarray(t) * self.count
        # A time that is a step, up to rounding, is that step.
        near = jnp.rint(at)
        at = jnp.where(jnp.abs(at - near) < 1e-3, near, at)
        right = jnp.clip(jnp.ceil(at).astype(jnp.int32), 1, self.count)
        logs = jnp.asarray(self.logs, at.dtype)
        slope = logs[right] - logs[right - 1]
        return logs[right] - (right - at) * slope, slope * self.count

    def alpha(self, t: jax.Array) -> jax.Array:
        return jnp.exp(0.5 * self._log(t)[0])

    def sigma(self, t: jax.Array) -> jax.Array:
        return jnp.sqrt(-jnp.expm1(self._log(t)[0]))

    def slopes(self, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        log, slope = self._log(t)
        return 0.5 * slope * jnp.exp(0.5 * log), -0.5 * slope * jnp.exp(log) / self.sigma(t)


class Prediction(NamedTuple):
    """What is known of a mixture x_t, [B, *S, C] each: the data, the noise, and the velocity
    dx_t / dt = alpha' x0 + sigma' noise; and `spread`, where between its least and largest value
    the logarithm of a step's variance lies, 0 to 1 (arXiv 2102.09672, eq. 15); None: unknown.
    """

    x0: jax.Array
    noise: jax.Array
    velocity: jax.Array
    spread: jax.Array | None = None


def over(t: jax.Array, x: jax.Array) -> jax.Array:
    """Numbers [B], or one, with the axes of x [B, *S, C]."""
    return jnp.reshape(t, (-1, *(1,) * (x.ndim - 1)))


def mixed(path: Path, x0: jax.Array, noise: jax.Array, t: jax.Array) -> jax.Array:
    """x_t [B, *S, C] of data and noise [B, *S, C] at t [B]."""
    x0, noise = at_least_float32(x0), at_least_float32(noise)
    return over(path.alpha(t), x0) * x0 + over(path.sigma(t), x0) * noise


def velocity_of(path: Path, x0: jax.Array, noise: jax.Array, t: jax.Array) -> jax.Array:
    """dx_t / dt [B, *S, C] for data and noise [B, *S, C] at t [B]."""
    down, up = path.slopes(t)
    return over(down, x0) * at_least_float32(x0) + over(up, x0) * at_least_float32(noise)


def understood(
    path: Path, predicts: str, out: jax.Array, x_t: jax.Array, t: jax.Array, floor: float = FLOOR
) -> Prediction:
    """All three predictions out of one.

    Args:
        path: the path.
        predicts: which of `PREDICTIONS` the network made.
        out: it, [B, *S, C].
        x_t: the mixture that it is of, [B, *S, C].
        t: of the mixture, [B].
        floor: least alpha or sigma that is divided by.
    """
    out, x_t = at_least_float32(out), at_least_float32(x_t)
    alpha, sigma = over(path.alpha(t), x_t), over(path.sigma(t), x_t)
    down, up = (over(slope, x_t) for slope in path.slopes(t))
    if predicts == "x0":
        x0, noise = out, (x_t - alpha * out) / jnp.maximum(sigma, floor)
    elif predicts == "noise":
        x0, noise = (x_t - sigma * out) / jnp.maximum(alpha, floor), out
    else:  # two equations for x0 and noise: those of x_t and of its derivative
        determinant = alpha * up - sigma * down  # 1 on the straight path
        x0 = (up * x_t - sigma * out) / determinant
        noise = (alpha * out - down * x_t) / determinant
        return Prediction(x0, noise, out)
    return Prediction(x0, noise, down * x0 + up * noise)


def log_snr(path: Path, t: jax.Array) -> jax.Array:
    """log(alpha / sigma): from inf at t = 0 down, to -inf where no data is left."""
    return jnp.log(path.alpha(t)) - jnp.log(path.sigma(t))


def shifted(t: jax.Array, factor: float) -> jax.Array:
    """factor t / (1 + (factor - 1) t): times of larger examples, which need more noise to look as
    noisy (arXiv 2403.03206, eq. 23); 1 changes nothing.
    """
    return factor * t / (1.0 + (factor - 1.0) * t)


@dataclasses.dataclass(frozen=True)
class _Times:
    """Base of distributions of t, of which a subclass has the `quantile` function.

    Attributes:
        shift: factor of `shifted`.
        stratified: whether each of the B examples of a batch draws from its own of B equal shares
            of the distribution, so that every batch covers all times; else independently.
        steps: times are rounded up to multiples of 1 / steps, as those of DDPM are; None: any.
    """

    shift: float = 1.0
    stratified: bool = True
    steps: int | None = None

    def __post_init__(self) -> None:
        arguments.real("times.shift", self.shift, above=0)
        if self.steps is not None:
            arguments.whole("times.steps", self.steps, least=1, most=100_000)

    def quantile(self, share: jax.Array) -> jax.Array:
        """The time below which a share in [0, 1] of the draws lies."""
        raise NotImplementedError

    def draw(self, key: jax.Array, count: int) -> jax.Array:
        """Times float32[count]."""
        share = jax.random.uniform(key, (count,), jnp.float32)
        if self.stratified:
            share = (jnp.arange(count) + share) / count
        return self.at(share)

    def at(self, share: jax.Array) -> jax.Array:
        """`quantile`, shifted: times float32 of shares in [0, 1]."""
        t = shifted(self.quantile(share), self.shift).astype(jnp.float32)
        return t if self.steps is None else jnp.clip(jnp.ceil(t * self.steps), 1) / self.steps


@dataclasses.dataclass(frozen=True)
class UniformTimes(_Times):
    """Times uniform in [low, high]."""

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        arguments.real("times.low", self.low, least=0, most=1)
        arguments.real("times.high", self.high, above=self.low, most=1)

    def quantile(self, share: jax.Array) -> jax.Array:
        return self.low + (self.high - self.low) * share


@dataclasses.dataclass(frozen=True)
class LogitNormalTimes(_Times):
    """log(t / (1 - t)) ~ N(mean, deviation^2): most draws in the middle, where learning is hardest
    (arXiv 2403.03206, eq. 19).
    """

    mean: float = 0.0
    deviation: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        arguments.real("times.mean", self.mean)
        arguments.real("times.deviation", self.deviation, above=0)

    def quantile(self, share: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(self.mean + self.deviation * jax.scipy.special.ndtri(share))


def step_variances(path: Path, t: jax.Array, after: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of a step from t down to `after`: what the forward process adds, "beta", and the variance of
    the posterior, "beta~" (arXiv 2006.11239, eq. 7), which is 0 where `after` is.
    """
    alpha, sigma, to_sigma = path.alpha(t), path.sigma(t), path.sigma(after)
    added = jnp.maximum(sigma**2 - (alpha / path.alpha(after) * to_sigma) ** 2, 0.0)
    return added, added * (to_sigma / sigma) ** 2


def variational_bits(
    path: Path, x0: jax.Array, x_t: jax.Array, t: jax.Array, found: Prediction, steps: int
) -> jax.Array:
    """Bits per number of the variational bound's term at t [B], float32[B], of which only `spread`
    is learned (arXiv 2102.09672, eq. 14 to 16): KL(posterior || step), and at the last step -log p
    of 8-bit data.

    Args:
        path: the path.
        x0: data [B, *S, C].
        x_t: the mixture at t, [B, *S, C].
        t: multiples of 1 / steps, [B].
        found: of x_t, with its spread.
        steps: of the process.
    """
    axes = tuple(range(1, x0.ndim))
    after = jnp.maximum(t - 1.0 / steps, 0.0)
    added, least = step_variances(path, t, after)
    first = jnp.full_like(t, 1.0 / steps)
    # The last step's posterior has no variance: that of the step before it, as published.
    floor = step_variances(path, 2 * first, first)[1]
    low, high = (over(jnp.log(v), x0) for v in (jnp.where(after > 0, least, floor), added))
    log_variance = found.spread * high + (1 - found.spread) * low  # eq. 15
    # The posterior's means differ by this much of x0.
    gain = path.alpha(after) * added / path.sigma(t) ** 2
    off = over(gain, x0) * (x0 - jax.lax.stop_gradient(found.x0))
    kl = 0.5 * (
        log_variance - low + jnp.expm1(low - log_variance) + off**2 * jnp.exp(-log_variance)
    )
    deviation = jnp.exp(0.5 * log_variance)

    def below(edge: jax.Array) -> jax.Array:
        return jax.scipy.stats.norm.cdf((off + edge) / deviation)

    half = 1.0 / 255.0  # half a level of 8 bits on [-1, 1]
    upper = jnp.where(x0 > 0.999, 1.0, below(half))
    lower = jnp.where(x0 < -0.999, 0.0, below(-half))
    nats = -jnp.log(jnp.maximum(upper - lower, 1e-12))
    bits = jnp.where(over(after > 0, x0), kl, nats) / math.log(2.0)
    return bits.mean(axis=axes)
