"""Penalties on a discriminator's gradient by its input."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from vqjax.ops.numerics import at_least_float32


def gradient_penalty(judge: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """|d judge(x) / dx|^2, summed over an example's numbers, the mean over examples: zero-centred
    (arXiv 1801.04406, eq. 9 and 10: R1 of real x, R2 of made ones). A scalar, in float32 at least.

    Args:
        judge: x [B, *S, C] -> logits of any shape, of which an example's depend on it alone.
        x: what is judged, as it is before any augmentation in `judge`.
    """
    slope = jax.grad(lambda x: at_least_float32(judge(x)).sum())(at_least_float32(x))
    return jnp.mean(jnp.sum(jnp.square(slope), axis=tuple(range(1, x.ndim))))
