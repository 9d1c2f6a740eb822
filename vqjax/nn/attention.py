"""Attention: among all positions of a grid; along sequences, with caches; to a context."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.nn.norm import GroupNorm, RMSNorm
from vqjax.nn.rotary import rotate_pairs
from vqjax.ops.numerics import at_least_float32
from vqjax.types import UsageError

INIT = nn.initializers.normal(0.02)


class Cache(NamedTuple):
    """Keys and values of all positions so far, [B, kv, S, d]; zero where none are yet.

    In this order of axes a head's positions are contiguous, as the matrix products need them; in
    another the whole cache would be transposed for every token.
    """

    keys: jax.Array
    values: jax.Array


class CrossContext(NamedTuple):
    """What cross-attention attends to.

    Attributes:
        vectors: [B, M, C]; or `Cache`, a block's keys and values of them.
        mask: bool [B, M], those that count, at least one per example; None: all.
    """

    vectors: Any
    mask: jax.Array | None = None


def rows_of(x: jax.Array) -> jax.Array:
    """[B, T, C] -> [B T, C]: on CPUs the gradient of a weight takes half the time with two axes."""
    return x.reshape(-1, x.shape[-1])


class SelfAttention(nn.Module):
    """x + out(softmax(q k^T / sqrt(d)) v), over all positions (arXiv 1706.03762, eq. 1).

    The normalisation before it and the single head are those of arXiv 2012.09841. Memory grows
    with the square of the number of positions.

    Attributes:
        heads: number of heads; it must divide the channels.
        dtype: to compute in; None: that of input and parameters. The softmax is computed in
            at least float32.
    """

    heads: int = 1
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, *S, C] -> [B, *S, C]."""
        batch, channels = x.shape[0], x.shape[-1]
        if channels % self.heads:
            raise UsageError(f"heads={self.heads} does not divide {channels} channels")
        head_dim = channels // self.heads
        flat = x.reshape(batch, math.prod(x.shape[1:-1]), channels)  # [B, T, C]
        y = GroupNorm(dtype=self.dtype, name="norm")(flat)

        def project(name: str) -> jax.Array:
            values = nn.Dense(channels, dtype=self.dtype, name=name)(y)
            return values.reshape(*y.shape[:2], self.heads, head_dim)  # [B, T, h, d]

        query, key, value = project("query"), project("key"), project("value")
        logits = jnp.einsum("bthd,bshd->bhts", query, key) / math.sqrt(head_dim)  # [B, h, T, S=T]
        exact = at_least_float32(logits)
        weights = jax.nn.softmax(exact).astype(value.dtype)
        mixed = jnp.einsum("bhts,bshd->bthd", weights, value)  # [B, T, h, d]; eq. 1
        out = nn.Dense(channels, dtype=self.dtype, name="out")(mixed.reshape(y.shape))  # [B, T, C]
        return x + out.reshape(x.shape)  # [B, *S, C]


class Attention(nn.Module):
    """Attention with grouped queries (arXiv 2305.13245) and rotary positions.

    Attributes:
        heads: of the queries; they divide the channels.
        kv_heads: of keys and values; each serves heads / kv_heads queries. None: `heads`.
        causal: whether a position attends only to itself and those before it.
        qk_norm: whether queries and keys are normalised first (arXiv 2302.05442), which keeps
            wide networks from diverging.
        dtype: to compute in; None: that of input and parameters. The softmax is computed in
            at least float32.
    """

    heads: int
    kv_heads: int | None = None
    causal: bool = True
    qk_norm: bool = False
    dtype: str | None = None

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        angles: jax.Array,
        cache: Cache | None = None,
        offset: jax.Array | int = 0,
        mask: jax.Array | None = None,
    ) -> tuple[jax.Array, Cache]:
        """Attends from every position of x.

        Args:
            x: [B, T, C].
            angles: [T, d / 2], of these positions.
            cache: of all S positions, into which those of x are written; None: S = T, those of x.
            offset: of x's first in the cache.
            mask: bool [B, S], positions that may be attended to, or [B, T, S], those of each
                position; None: all.

        Returns:
            [B, T, C], and the keys and values of all positions.
        """
        kv_heads = self.kv_heads or self.heads
        channels = x.shape[-1]
        if channels % self.heads or self.heads % kv_heads:
            raise UsageError(
                f"heads={self.heads} must divide the {channels} channels, and kv_heads={kv_heads} "
                "the heads"
            )
        head_dim = channels // self.heads

        def project(name: str, heads: int) -> jax.Array:
            dense = nn.Dense(
                heads * head_dim, use_bias=False, kernel_init=INIT, dtype=self.dtype, name=name
            )
            return dense(rows_of(x)).reshape(*x.shape[:2], heads, head_dim)  # [B, T, heads, d]

        query = project("query", self.heads)  # [B, T, h, d]
        keys, values = project("key", kv_heads), project("value", kv_heads)  # [B, T, kv, d] each
        if self.qk_norm:
            query = RMSNorm(dtype=self.dtype, name="query_norm")(query)
            keys = RMSNorm(dtype=self.dtype, name="key_norm")(keys)
        query, keys = rotate_pairs(query, angles), rotate_pairs(keys, angles)
        keys, values = keys.swapaxes(1, 2), values.swapaxes(1, 2)  # [B, kv, T, d] each
        if cache is not None:
            start = (0, 0, offset, 0)
            new = keys.astype(cache.keys.dtype)  # [B, kv, T, d]
            keys = jax.lax.dynamic_update_slice(cache.keys, new, start)  # [B, kv, S, d]
            new = values.astype(cache.values.dtype)
            values = jax.lax.dynamic_update_slice(cache.values, new, start)  # [B, kv, S, d]
        visible = mask[:, None] if mask is not None and mask.ndim == 2 else mask  # [B, 1 or T, S]
        if self.causal:
            now = offset + jnp.arange(x.shape[1])[:, None]  # [T, 1]
            before = (jnp.arange(keys.shape[2])[None] <= now)[None]  # [1, T, S]
            visible = before if visible is None else visible & before  # [1 or B, T, S]
        mixed = attend(query, keys, values, visible).reshape(-1, channels)  # [B T, C]
        out = nn.Dense(channels, use_bias=False, kernel_init=INIT, dtype=self.dtype, name="out")
        return out(mixed).reshape(x.shape), Cache(keys, values)  # [B, T, C], [B, kv, S, d] each


