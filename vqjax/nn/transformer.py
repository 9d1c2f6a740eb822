"""Transformer blocks in the manner of LLaMA (arXiv 2302.13971): pre-norm RMSNorm, SwiGLU, rotary.

A cache of keys and values is passed in and out; nothing is hidden in a collection.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.nn.attention import INIT, Attention, Cache, CrossAttention, CrossContext, rows_of
from vqjax.nn.norm import RMSNorm
from vqjax.nn.remat import rematerialised
from vqjax.ops.mesh_context import keep_rows
from vqjax.types import Tree

MULTIPLE = 256  # of the hidden channels of SwiGLU, in networks at least that wide


def hidden_size(width: int) -> int:
    """Channels inside SwiGLU: 8/3 of the width, rounded up to a multiple of 256, or of 8 in a
    network narrower than 256.
    """
    unit = MULTIPLE if width >= MULTIPLE else 8
    return -(-int(8 * width / 3) // unit) * unit


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)) (arXiv 2002.05202, eq. 6).

    Attributes:
        hidden: channels inside; None: `hidden_size` of the channels.
        dtype: to compute in; None: that of input and parameters.
    """

    hidden: int | None = None
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, T, C] -> [B, T, C]."""
        hidden = self.hidden or hidden_size(x.shape[-1])

        def dense(features: int, name: str) -> nn.Dense:
            return nn.Dense(features, use_bias=False, kernel_init=INIT, dtype=self.dtype, name=name)

        def gated(down: nn.Dense, gate: jax.Array, up: jax.Array) -> jax.Array:
            return down(jax.nn.silu(gate) * up)  # [B T, C]; eq. 6

        rows = rows_of(x)  # [B T, C]
        gate, up = dense(hidden, "gate")(rows), dense(hidden, "up")(rows)  # [B T, F] each
        # Stored for the backward pass are gate and up alone; their product is recomputed.
        down = dense(x.shape[-1], "down")
        y = nn.remat(gated, prevent_cse=False)(down, gate, up)  # [B T, C]
        return y.reshape(x.shape)  # [B, T, C]


class Block(nn.Module):
    """Self-attention, cross-attention where there is a context, SwiGLU: pre-norm residual branches.

    Dropout is on if there is an rng stream "dropout". Attributes: see `Transformer`.
    """

    heads: int
    kv_heads: int | None = None
    causal: bool = True
    qk_norm: bool = False
    dropout: float = 0.0
    dtype: str | None = None

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        angles: jax.Array,
        cache: Cache | None = None,
        offset: jax.Array | int = 0,
        mask: jax.Array | None = None,
        context: CrossContext | None = None,
    ) -> tuple[jax.Array, Cache]:
        """x [B, T, C] -> [B, T, C] and the cache; see `Attention` and `CrossAttention`."""
        dropout = nn.Dropout(self.dropout, deterministic=not self.has_rng("dropout"))
        attention = Attention(
            self.heads, self.kv_heads, self.causal, self.qk_norm, self.dtype, name="attention"
        )
        x = keep_rows(x)  # [B, T, C]
        y = RMSNorm(dtype=self.dtype, name="attention_norm")(x)
        y, cache = attention(y, angles, cache, offset, mask)  # [B, T, C], [B, kv, S, d] each
        x = keep_rows(x + dropout(y))
        if context is not None:
            cross = CrossAttention(x.shape[-1], self.heads, self.dtype, name="cross")
            y = RMSNorm(dtype=self.dtype, name="cross_norm")(x)
            x = x + dropout(cross(y, context))  # [B, T, C]
        y = RMSNorm(dtype=self.dtype, name="mlp_norm")(x)
        y = SwiGLU(dtype=self.dtype, name="mlp")(y)  # [B, T, C]
        return keep_rows(x + dropout(y)), cache


class _Layer(nn.Module):
    """A block as the body of `nn.scan`; its fields are those of `Block`."""

    heads: int
    kv_heads: int | None
    causal: bool
    qk_norm: bool
    dropout: float
    dtype: str | None

    @nn.compact
    def __call__(
        self, x: jax.Array, angles: jax.Array, mask: jax.Array | None, context: CrossContext | None
    ) -> tuple[jax.Array, None]:
        block = Block(
            self.heads,
            self.kv_heads,
            self.causal,
            self.qk_norm,
            self.dropout,
            self.dtype,
            name="block",
        )
        return block(x, angles, mask=mask, context=context)[0], None  # [B, T, C]


def unstack_params(params: Tree, layers: int) -> tuple[Tree, ...]:
    """The parameters of each block, out of those of a `Transformer`."""
    stacked = params["blocks"]["block"]  # [layers, ...] each
    return tuple(jax.tree.map(lambda p, i=i: p[i], stacked) for i in range(layers))


class Transformer(nn.Module):
    """`layers` blocks and a final norm.

    The blocks' parameters are stacked, [layers, ...], and one block is compiled (`nn.scan`).
    `decode_step` is a Python loop over the blocks: a scan would copy every cache once per token.

    Attributes:
        layers: number of blocks.
        heads: number of query heads; it divides the channels.
        kv_heads: number of heads of keys and values; None: `heads`.
        causal: whether a position attends only to itself and those before it.
        qk_norm: whether queries and keys are normalised.
        dropout: of each residual branch.
        remat: what of each block the backward pass recomputes (`vqjax.nn.remat`).
        dtype: to compute in; None: that of input and parameters.
    """

    layers: int
    heads: int
    kv_heads: int | None = None
    causal: bool = True
    qk_norm: bool = False
    dropout: float = 0.0
    remat: bool | str = False
    dtype: str | None = None

    @property
    def _settings(self) -> dict[str, Any]:
        names = ("heads", "kv_heads", "causal", "qk_norm", "dropout", "dtype")
        return {name: getattr(self, name) for name in names}

    def setup(self) -> None:
        scanned = nn.scan(
            rematerialised(_Layer, self.remat, scanned=True),
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=(nn.broadcast, nn.broadcast, nn.broadcast),
            length=self.layers,
        )
        self.blocks = scanned(**self._settings)
        self.norm = RMSNorm(dtype=self.dtype)

    def __call__(
        self,
        x: jax.Array,
        angles: jax.Array,
        mask: jax.Array | None = None,
        context: CrossContext | None = None,
    ) -> jax.Array:
        """x [B, T, C], angles [T, d / 2], mask bool [B, T] or [B, T, T] -> [B, T, C].

        The layers of cross-attention exist if `init` is called with a context.
        """
        x, _ = self.blocks(x, angles, mask, context)  # [B, T, C], carried through all blocks
        return self.norm(x)

    def caches(self, batch: int, length: int, width: int, dtype: str) -> tuple[Cache, ...]:
        """Empty caches of all blocks for `length` positions of `width` channels. Unbound."""
        shape = (batch, self.kv_heads or self.heads, length, width // self.heads)  # [B, kv, S, d]
        return tuple(
            Cache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)) for _ in range(self.layers)
        )

    def cross_caches(
        self, blocks: tuple[Tree, ...], context: CrossContext | None
    ) -> tuple[CrossContext | None, ...]:
        """The context as each block's keys and values, computed once. Unbound."""
        if context is None:
            return (None,) * self.layers
        cross = CrossAttention(context.vectors.shape[-1], self.heads, self.dtype, parent=None)
        caches = (  # of each block [B, h, M, d]
            cross.apply({"params": params["cross"]}, context.vectors, method="keys_values")
            for params in blocks
        )
        return tuple(CrossContext(cache, context.mask) for cache in caches)

    def decode_step(
        self,
        blocks: tuple[Tree, ...],
        norm: Tree,
        x: jax.Array,
        angles: jax.Array,
        caches: tuple[Cache, ...],
        offset: jax.Array | int,
        mask: jax.Array | None = None,
        contexts: tuple[CrossContext | None, ...] | None = None,
    ) -> tuple[jax.Array, tuple[Cache, ...]]:
        """`__call__` for the positions from `offset` on, with the caches of those before. Unbound.

        Args:
            blocks: the parameters of each block, from `unstack_params`.
            norm: those of the final norm.
            x: [B, T, C].
            angles: [T, d / 2].
            caches: one per block, of all S positions.
            offset: the position in the caches of x[:, 0].
            mask: bool [B, S], positions that may be attended to; None: all.
            contexts: one per block, from `cross_caches`; None: there is none.

        Returns:
            [B, T, C], and the caches with these positions in them.
        """
        block, after = Block(**self._settings, parent=None), []
        contexts = contexts or (None,) * self.layers
        for params, cache, context in zip(blocks, caches, contexts, strict=True):
            x, cache = block.apply({"params": params}, x, angles, cache, offset, mask, context)
            after.append(cache)  # [B, kv, S, d] each
        x = RMSNorm(dtype=self.dtype, parent=None).apply({"params": norm}, x)  # [B, T, C]
        return x, tuple(after)
