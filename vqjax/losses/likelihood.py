"""How probable an original is under its decoder, in nats per example.

As losses they are -log p(x | z): the sum over all values of an example, the mean over the batch.
With the weight 1, beside `kl` of `vqjax.quantizers.Gaussian` with the weight 1, the total is
the negative evidence lower bound (arXiv 1312.6114, eq. 10), an upper bound on -log p(x). They
share the name "nll", so one takes the place of another without a change of weights.

Each takes (x, x_hat, logits) as the losses of `vqjax.losses.reconstruction` do: `x` and `x_hat`
[B, *S, C] in [-1, 1], `logits` the decoder's raw output; all in at least float32.
"""

import dataclasses
import math
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp

from vqjax.config.annotations import check_fields
from vqjax.ops.numerics import at_least_float32, sum_per_example
from vqjax.types import UsageError

HALF_BIN = 1.0 / 255.0  # of the 256 values in [-1, 1], 2 / 255 apart


class Likelihood:
    """Base: the loss is the mean of -log p over the batch; an empty one is zero, not NaN."""

    name: ClassVar[str] = "nll"
    needs_logits: ClassVar[bool] = False

    def __call__(self, x: jax.Array, x_hat: jax.Array, logits: jax.Array) -> jax.Array:
        log_prob = self.log_prob(x, x_hat, logits)  # [B]
        return -log_prob.sum() / max(len(log_prob), 1)  # []


class Scaled(Likelihood):
    """Base of those with a field `scale`."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0.0 < self.scale < math.inf:
            name = type(self).__name__
            raise UsageError(f"{name}.scale={self.scale}: wanted a finite number above 0")


@dataclasses.dataclass(frozen=True)
class BernoulliLikelihood(Likelihood):
    """Values are -1 or 1, the latter with probability sigmoid(logits).

    log p = sum t logits - softplus(logits), t = (x + 1) / 2 (arXiv 1312.6114, eq. 11). A bound on
    the likelihood only of data of two values (`vqjax.data.Binarize`); of grey ones it is a cross
    entropy.
    """

    needs_logits: ClassVar[bool] = True

    def log_prob(self, x: jax.Array, x_hat: jax.Array, logits: jax.Array) -> jax.Array:
        """log p(x | z), float[B]."""
        chex.assert_equal_shape((x, logits))
        target, exact = (at_least_float32(x) + 1.0) / 2.0, at_least_float32(logits)
        return sum_per_example(target * exact - jax.nn.softplus(exact))  # [B]; eq. 11


@dataclasses.dataclass(frozen=True)
class GaussianLikelihood(Scaled):
    """Values are N(x_hat, scale^2), independent of each other (arXiv 1312.6114, appendix C.2).

    A density over [-1, 1], so its nats may be negative and say nothing about 8-bit values. The
    gradient is that of squared error: 1 / scale^2 is what that weighs against the KL.

    Attributes:
        scale: standard deviation in units of x, where black and white are 2 apart.
    """

    scale: float = 1.0

    def log_prob(self, x: jax.Array, x_hat: jax.Array, logits: jax.Array) -> jax.Array:
        """log p(x | z), float[B]."""
        chex.assert_equal_shape((x, x_hat))
        error = (at_least_float32(x) - at_least_float32(x_hat)) / self.scale
        constant = math.log(self.scale) + 0.5 * math.log(2.0 * math.pi)
        return sum_per_example(-0.5 * jnp.square(error) - constant)  # [B]


@dataclasses.dataclass(frozen=True)
class LogisticLikelihood(Scaled):
    """Values are one of 256, x = v / 127.5 - 1, by a logistic distribution cut into bins.

    p(v) = sigmoid((x + 1/255 - x_hat) / scale) - sigmoid((x - 1/255 - x_hat) / scale), where the
    bins of 0 and 255 reach to -inf and inf, so that the 256 sum to one (arXiv 1606.04934,
    appendix; 1701.05517, eq. 2 with one component). Nats over ln 2 are bits, comparable with
    any model of 8-bit values.

    Attributes:
        scale: of the logistic distribution, in units of x, where neighbouring values are 2/255
            apart. Fixed, and one for all values; the models of the former paper learn it.
    """

    scale: float = 0.05

    def log_prob(self, x: jax.Array, x_hat: jax.Array, logits: jax.Array) -> jax.Array:
        """log p(x | z), float[B]."""
        chex.assert_equal_shape((x, x_hat))
        exact = at_least_float32(x)
        centred = exact - at_least_float32(x_hat)
        upper = jax.nn.log_sigmoid((centred + HALF_BIN) / self.scale)
        lower = jax.nn.log_sigmoid((HALF_BIN - centred) / self.scale)
        # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)): exact in the tails,
        # where both sigmoids are 0 or 1; and b - a is the width of a bin.
        width = math.log(-math.expm1(-2.0 * HALF_BIN / self.scale))
        inside = upper + lower + width  # [B, *S, C]; arXiv 1701.05517, eq. 2
        first, last = exact < HALF_BIN - 1.0, exact > 1.0 - HALF_BIN
        log_p = jnp.where(first, upper, jnp.where(last, lower, inside))  # [B, *S, C]
        return sum_per_example(log_p)  # [B]
