"""Codes: the nearest one, how often each was picked, and gradients past the choice.

Scores are computed in at least float32 at the highest matmul precision whatever the inputs are:
bfloat16 and TF32 products pick other codes.
"""

import chex
import jax
import jax.numpy as jnp
from jax.lax import Precision, stop_gradient


def at_least_float32(x: jax.Array) -> jax.Array:
    """Promotes to float32; float64 stays as it is."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def nearest(z: jax.Array, codes: jax.Array) -> jax.Array:
    """Index of the code nearest to each vector in Euclidean distance; ties go to the lowest.

    argmin_k |z - e_k|^2 = argmin_k |e_k|^2 / 2 - z . e_k  (arXiv 1711.00937, eq. 1)

    Args:
        z: [N, D].
        codes: [K, D].

    Returns:
        int32[N] in [0, K).
    """
    chex.assert_rank([z, codes], 2)
    chex.assert_equal_shape_suffix([z, codes], 1)
    z, codes = at_least_float32(z), at_least_float32(codes)
    dot = jnp.matmul(z, codes.T, precision=Precision.HIGHEST)  # [N, K]
    score = 0.5 * jnp.sum(codes**2, axis=-1)[None, :] - dot  # [N, K]
    return jnp.argmin(score, axis=-1).astype(jnp.int32)


def straight_through(z: jax.Array, q: jax.Array) -> jax.Array:
    """`q` exactly, with the identity as its gradient to `z` (arXiv 1308.3432).

    Written so that the value is `q` to the last bit: z - z is zero, while z + (q - z) rounds.
    """
    return stop_gradient(q) + (z - stop_gradient(z))


def take(codes: jax.Array, indices: jax.Array) -> jax.Array:
    """Rows of `codes` [K, D] by index [...]: [..., D]; indices are in range by contract."""
    return codes.at[indices].get(mode="promise_in_bounds")


def count(indices: jax.Array, size: int) -> jax.Array:
    """How often each index in [0, size) occurs: float32[size], exact up to 2^24 each."""
    return jnp.zeros(size, jnp.float32).at[indices.reshape(-1)].add(1.0)


def sum_by_code(z: jax.Array, indices: jax.Array, size: int) -> jax.Array:
    """Sum of the rows of `z` [N, D] that share an index: [size, D]."""
    return jax.ops.segment_sum(at_least_float32(z), indices, num_segments=size)


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
