"""How far a reconstruction is from its original.

Each takes (x, x_hat, logits): `x` and `x_hat` [B, *S, C] in [-1, 1], `logits` the decoder's raw
output of the same shape; the mean is over all elements, in at least float32.
"""

import dataclasses
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp

from vqjax.ops.numerics import at_least_float32


@dataclasses.dataclass(frozen=True)
class L1:
    """Mean of |x - x_hat|."""

    name: ClassVar[str] = "l1"
    needs_logits: ClassVar[bool] = False

    def __call__(self, x: jax.Array, x_hat: jax.Array, logits: jax.Array) -> jax.Array:
        chex.assert_equal_shape((x, x_hat))
        return jnp.mean(jnp.abs(at_least_float32(x) - at_least_float32(x_hat)))  # []


@dataclasses.dataclass(frozen=True)
class L2:
    """Mean of (x - x_hat)^2."""

    name: ClassVar[str] = "l2"
    needs_logits: ClassVar[bool] = False

    def __call__(self, x: jax.Array, x_hat: jax.Array, logits: jax.Array) -> jax.Array:
        chex.assert_equal_shape((x, x_hat))
        return jnp.mean(jnp.square(at_least_float32(x) - at_least_float32(x_hat)))  # []


@dataclasses.dataclass(frozen=True)
class BinaryCrossEntropy:
    """Mean of -t log p - (1 - t) log(1 - p), in nats, with t = (x + 1) / 2, p = sigmoid(logits).

    Computed as softplus(logits) - t logits, which is the same and neither overflows nor loses
    digits. For data of two values, or of intensities that are read as probabilities.
    """

    name: ClassVar[str] = "binary_cross_entropy"
    needs_logits: ClassVar[bool] = True

    def __call__(self, x: jax.Array, x_hat: jax.Array, logits: jax.Array) -> jax.Array:
        chex.assert_equal_shape((x, logits))
        target, exact = (at_least_float32(x) + 1.0) / 2.0, at_least_float32(logits)
        return jnp.mean(jax.nn.softplus(exact) - target * exact)  # []