@functools.partial(jax.checkpoint, prevent_cse=False)
def attend(
    query: jax.Array, keys: jax.Array, values: jax.Array, mask: jax.Array | None
) -> jax.Array:
    """softmax(q k^T / sqrt(d)) v (arXiv 1706.03762, eq. 1); the softmax in at least float32.

    The backward pass recomputes the weights: stored, they would take h T S numbers per example.

    Args:
        query: [B, T, h, d].
        keys: [B, kv, S, d].
        values: [B, kv, S, d].
        mask: bool, broadcasts against [B, T, S]; None: all.

    Returns:
        [B, T, h, d].
    """
    batch, length, heads, dim = query.shape
    kv_heads = keys.shape[1]
    grouped = query.reshape(batch, length, kv_heads, heads // kv_heads, dim)  # [B, T, kv, g, d]
    logits = jnp.einsum("btkgd,bksd->bkgts", grouped, keys) / math.sqrt(dim)  # [B, kv, g, T, S]
    exact = at_least_float32(logits)
    if mask is not None:
        mask = mask[:, None, None]  # [B or 1, 1, 1, T or 1, S]
        exact = jnp.where(mask, exact, jnp.finfo(exact.dtype).min)
    weights = jax.nn.softmax(exact, axis=-1).astype(values.dtype)
    mixed = jnp.einsum("bkgts,bksd->btkgd", weights, values)  # [B, T, kv, g, d]; eq. 1
    return mixed.reshape(query.shape)  # [B, T, h, d]


class CrossAttention(nn.Module):
    """Attention from every position to a context, which has no positions (arXiv 1706.03762).

    Attributes:
        width: channels.
        heads: they divide the channels.
        dtype: to compute in; None: that of input and parameters.
    """

    width: int
    heads: int
    dtype: str | None = None

    def setup(self) -> None:
        def dense() -> nn.Dense:
            return nn.Dense(self.width, use_bias=False, kernel_init=INIT, dtype=self.dtype)

        self.query, self.key, self.value, self.out = dense(), dense(), dense(), dense()

    def _heads(self, dense: nn.Dense, x: jax.Array) -> jax.Array:
        y = dense(rows_of(x))  # [B T, C]
        return y.reshape(*x.shape[:2], self.heads, self.width // self.heads)  # [B, T, h, d]

    def keys_values(self, vectors: jax.Array) -> Cache:
        """[B, M, C] -> what every position attends to."""
        keys, values = self._heads(self.key, vectors), self._heads(self.value, vectors)
        return Cache(keys.swapaxes(1, 2), values.swapaxes(1, 2))  # [B, h, M, d] each

    def __call__(self, x: jax.Array, context: CrossContext) -> jax.Array:
        """x [B, T, C], context -> [B, T, C]."""
        cache = context.vectors
        cache = cache if isinstance(cache, Cache) else self.keys_values(cache)
        mask = None if context.mask is None else context.mask[:, None]  # [B, 1, M]
        mixed = attend(self._heads(self.query, x), *cache, mask)  # [B, T, h, d]
        return self.out(mixed.reshape(-1, self.width)).reshape(x.shape)  # [B, T, C]
