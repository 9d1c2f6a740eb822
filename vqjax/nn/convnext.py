"""ConvNeXt blocks for signals in frames, causal where asked."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.nn.activations import activation
from vqjax.nn.conv import DepthwiseConv, Padding


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, norm of channels, two linear layers, beside the input (arXiv
    2201.03545, fig. 4), each result channel scaled by a learned number.

    Attributes:
        hidden: channels between the linear layers, in units of those of the input.
        kernel: of the depthwise convolution.
        padding: see `vqjax.nn.Conv`.
        activation: between the linear layers, by name.
        scale: initial value of the learned scales.
        dtype: to compute in; None: that of input and parameters.
    """

    hidden: int = 3
    kernel: int = 7
    padding: Padding = None
    activation: str = "gelu"
    scale: float = 0.25
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, *S, C] -> [B, *S, C]."""
        channels = x.shape[-1]
        h = DepthwiseConv(self.kernel, self.padding, dtype=self.dtype, name="depthwise")(x)
        h = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm")(h)  # [B, *S, C]
        h = nn.Dense(self.hidden * channels, dtype=self.dtype, name="up")(h)
        h = activation(self.activation)(h)  # [B, *S, hidden C]
        h = nn.Dense(channels, dtype=self.dtype, name="down")(h)  # [B, *S, C]
        scale = self.param("scale", nn.initializers.constant(self.scale), (channels,), jnp.float32)
        return x + h * scale.reshape((1,) * (x.ndim - 1) + (-1,)).astype(h.dtype)
