"""Bits: indices from bits and back, and entropies of codes whose bits are independent."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision


def pack(bits: jax.Array) -> jax.Array:
    """bool[..., n], the lowest bit first -> int32[...] in [0, 2^n), n <= 31."""
    weights = jnp.asarray(2 ** np.arange(bits.shape[-1]), jnp.int32)  # [n]
    return jnp.tensordot(bits.astype(jnp.int32), weights, axes=1)  # [...]


def unpack(indices: jax.Array, count: int) -> jax.Array:
    """int32[...] -> its `count` lowest bits, bool[..., count], the lowest first."""
    return jnp.stack([indices >> i & 1 == 1 for i in range(count)], axis=-1)  # [..., count]


def sample_entropy(log_odds: jax.Array) -> jax.Array:
    """Mean over rows of the entropy of their codes, in nats.

    Within a row bits are independent, so it is the sum of the bits' entropies, exactly.

    Args:
        log_odds: [N, n], log p(bit = 1) - log p(bit = 0).
    """
    each = jax.nn.softplus(log_odds) - log_odds * jax.nn.sigmoid(log_odds)  # [N, n]
    return jnp.sum(each) / max(len(log_odds), 1)  # []


def batch_entropy(log_odds: jax.Array, group: int) -> jax.Array:
    """Entropy of the rows' mean distribution over codes, in nats, at most n log 2.

    Exact for n <= group. More bits are cut into parts of nearly equal size, at most `group`, and
    the sum of the parts' entropies is returned: an upper bound, which no N x 2^n array is needed
    for (arXiv 2406.07548).

    Args:
        log_odds: [N, n].
        group: bits per part; 2^group probabilities are held per row.
    """
    rows, bits = log_odds.shape
    total = jnp.zeros((), log_odds.dtype)
    for part in np.array_split(np.arange(bits), -(-bits // group)):
        patterns = np.array(list(itertools.product((0, 1), repeat=len(part))))  # [2^g, g]
        patterns = jnp.asarray(patterns.T, log_odds.dtype)  # [g, 2^g]
        # log p(code | row) is the sum of log_odds where the code has a one, less a constant.
        of_part = log_odds[:, part[0] : part[-1] + 1]  # [N, g]
        score = jnp.matmul(of_part, patterns, precision=Precision.HIGHEST)  # [N, 2^g]
        mean = jnp.sum(jax.nn.softmax(score), axis=0) / max(rows, 1)  # [2^g]
        total += entropy(mean)
    return total


def entropy(p: jax.Array) -> jax.Array:
    """-sum p log p over the last axis, in nats; zeros count as zero, also in the gradient."""
    return -jnp.sum(jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1.0)), 0.0), axis=-1)
