"""Gated causal convolutions over rows of pixels, in two stacks that leave no blind spot."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.nn.conv import Conv


def gate(x: jax.Array) -> jax.Array:
    """tanh(a) * sigmoid(b) of the two halves of x [..., 2 C] (arXiv 1606.05328, eq. 2)."""
    a, b = jnp.split(x, 2, axis=-1)  # [..., C] each
    return jnp.tanh(a) * jax.nn.sigmoid(b)


class GatedBlock(nn.Module):
    """A block of gated PixelCNN (arXiv 1606.05328, fig. 2).

    The vertical stack sees its own row and `kernel // 2` rows above it, the horizontal one its own
    position, `kernel // 2` positions before it in the row, and the vertical stack at its position.
    Kernels cover only what is visible, so none is multiplied by a mask. A position does not see its
    own token because the inputs of the first block are shifted.

    Both halves take their input with the `reach` rows or positions before it, so that a whole grid
    and, in sampling, a single row or position (H or W is 1) are computed by the same code. There is
    dropout if there is an rng stream "dropout".

    Attributes:
        features: C, channels of both stacks.
        kernel: size of the square around a position of which one half is visible; odd.
        dropout: of what leaves a gate.
        dtype: to compute in; None: that of input and parameters.
    """

    features: int
    kernel: int = 3
    dropout: float = 0.0
    dtype: str | None = None

    @property
    def reach(self) -> int:
        """How many rows, and positions of a row, before its own are visible."""
        return self.kernel // 2

    def setup(self) -> None:
        wide, tall = 2 * self.features, self.reach + 1
        self.above = Conv(wide, (tall, self.kernel), padding=0, dtype=self.dtype)
        self.left = Conv(wide, (1, tall), padding=0, dtype=self.dtype)
        self.link = nn.Dense(wide, use_bias=False, dtype=self.dtype)
        # Has the parameter name of earlier versions; created where there is a condition.
        self.cond = nn.Dense(2 * wide, use_bias=False, dtype=self.dtype, name="told")
        self.out = nn.Dense(wide, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def _leave(self, x: jax.Array) -> jax.Array:
        y = gate(x)  # [B, H, W, C]
        return self.drop(y, deterministic=not self.has_rng("dropout"))

    def _biases(self, cond: jax.Array | None) -> tuple[jax.Array | float, jax.Array | float]:
        """Of the gates of both stacks [B, 1, 1, 2 C], from the condition [B, C] (eq. 4)."""
        if cond is None:
            return 0.0, 0.0
        both = self.cond(cond)[:, None, None]  # [B, 1, 1, 4 C]
        return tuple(jnp.split(both, 2, axis=-1))  # [B, 1, 1, 2 C] each

    def vertical(self, v: jax.Array, cond: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Rows, from those before them.

        Args:
            v: [B, reach + H, W, C].
            cond: [B, C] or None.

        Returns:
            [B, H, W, C], and [B, H, W, 2 C] for the horizontal stack.
        """
        sides = (self.reach, self.reach)
        v = jnp.pad(v, ((0, 0), (0, 0), sides, (0, 0)))  # [B, reach + H, W + 2 reach, C]
        x = self.above(v) + self._biases(cond)[0]  # [B, H, W, 2 C]
        return self._leave(x), self.link(x)  # [B, H, W, C], [B, H, W, 2 C]

    def horizontal(
        self, h: jax.Array, link: jax.Array, cond: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """Positions, from those before them in their rows and from the vertical stack.

        Args:
            h: [B, H, reach + W, C].
            link: [B, H, W, 2 C], from `vertical`.
            cond: [B, C] or None.

        Returns:
            The positions after this block, and what it adds to the network's result (skip):
            [B, H, W, C] each.
        """
        x = self.left(h) + link + self._biases(cond)[1]  # [B, H, W, 2 C]
        add, skip = jnp.split(self.out(self._leave(x)), 2, axis=-1)  # [B, H, W, C] each
        return h[:, :, self.reach :] + add, skip

    def __call__(
        self, v: jax.Array, h: jax.Array, cond: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Both stacks over a whole grid, [B, H, W, C] each -> v, h and skip, likewise."""
        before = (self.reach, 0)
        v = jnp.pad(v, ((0, 0), before, (0, 0), (0, 0)))  # [B, reach + H, W, C]
        v, link = self.vertical(v, cond)  # [B, H, W, C], [B, H, W, 2 C]
        h = jnp.pad(h, ((0, 0), (0, 0), before, (0, 0)))  # [B, H, reach + W, C]
        h, skip = self.horizontal(h, link, cond)  # [B, H, W, C] each
        return v, h, skip
