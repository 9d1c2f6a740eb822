"""Self-attention among all positions of a grid."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.nn.norm import GroupNorm
from vqjax.ops.numerics import at_least_float32
from vqjax.types import UsageError


class SelfAttention(nn.Module):
    """x + out(softmax(q k^T / sqrt(C / heads)) v), over all positions (arXiv 1706.03762, eq. 1).

    The normalisation before it and the single head are those of arXiv 2012.09841. Memory grows
    with the square of the number of positions.

    Attributes:
        heads: number of heads; it must divide the channels.
        dtype: to compute in; None: that of input and parameters. The softmax is worked out in at
            least float32.
    """

    heads: int = 1
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, *S, C] -> [B, *S, C]."""
        batch, channels = x.shape[0], x.shape[-1]
        if channels % self.heads:
            raise UsageError(f"heads={self.heads} does not divide {channels} channels")
        flat = x.reshape(batch, math.prod(x.shape[1:-1]), channels)  # [B, T, C]
        y = GroupNorm(dtype=self.dtype, name="norm")(flat)

        def project(name: str) -> jax.Array:
            values = nn.Dense(channels, dtype=self.dtype, name=name)(y)
            return values.reshape(*y.shape[:2], self.heads, channels // self.heads)

        query, key, value = project("query"), project("key"), project("value")
        logits = jnp.einsum("bqhc,bkhc->bhqk", query, key) / math.sqrt(query.shape[-1])
        exact = at_least_float32(logits)
        weights = jax.nn.softmax(exact).astype(value.dtype)
        mixed = jnp.einsum("bhqk,bkhc->bqhc", weights, value).reshape(y.shape)
        out = nn.Dense(channels, dtype=self.dtype, name="out")(mixed)
        return x + out.reshape(x.shape)
