"""Codes: the nearest one, how often each was picked, and gradients past the choice."""

import functools

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from vqjax.ops import progress
from vqjax.ops.nearest import nearest, offset
from vqjax.ops.numerics import at_least_float32
from vqjax.ops.segments import count, sum_by_code, take

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

PART = 2**30  # distances at a time where k-means works in parts


def straight_through(z: jax.Array, q: jax.Array) -> jax.Array:
    """`q` exactly, with the identity as its gradient to `z` (arXiv 1308.3432).

    Written so that the value is `q` to the last bit: z - z is zero, while z + (q - z) rounds.
    """
    return stop_gradient(q) + (z - stop_gradient(z))


def perplexity(counts: jax.Array) -> jax.Array:
    """exp of the entropy of `counts` [K]: 1 if one code takes all, K if all are equally used."""
    p = counts / jnp.maximum(jnp.sum(counts), 1.0)  # [K]
    return jnp.exp(-jnp.sum(jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1.0)), 0.0)))


def kmeans(z: jax.Array, size: int, iterations: int, key: jax.Array) -> jax.Array:
    """Lloyd's algorithm from `size` random rows of `z`.

    A centre that no vector is nearest to moves to a random row, so that none stays empty.
    With fewer rows than centres, rows are used more than once.

    Outside of `jit` a long run is done in parts of about a second on a CPU, so that it can be
    interrupted; each is reported to `vqjax.ops.progress`. Rows that the number of parts does not
    divide, fewer than there are parts, are left out then.

    Args:
        z: [N, D], N > 0.
        size: number of centres, K.
        iterations: Lloyd steps.
        key: of the random rows.

    Returns:
        centres [K, D].
    """
    parts = -(-z.shape[0] * size // PART)
    if isinstance(z, jax.core.Tracer) or parts == 1:
        return _kmeans(z, size, iterations, key)
    z, common, centres, spare = _first_centres(z, size, key)
    for i in range(iterations):
        sums, counts = jnp.zeros_like(centres), jnp.zeros((size,), jnp.float32)  # [K, D], [K]
        for part in range(parts):
            progress.tell("k-means", i * parts + part, iterations * parts)
            sums, counts = _with_part(z, part, parts, centres, sums, counts)
            jax.block_until_ready(counts)
        centres = _moved(i, z, sums, counts, spare)
    return centres + common[None, :]


@functools.partial(jax.jit, static_argnames=("size", "iterations"))
def _kmeans(z, size, iterations, key):
    """`kmeans` as one program."""
    z, common, centres, spare = _first_centres(z, size, key)

    def step(i, centres):
        return _moved(i, z, *_sums_and_counts(z, centres), spare)

    return jax.lax.fori_loop(0, iterations, step, centres) + common[None, :]


@functools.partial(jax.jit, static_argnames="size")
def _first_centres(z, size, key):
    """z [N, D] without what its rows have in common; that; K random rows; and the key of others."""
    z = at_least_float32(z)
    common = offset(z)  # [D]; sums of what is left are exact to more digits
    z = z - common[None, :]
    first, spare = jax.random.split(key)
    rows = jax.random.permutation(first, z.shape[0])  # [N]
    rows = rows[jnp.arange(size) % z.shape[0]]  # [K]
    return z, common, z[rows], spare  # [N, D], [D], [K, D]


@jax.jit
def _moved(i, z, sums, counts, spare):
    """The means of sums [K, D] and counts [K]; random rows for centres without vectors."""
    means = sums / jnp.maximum(counts, 1.0)[:, None]  # [K, D]
    key = jax.random.fold_in(spare, i)
    chosen = jax.random.randint(key, counts.shape, 0, z.shape[0], jnp.int32)  # [K]
    return jnp.where((counts > 0)[:, None], means, z[chosen])  # [K, D]


def _sums_and_counts(z: jax.Array, centres: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of the rows of z [N, D] by their nearest of K centres: [K, D] and [K]."""
    size, indices = centres.shape[0], nearest(z, centres)  # K, [N]
    return sum_by_code(z, indices, size), count(indices, size).astype(z.dtype)


@functools.partial(jax.jit, static_argnames="parts", donate_argnames=("sums", "counts"))
def _with_part(z, part, parts, centres, sums, counts):
    """Adds the sums [K, D] and counts [K] of one of `parts`: rows `parts` apart, so that where rows
    are split over devices, each keeps its own.
    """
    rows = z.shape[0] // parts * parts
    own_rows = z[:rows].reshape(-1, parts, z.shape[1])[:, part]  # [N / parts, D]
    more_sums, more_counts = _sums_and_counts(own_rows, centres)  # [K, D], [K]
    return sums + more_sums, counts + more_counts
