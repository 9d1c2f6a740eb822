"""Dtypes in which results are worked out."""

import jax
import jax.numpy as jnp


def at_least_float32(x: jax.Array) -> jax.Array:
    """Promotes to float32; float64 stays as it is."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def sum_per_example(values: jax.Array) -> jax.Array:
    """[B, ...] -> [B]."""
    return values.sum(axis=tuple(range(1, values.ndim)))
