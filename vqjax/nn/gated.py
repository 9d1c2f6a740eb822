"""Gated causal convolutions over rows of pixels, in two stacks that leave no blind spot."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.nn.conv import Conv


def gate(x: jax.Array) -> jax.Array:
    """tanh(a) * sigmoid(b) of the two halves of x [..., 2 C] (arXiv 1606.05328, eq. 2)."""
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.tanh(a) * jax.nn.sigmoid(b)


class GatedBlock(nn.Module):
    """A block of gated PixelCNN (arXiv 1606.05328, fig. 2).

    The vertical stack sees its own row and `kernel // 2` rows above it, the horizontal one its own
    position, `kernel // 2` positions before it in the row, and the vertical stack at its position.
    Kernels are as large as what they see: no mask multiplies any. What may not be seen at all is
    kept out by shifting the first block's inputs.

    Both halves take their input with what lies before it, so that a whole grid and a row or
    position of one that is being drawn go the same way. There is dropout where there is an rng
    stream "dropout".

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
        # Saved under an earlier name; made where there is a condition.
        self.cond = nn.Dense(2 * wide, use_bias=False, dtype=self.dtype, name="told")
        self.out = nn.Dense(wide, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def _leave(self, x: jax.Array) -> jax.Array:
        return self.drop(gate(x), deterministic=not self.has_rng("dropout"))

    def _biases(self, cond: jax.Array | None) -> tuple[jax.Array | float, jax.Array | float]:
        """Of the gates of both stacks [B, 1, 1, 2 C], from the condition (eq. 4)."""
        if cond is None:
            return 0.0, 0.0
        return tuple(jnp.split(self.cond(cond)[:, None, None], 2, axis=-1))

    def vertical(self, v: jax.Array, cond: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Rows, from those before them.

        Args:
            v: [B, reach + h, W, C].
            cond: [B, C] or None.

        Returns:
            h rows [B, h, W, C], and [B, h, W, 2 C] of them for the horizontal stack.
        """
        sides = (self.reach, self.reach)
        x = self.above(jnp.pad(v, ((0, 0), (0, 0), sides, (0, 0)))) + self._biases(cond)[0]
        return self._leave(x), self.link(x)

    def horizontal(
        self, h: jax.Array, link: jax.Array, cond: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """Positions, from those before them in their rows and from the vertical stack.

        Args:
            h: [B, H, reach + w, C].
            link: of the w positions [B, H, w, 2 C].
            cond: [B, C] or None.

        Returns:
            What the block adds to the w positions, and to the network's result: [B, H, w, C] each.
        """
        x = self.left(h) + link + self._biases(cond)[1]
        add, skip = jnp.split(self.out(self._leave(x)), 2, axis=-1)
        return h[:, :, self.reach :] + add, skip

    def __call__(
        self, v: jax.Array, h: jax.Array, cond: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Both stacks over a whole grid, [B, H, W, C] each -> v, h and skip, likewise."""
        v, link = self.vertical(jnp.pad(v, ((0, 0), (self.reach, 0), (0, 0), (0, 0))), cond)
        h, skip = self.horizontal(jnp.pad(h, ((0, 0), (0, 0), (self.reach, 0), (0, 0))), link, cond)
        return v, h, skip
