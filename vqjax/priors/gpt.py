"""GPT: tokens one after the other, each from those before it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax.nn.attention import INIT, Cache
from vqjax.priors.base import TransformerPrior
from vqjax.priors.ordered import OrderedPrior
from vqjax.types import Level, Tree


class GPT(OrderedPrior, TransformerPrior):
    """p(tokens | condition) as a product over the sequence (arXiv 2406.06525, section 2.1).

    The network of LlamaGen: pre-norm RMSNorm, SwiGLU, rotary positions, no biases, an output layer
    that starts at zero. Any levels: see `TokenOrder`; ids of other levels than the position's are
    masked out.

    Attributes:
        width: channels; `layers`, `heads`, `kv_heads`, `qk_norm`, `remat`: see `Transformer`.
        condition: see `vqjax.priors.conditions`; None: unconditional.
        dropout: of embeddings, and of each residual branch.
        positions: "grid", rotary over the axes of the tokens' grid; or "sequence".
        levels: of the tokenizer; filled in by the task.
        dtype: to compute in; None: the experiment's `compute_dtype`. Logits are float32 at least.
    """

    width: int
    layers: int
    heads: int
    kv_heads: int | None = None
    condition: nn.Module | None = None
    qk_norm: bool = False
    dropout: float = 0.1
    positions: str = "grid"
    remat: bool | str = False
    levels: tuple[Level, ...] = ()
    dtype: str | None = None

    def setup(self) -> None:
        order = self.order
        self.tokens = nn.Embed(order.vocabulary, self.width, embedding_init=INIT, dtype=self.dtype)
        self.transformer = self.make_transformer(dropout=self.dropout, remat=self.remat)
        zeros = nn.initializers.zeros
        self.head = nn.Dense(order.vocabulary, use_bias=False, kernel_init=zeros, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)
        self.declare_start_vector()

    def __call__(self, tokens: jax.Array, cond: Tree | None = None) -> jax.Array:
        """Logits of every token from those before it; with dropout if there is its rng stream.

        Args:
            tokens: ids int32[B, T].
            cond: the input of `condition`, such as labels int32[B].

        Returns:
            [B, T, V].
        """
        prefix, mask, context = self.conditioning(cond, len(tokens))  # [B, P, C], [B, P + T]
        x = self.tokens(tokens[:, :-1]).astype(prefix.dtype)  # [B, T - 1, C]
        x = jnp.concatenate([prefix, x], axis=1)  # [B, P + T - 1, C]
        x = self.drop(x, deterministic=not self.has_rng("dropout"))
        mask = None if mask is None else mask[:, : x.shape[1]]  # [B, P + T - 1]
        angles = jnp.asarray(self.angles()[: x.shape[1]])  # [P + T - 1, d / 2]
        h = self.transformer(x, angles, mask, context)  # [B, P + T - 1, C]
        logits = self.head(h[:, prefix.shape[1] - 1 :])  # [B, T, V]
        return self.mask_other_levels(logits, np.arange(tokens.shape[1]))

    def decoder(
        self, params: Tree, cond: Tree | None, batch: int
    ) -> tuple[Any, jax.Array, Callable]:
        """See `OrderedPrior.decoder`; the state holds keys and values."""
        variables = {"params": params}

        def logits_at(h: jax.Array, position: jax.Array) -> jax.Array:
            position = jnp.minimum(position, self.order.length - 1)[None]  # [1]
            logits = self.apply(variables, h, method=lambda m, h: m.head(h))  # [B, 1, V]
            return self.mask_other_levels(logits, position)[:, 0]  # [B, V]

        def step(caches: tuple[Cache, ...], token: jax.Array, position: jax.Array):
            ids = token[:, None]  # [B, 1]
            new = self.apply(variables, ids, method=lambda m, t: m.tokens(t))  # [B, 1, C]
            caches, h = run(caches, new, position)
            return caches, logits_at(h, position + 1)

        caches, h, run = self.cached(params, cond, batch)  # of the prefix
        return caches, logits_at(h, jnp.int32(0)), step
