"""The tokens of one stream inside a network of several: their vectors, and their logits."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.nn.attention import INIT
from vqjax.ops.numerics import at_least_float32
from vqjax.priors.codebook_order import CodebookOrder


class StreamTokens(nn.Module):
    """A block of S + 1 positions: a learned vector that begins it, then the S steps of its order.

    The output at a position predicts the next step. Every input also has the vector of its stream.

    Attributes:
        order: of the tokens.
        width: C.
        dtype: to compute in. Logits are float32 at least.
    """

    order: CodebookOrder
    width: int
    dtype: str | None = None

    def setup(self) -> None:
        size, zeros = self.order.vocabulary, nn.initializers.zeros
        self.tokens = nn.Embed(size, self.width, embedding_init=INIT, dtype=self.dtype)
        self.head = nn.Dense(size, use_bias=False, kernel_init=zeros, dtype=self.dtype)
        self.start_vector = self.param("start", INIT, (1, 1, self.width))
        self.stream_vector = self.param("stream", INIT, (1, 1, self.width))

    def block(self, ids: jax.Array) -> jax.Array:
        """ids int32[B, T] -> the vectors of the whole block, [B, S + 1, C]."""
        steps = self.order.sum_steps(self.tokens(ids)) + self.stream_vector  # [B, S, C]
        return jnp.concatenate([self.start(len(ids)), steps], axis=1)  # [B, S + 1, C]

    def start(self, batch: int) -> jax.Array:
        """The vector that begins the block of each example, [B, 1, C]."""
        return jnp.broadcast_to(self.start_vector + self.stream_vector, (batch, 1, self.width))

    def step(self, codes: jax.Array, number: jax.Array) -> jax.Array:
        """The vector of step `number`, from its codes int32[B, Q]: [B, 1, C]."""
        order = self.order
        vectors = self.tokens(order.ids_of(codes))  # [B, Q, C]
        here = (jnp.asarray(order.frame_at)[number] >= 0)[None, :, None]  # [1, Q, 1]
        vectors = jnp.where(here, vectors, 0)
        return jnp.sum(vectors, axis=1, keepdims=True) + self.stream_vector

    def logits(self, h: jax.Array, steps: jax.Array) -> jax.Array:
        """Outputs h [B, t, C] before the `steps` int[t] -> their logits [B, t, Q, K or K + 1]; see
        `CodebookOrder.step_logits`.
        """
        frame_at = jnp.asarray(self.order.frame_at)[steps]  # [t, Q]
        return self.order.step_logits(at_least_float32(self.head(h)), frame_at)
