"""Codes: the nearest one, how often each was picked, and gradients past the choice."""

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from vqjax.ops.nearest import nearest
from vqjax.ops.numerics import at_least_float32
from vqjax.ops.sums import count, sum_by_code, take

__all__ = [
    "at_least_float32",
    "count",
    "kmeans",
    "nearest",
    "perplexity",
    "straight_through",
    "sum_by_code",
    "take",
]


def straight_through(z: jax.Array, q: jax.Array) -> jax.Array:
    """`q` exactly, with the identity as its gradient to `z` (arXiv 1308.3432).

    Written so that the value is `q` to the last bit: z - z is zero, while z + (q - z) rounds.
    """
    return stop_gradient(q) + (z - stop_gradient(z))


def perplexity(counts: jax.Array) -> jax.Array:
    """exp of the entropy of `counts` [K]: 1 if one code takes all, K if all are equally used."""
    p = counts / jnp.maximum(jnp.sum(counts), 1.0)
    return jnp.exp(-jnp.sum(jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1.0)), 0.0)))


def kmeans(z: jax.Array, size: int, iterations: int, key: jax.Array) -> jax.Array:
    """Lloyd's algorithm from `size` random rows of `z`.

    A centre that no vector is nearest to moves to a random row, so that none stays empty for want
    of luck. With fewer rows than centres, rows are used more than once.

    Args:
        z: [N, D], N > 0.
        size: number of centres, K.
        iterations: Lloyd steps.
        key: of the random rows.

    Returns:
        centres [K, D].
    """
    z = at_least_float32(z)
    first, spare = jax.random.split(key)
    rows = jax.random.permutation(first, z.shape[0])
    centres = z[rows[jnp.arange(size) % z.shape[0]]]  # [K, D]

    def step(i, centres):
        indices = nearest(z, centres)
        counts = count(indices, size).astype(z.dtype)
        means = sum_by_code(z, indices, size) / jnp.maximum(counts, 1.0)[:, None]
        others = z[jax.random.randint(jax.random.fold_in(spare, i), (size,), 0, z.shape[0])]
        return jnp.where((counts > 0)[:, None], means, others)

    return jax.lax.fori_loop(0, iterations, step, centres)
