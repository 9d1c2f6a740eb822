"""Precision and random keys, whatever JAX's defaults are."""

import jax
import jax.numpy as jnp

KEYS = "threefry2x32"


def make_key(seed: int | jax.Array) -> jax.Array:
    """The key of `seed`, of the same kind whatever JAX_DEFAULT_PRNG_IMPL says: a run draws the same
    numbers everywhere, and its checkpoints fit.
    """
    return jax.random.key(seed, impl=KEYS)


def at_least_float32(x: jax.Array) -> jax.Array:
    """Promotes to float32; float64 stays as it is."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def sum_per_example(values: jax.Array) -> jax.Array:
    """[B, ...] -> [B]."""
    return values.sum(axis=tuple(range(1, values.ndim)))  # [B]
