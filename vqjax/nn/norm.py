"""Normalisations whose statistics are those of the call: nothing runs, nothing is stored."""

import functools
import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import canonicalize_dtype

from vqjax.ops.numerics import at_least_float32

MIN_CHANNELS = 4  # of a group


def group_count(channels: int, most: int) -> int:
    """The largest number of equal groups that is at most `most` and leaves them 4 channels each.

    4 is what the published networks have at their narrowest (32 groups of 128 channels). With one
    channel in a group, as 32 groups of a narrow network would have, no layer sees how strong a
    channel is: a small autoencoder of width 32 then reconstructs 0.5 to 1 dB worse.
    """
    most = max(1, min(most, channels // MIN_CHANNELS))
    return max(n for n in range(1, most + 1) if channels % n == 0)


def _normalize(
    x: jax.Array,
    mean: jax.Array,
    square: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    epsilon: float,
) -> jax.Array:
    """(x - E[x]) / sqrt(Var[x] + epsilon) * scale + bias, as one multiplication and addition.

    `x` is [B, T, C]; the others have three axes and broadcast against it.
    """
    variance = jnp.maximum(square - mean * mean, 0.0)  # Var[x] = E[x^2] - E[x]^2, never below 0
    slope = jax.lax.rsqrt(variance + epsilon) * scale
    return x * slope + (bias - mean * slope)


class GroupNorm(nn.Module):
    """Each example's channels, in groups, to mean 0 and variance 1 (arXiv 1803.08494, eq. 7).

    Written out because it takes half the time of flax's on CPU, forward and backward; the numbers
    are the same.

    Attributes:
        groups: their largest number; fewer where they do not divide the channels or would have
            fewer than 4 each.
        epsilon: added to the variance.
        dtype: of the result; statistics are computed in at least float32.
    """

    groups: int = 32
    epsilon: float = 1e-6
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, *S, C] -> [B, *S, C]."""
        batch, channels = x.shape[0], x.shape[-1]
        groups = group_count(channels, self.groups)  # G
        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        dtype = canonicalize_dtype(x, scale, bias, dtype=self.dtype)
        exact = at_least_float32(x)
        flat = exact.reshape(batch, math.prod(x.shape[1:-1]), channels)  # [B, T, C]

        def average(values: jax.Array) -> jax.Array:
            by_group = values.mean(1).reshape(batch, groups, channels // groups)  # [B, G, C / G]
            by_group = by_group.mean(-1)  # [B, G]; eq. 7
            return jnp.repeat(by_group, channels // groups, axis=1)[:, None]  # [B, 1, C]

        y = _normalize(
            flat,
            average(flat),
            average(flat * flat),
            scale[None, None],  # [1, 1, C]
            bias[None, None],
            self.epsilon,
        )
        return y.astype(dtype).reshape(x.shape)  # [B, *S, C]


class BatchNorm(nn.Module):
    """Each channel to mean 0 and variance 1 over the call's batch and positions.

    arXiv 1502.03167, algorithm 1, without the running averages: for networks that are only run in
    training. Under `jit` the batch is the global one, on any number of devices.

    Attributes:
        epsilon: added to the variance.
        dtype: of the result; statistics are computed in at least float32.
        scale_init: initialiser of the scales.
    """

    epsilon: float = 1e-5
    dtype: str | None = None
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, *S, C] -> [B, *S, C]."""
        channels = x.shape[-1]
        scale = self.param("scale", self.scale_init, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        dtype = canonicalize_dtype(x, scale, bias, dtype=self.dtype)
        exact = at_least_float32(x)
        flat = exact.reshape(x.shape[0], math.prod(x.shape[1:-1]), channels)  # [B, T, C]
        y = _normalize(
            flat,
            flat.mean((0, 1), keepdims=True),  # [1, 1, C]
            (flat * flat).mean((0, 1), keepdims=True),  # [1, 1, C]
            scale[None, None],  # [1, 1, C]
            bias[None, None],
            self.epsilon,
        )
        return y.astype(dtype).reshape(x.shape)  # [B, *S, C]


class RMSNorm(nn.Module):
    """Each position's channels to a mean square of 1 (arXiv 1910.07467, eq. 4).

    Attributes:
        epsilon: added to the mean square.
        dtype: of the result; the mean square is computed in at least float32.
    """

    epsilon: float = 1e-5
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [..., C] -> [..., C]."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        dtype = canonicalize_dtype(x, scale, dtype=self.dtype)

        # A loop over blocks then stores x alone for the backward pass, nothing in float32.
        @functools.partial(jax.checkpoint, prevent_cse=False)
        def normalize(x: jax.Array, scale: jax.Array) -> jax.Array:
            exact = at_least_float32(x)
            square = jnp.mean(exact * exact, axis=-1, keepdims=True)  # [..., 1]
            return (exact * jax.lax.rsqrt(square + self.epsilon) * scale).astype(dtype)  # eq. 4

        return normalize(x, scale.reshape((1,) * (x.ndim - 1) + scale.shape))  # [..., C]
