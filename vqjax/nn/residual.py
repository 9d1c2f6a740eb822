"""Residual blocks without normalisation, resampling, and conditions, of two players' networks."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.nn.conv import Conv

SLOPE = 0.2  # of the activation below 0
GAIN = math.sqrt(2.0 / (1.0 + SLOPE**2))


def scaled_init(gain: float) -> Any:
    """Normal, of deviation gain / sqrt(fan in)."""
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")


class ResidualBlock(nn.Module):
    """x + a bottleneck of three convolutions (arXiv 2501.05441, section 3): 1x1 to `expansion`
    times the channels, 3x3 in groups, 1x1 back, which is zero at first; no normalisation. The first
    two start smaller the more blocks there are, by blocks^(-1/4) (arXiv 1901.09321, section 3).

    Attributes:
        blocks: of the whole network.
        expansion: channels inside, over those outside.
        dtype: to compute in; None: that of input and parameters.
    """

    blocks: int
    expansion: int = 2
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, *S, C] -> [B, *S, C]."""
        channels, inner = x.shape[-1], self.expansion * x.shape[-1]
        init = scaled_init(GAIN * self.blocks**-0.25)

        def conv(features: int, kernel: int, name: str, bias: bool, init: Any) -> Conv:
            return Conv(
                features, kernel, use_bias=bias, kernel_init=init, dtype=self.dtype, name=name
            )

        y = nn.leaky_relu(conv(inner, 1, "expand", True, init)(x), SLOPE)
        y = nn.leaky_relu(conv(inner, 3, "mix", True, init)(y), SLOPE)
        return x + conv(channels, 1, "reduce", False, nn.initializers.zeros)(y)


def resampled(x: jax.Array, factor: float) -> jax.Array:
    """x [B, *S, C] on a grid of `factor` times as many positions along each axis, linearly, without
    aliases.
    """
    sizes = tuple(round(size * factor) for size in x.shape[1:-1])
    shape = (len(x), *sizes, x.shape[-1])
    return jax.image.resize(x.astype(jnp.float32), shape, "linear").astype(x.dtype)


def condition_vector(vectors: jax.Array, mask: jax.Array | None) -> jax.Array:
    """The mean of a condition's vectors [B, M, F] that count, by mask bool [B, M], of mean square
    1: [B, F].
    """
    vector = vectors.mean(1, where=None if mask is None else mask[..., None])
    return vector * jax.lax.rsqrt(jnp.mean(jnp.square(vector), axis=1, keepdims=True) + 1e-8)
