"""Convolutions, down- and upsampling over any number of spatial axes.

The number of axes is that of the input: [B, T, C], [B, H, W, C] or [B, T, H, W, C]. Kernels are
stored as [*kernel, C_in, C_out].
"""

import itertools

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import canonicalize_dtype, promote_dtype

from vqjax.ops.convolution import convolve, upsampled_convolution
from vqjax.types import UsageError, did_you_mean

DOWNSAMPLING = ("strided", "average")
Factor = int | tuple[int, ...]
Initializer = nn.initializers.Initializer


def per_axis(value: Factor, axes: int) -> tuple[int, ...]:
    """One positive number for each of `axes` spatial axes.

    Raises:
        UsageError: another number of entries, or one below 1.
    """
    values = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(values) != axes:
        raise UsageError(f"{value} has {len(values)} entries; the input has {axes} spatial axes")
    if min(values) < 1:
        raise UsageError(f"{value}: factors and kernels must be at least 1")
    return values


def _add_bias(y: jax.Array, bias: jax.Array) -> jax.Array:
    return y + bias.reshape((1,) * (y.ndim - 1) + bias.shape)  # [B, *S, C]


class Conv(nn.Module):
    """A convolution with zeros around the input.

    Attributes:
        features: channels of the result.
        kernel: its size, one number or one per axis.
        stride: one number or one per axis.
        padding: zeros before and after each axis; None: as many as give the result
            ceil(size / stride) positions, an odd one after.
        use_bias: whether a bias is added.
        kernel_init: initialiser of the kernel.
        dtype: to compute in; None: that of input and parameters.
    """

    features: int
    kernel: Factor = 3
    stride: Factor = 1
    padding: int | None = None
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, *S, C] -> [B, *s, features]."""
        if self.features < 1:
            where = "/".join(self.path)
            raise UsageError(
                f"{where} would have {self.features} channels: width, multipliers, latent_dim and "
                "channels must be at least 1"
            )
        axes = x.ndim - 2
        shape = (*per_axis(self.kernel, axes), x.shape[-1], self.features)  # [*k, C_in, C_out]
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = None
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = convolve(x, kernel, per_axis(self.stride, axes), self.padding)  # [B, *s, features]
        return y if bias is None else _add_bias(y, bias)


class Downsample(nn.Module):
    """Fewer positions along each axis.

    Attributes:
        features: channels of the result; "average" keeps those of the input.
        factor: one number or one per axis; it must divide the input's size.
        method: "strided", a convolution whose kernel reaches one position into the next window
            (3 for factor 2, as published); or "average", the mean of each window.
        dtype: to compute in; None: that of input and parameters.
    """

    features: int
    factor: Factor = 2
    method: str = "strided"
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, *S, C] -> [B, *s, features], s = S / factor."""
        axes = x.ndim - 2
        factors = per_axis(self.factor, axes)
        if self.method == "strided":
            kernel = tuple(f + 1 if f > 1 else 3 for f in factors)
            conv = Conv(self.features, kernel, factors, dtype=self.dtype, name="conv")
            return conv(x)  # [B, *s, features]
        if self.method != "average":
            raise UsageError(
                f"downsample={self.method!r}: {did_you_mean(self.method, DOWNSAMPLING)}"
            )
        (x,) = promote_dtype(x, dtype=self.dtype)
        windows = [(s // f, f) for s, f in zip(x.shape[1:-1], factors, strict=True)]
        split = x.reshape(x.shape[0], *itertools.chain(*windows), x.shape[-1])  # [B, s1, f1, .., C]
        return split.mean(tuple(range(2, 2 * axes + 1, 2)))  # [B, *s, C]


class Upsample(nn.Module):
    """More positions along each axis: nearest neighbours, then a convolution with kernel 3.

    Attributes:
        features: channels of the result.
        factor: one number or one per axis.
        dtype: to compute in; None: that of input and parameters.
    """

    features: int
    factor: Factor = 2
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, *S, C] -> [B, *s, features], s = S * factor."""
        axes = x.ndim - 2
        factors = per_axis(self.factor, axes)
        shape = (*(3,) * axes, x.shape[-1], self.features)  # [3, .., C_in, C_out]
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        dtype = canonicalize_dtype(x, kernel, dtype=self.dtype)
        y = upsampled_convolution(x.astype(dtype), kernel, factors)  # [B, *s, features]
        return _add_bias(y, bias.astype(y.dtype))
