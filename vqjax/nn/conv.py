"""Convolutions, down- and upsampling over any number of spatial axes.

The number of axes is that of the input: [B, T, C], [B, H, W, C] or [B, T, H, W, C]. Kernels are
stored as [*kernel, C_in, C_out].
"""

import itertools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import canonicalize_dtype, promote_dtype

from vqjax.nn.streams import is_streaming, with_past
from vqjax.ops.convolution import causal_pads, convolve, pads_for, upsampled_convolution
from vqjax.ops.depthwise import depthwise_convolution
from vqjax.ops.platforms import Pads
from vqjax.ops.transposed import transposed_convolution
from vqjax.types import UsageError, did_you_mean

DOWNSAMPLING = ("strided", "average")
AXES = {1: "T", 2: "HW", 3: "THW"}  # names of spatial axes, by their number
CAUSAL, REPLICATE = "causal", "replicate"
Factor = int | tuple[int, ...]
Padding = int | str | Mapping[str, int | str] | None
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


def _padding_of(padding: Padding, axes: int) -> list[int | str | None]:
    """What each of `axes` spatial axes is padded by; those that a mapping leaves out: None."""
    named = padding if isinstance(padding, Mapping) else dict.fromkeys("THW", padding)
    if unknown := set(named) - set("THW"):
        raise UsageError(f"padding: no axis {min(unknown)!r} (valid: T, H, W)")
    for value in named.values():
        if isinstance(value, str) and value not in (CAUSAL, REPLICATE):
            raise UsageError(f"padding={value!r}: {did_you_mean(value, (CAUSAL, REPLICATE))}")
    return [named.get(axis) for axis in AXES[axes]]


def _padded(
    module: nn.Module,
    x: jax.Array,
    padding: Padding,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[jax.Array, Pads]:
    """x [B, *S, C] with its edges repeated where `padding` says so, and the zeros to add. Where
    `module` gets a signal in pieces, the past along the first axis takes the place of zeros.
    """
    edges, zeros = [], []
    values = _padding_of(padding, len(window))
    sizes = zip(values, x.shape[1:-1], window, strides, dilation, strict=True)
    for value, *setting in sizes:
        if isinstance(value, int):
            pads = (value, value)
        else:
            pads = causal_pads(*setting) if value == CAUSAL else pads_for(*setting)
        edges.append(pads if value == REPLICATE else (0, 0))
        zeros.append((0, 0) if value == REPLICATE else pads)
    if values[0] == CAUSAL and is_streaming(module):
        x, zeros[0] = with_past(module, x, zeros[0][0]), (0, zeros[0][1])
    if any(map(any, edges)):
        x = jnp.pad(x, ((0, 0), *edges, (0, 0)), mode="edge")  # [B, *(S + pads), C]
    return x, tuple(zeros)


def _add_bias(y: jax.Array, bias: jax.Array) -> jax.Array:
    return y + bias.reshape((1,) * (y.ndim - 1) + bias.shape)  # [B, *S, C]


class Conv(nn.Module):
    """A convolution.

    Attributes:
        features: channels of the result.
        kernel: its size, one number or one per axis.
        stride: one number or one per axis.
        padding: zeros before and after each axis; None: as many as give the result
            ceil(size / stride) positions, an odd one after; "replicate": as many copies of the
            edge; "causal": as many zeros, before the axis, so that no result depends on what comes
            after its stride. Or one of these for axes by name, {"T": "causal"}, None for others:
            "T", "H" and "W" of clips, "T" of signals, "H" and "W" of images.
        use_bias: whether a bias is added.
        kernel_init: initialiser of the kernel.
        dtype: to compute in; None: that of input and parameters.
        dilation: positions from tap to tap, one number or one per axis.
    """

    features: int
    kernel: Factor = 3
    stride: Factor = 1
    padding: Padding = None
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    dtype: str | None = None
    dilation: Factor = 1

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
        strides, dilation = per_axis(self.stride, axes), per_axis(self.dilation, axes)
        x, pads = _padded(self, x, self.padding, shape[:axes], strides, dilation)
        y = convolve(x, kernel, strides, pads, dilation)  # [B, *s, features]
        return y if bias is None else _add_bias(y, bias)


class DepthwiseConv(nn.Module):
    """A convolution with a kernel of its own for each channel, stride 1.

    Attributes:
        kernel: its size, one number or one per axis.
        padding: see `Conv`.
        dilation: see `Conv`.
        dtype: to compute in; None: that of input and parameters.
    """

    kernel: Factor = 7
    padding: Padding = None
    dilation: Factor = 1
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, *S, C] -> [B, *s, C]."""
        axes, channels = x.ndim - 2, x.shape[-1]
        window, dilation = per_axis(self.kernel, axes), per_axis(self.dilation, axes)
        init = nn.initializers.lecun_normal(in_axis=tuple(range(axes)), out_axis=())
        kernel = self.param("kernel", init, (*window, channels), jnp.float32)  # [*k, C]
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        x, pads = _padded(self, x, self.padding, window, (1,) * axes, dilation)
        return _add_bias(depthwise_convolution(x, kernel, pads, dilation), bias)  # [B, *s, C]


class TransposedConv(nn.Module):
    """More positions along each axis by a transposed convolution whose kernel is twice the stride.

    Attributes:
        features: channels of the result.
        stride: one number or one per axis.
        padding: "causal": a result depends on its own position of the input and the one before;
            None: on the two that are nearest.
        dtype: to compute in; None: that of input and parameters.
    """

    features: int
    stride: Factor = 2
    padding: str | None = None
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, *S, C] -> [B, *(S stride), features]."""
        if self.padding not in (None, CAUSAL):
            raise UsageError(f"padding={self.padding!r}: {did_you_mean(self.padding, (CAUSAL,))}")
        axes = x.ndim - 2
        strides = per_axis(self.stride, axes)
        shape = (*(2 * f for f in strides), x.shape[-1], self.features)  # [*2f, C_in, C_out]
        # Every result is a sum over two positions along each axis, not over the whole kernel.
        init = nn.initializers.variance_scaling(
            0.5**axes,
            "fan_in",
            "truncated_normal",
            in_axis=-2,
            out_axis=-1,
            batch_axis=tuple(range(axes)),
        )
        kernel = self.param("kernel", init, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = transposed_convolution(x, kernel)  # [B, *((S + 1) f), features]
        starts = [0 if self.padding == CAUSAL else f // 2 for f in strides]
        sizes = (s * f for s, f in zip(x.shape[1:-1], strides, strict=True))
        slices = (slice(o, o + s) for o, s in zip(starts, sizes, strict=True))
        return _add_bias(y[:, *slices], bias)  # [B, *(S f), features]


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
