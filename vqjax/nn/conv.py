"""Convolutions, down- and upsampling over any number of spatial axes.

The number of axes is that of the input: [B, T, C], [B, H, W, C] or [B, T, H, W, C]. Kernels are
stored as [*kernel, C_in, C_out].
"""

import functools
import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.linen.dtypes import canonicalize_dtype, promote_dtype

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


def convolve(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: int | None
) -> jax.Array:
    """x [B, *S, C_in] with kernel [*k, C_in, C_out]; see `Conv` for `padding`."""
    *window, channels, features = kernel.shape
    if max(strides) == 1 and math.prod(window) * features <= channels:
        return _convolve_to_few(x, kernel, padding)
    return _convolve(x, kernel, strides, padding)


def _convolve(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: int | None
) -> jax.Array:
    axes = x.ndim - 2
    data = (0, axes + 1, *range(1, axes + 1))
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        strides,
        "SAME" if padding is None else [(padding, padding)] * axes,
        dimension_numbers=jax.lax.ConvDimensionNumbers(data, (axes + 1, axes, *range(axes)), data),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve_to_few(x: jax.Array, kernel: jax.Array, padding: int | None) -> jax.Array:
    """`_convolve` with stride 1, for results whose windows are no wider than `x`.

    On a CPU the kernel's gradient is a matrix product of those windows with `x`: of 4 x 64 x 64
    positions, 64 channels to 3, in 1.2 ms of two AVX-512 cores' time where a convolution takes 14.
    """
    return _convolve(x, kernel, (1,) * (x.ndim - 2), padding)


def _to_few_forward(x: jax.Array, kernel: jax.Array, padding: int | None) -> tuple:
    return _convolve_to_few(x, kernel, padding), (x, kernel)


def _to_few_backward(padding: int | None, kept: tuple, gradient: jax.Array) -> tuple:
    x, kernel = kept
    strides = (1,) * (x.ndim - 2)

    def as_convolution(x: jax.Array, gradient: jax.Array) -> jax.Array:
        return jax.vjp(lambda k: _convolve(x, k, strides, padding), kernel)[1](gradient)[0]

    def as_product(x: jax.Array, gradient: jax.Array) -> jax.Array:
        return _kernel_gradient(x, gradient, kernel.shape[:-2], padding)

    (of_x,) = jax.vjp(lambda x: _convolve(x, kernel, strides, padding), x)[1](gradient)
    of_kernel = jax.lax.platform_dependent(x, gradient, cpu=as_product, default=as_convolution)
    return of_x, of_kernel


_convolve_to_few.defvjp(_to_few_forward, _to_few_backward)


def _kernel_gradient(
    x: jax.Array, gradient: jax.Array, window: tuple[int, ...], padding: int | None
) -> jax.Array:
    """x [B, *S, C_in], gradient [B, *s, C_out] -> [*window, C_in, C_out], for stride 1.

    Tap t took position q of `x` to q - t + before: from the last tap to the first, these are
    windows of the gradient.
    """
    around = [(0, 0, 0)]
    for taps, size, small in zip(window, x.shape[1:-1], gradient.shape[1:-1], strict=True):
        before = (taps - 1) // 2 if padding is None else padding
        low = taps - 1 - before
        around.append((low, size + before - small, 0))
    zero = jnp.zeros((), gradient.dtype)
    padded = jax.lax.pad(gradient, zero, [*around, (0, 0, 0)])  # [B, *(S + window - 1), C_out]
    shifted = []
    for offset in itertools.product(*map(range, window)):
        places = (slice(start, start + s) for start, s in zip(offset, x.shape[1:-1], strict=True))
        shifted.append(padded[:, *places])
    windows = jnp.concatenate(shifted, -1).reshape(-1, len(shifted) * gradient.shape[-1])
    product = windows.T @ x.reshape(-1, x.shape[-1])  # [taps * C_out, C_in]
    taps = product.reshape(*window, gradient.shape[-1], x.shape[-1])
    return jnp.flip(taps, range(len(window))).swapaxes(-1, -2)


def _add_bias(y: jax.Array, bias: jax.Array) -> jax.Array:
    return y + bias.reshape((1,) * (y.ndim - 1) + bias.shape)


class Conv(nn.Module):
    """A convolution with zeros around the input.

    Attributes:
        features: channels of the result.
        kernel: its size, one number or one per axis.
        stride: one number or one per axis.
        padding: zeros before and after each axis; None: so many that the result has
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
        shape = (*per_axis(self.kernel, axes), x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = None
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = convolve(x, kernel, per_axis(self.stride, axes), self.padding)
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
        """x [B, *S, C] -> [B, *(S / factor), features]."""
        axes = x.ndim - 2
        factors = per_axis(self.factor, axes)
        if self.method == "strided":
            kernel = tuple(f + 1 if f > 1 else 3 for f in factors)
            return Conv(self.features, kernel, factors, dtype=self.dtype, name="conv")(x)
        if self.method != "average":
            raise UsageError(
                f"downsample={self.method!r}: {did_you_mean(self.method, DOWNSAMPLING)}"
            )
        (x,) = promote_dtype(x, dtype=self.dtype)
        windows = [(s // f, f) for s, f in zip(x.shape[1:-1], factors, strict=True)]
        split = x.reshape(x.shape[0], *itertools.chain(*windows), x.shape[-1])
        return split.mean(tuple(range(2, 2 * axes + 1, 2)))


@functools.cache
def _fold(factor: int) -> np.ndarray:
    """[factor, window, 3]: which tap of the kernel each phase of the large grid lays where.

    Position factor * i + phase of the enlarged axis is a copy of position i, so its three
    neighbours are copies of at most two small positions: i - 1 and i for the first phase, i and
    i + 1 for the others.
    """
    if factor == 1:
        return np.eye(3)[None]
    fold = np.zeros((factor, 2, 3))
    for phase, tap in itertools.product(range(factor), range(3)):
        fold[phase, (phase + tap - 1) // factor + (phase == 0), tap] = 1.0
    return fold


def _fold_kernel(kernel: jax.Array, factors: tuple[int, ...]) -> jax.Array:
    """Kernel [3, ..., C_in, C_out] -> matrix [windows * C_in, phases * C_out]."""
    axes = len(factors)
    channels_in, channels_out = kernel.shape[axes:]
    folded = kernel
    for factor in factors:  # takes the first axis away and puts two at the end
        fold = jnp.asarray(_fold(factor), kernel.dtype)
        folded = jnp.tensordot(folded, fold, axes=((0,), (2,)), precision="highest")
    phases = range(2, 2 * axes + 2, 2)
    windows = range(3, 2 * axes + 2, 2)
    folded = folded.transpose(*windows, 0, *phases, 1)
    return folded.reshape(-1, math.prod(factors) * channels_out)


def _interleave(y: jax.Array, sizes: tuple[int, ...], factors: tuple[int, ...]) -> jax.Array:
    """[B, *positions, *phases, C] -> [B, S1, phases1, S2, phases2, ..., C]."""
    axes = len(sizes)

    def along(axis: int, part: jax.Array) -> jax.Array:
        if axis == axes:
            return part
        rows = []
        for phase in range(factors[axis]):
            start = 0 if phase == 0 else 1
            row = jax.lax.slice_in_dim(part, start, start + sizes[axis], axis=axis + 1)
            rows.append(along(axis + 1, jax.lax.index_in_dim(row, phase, axes + 1, keepdims=False)))
        return jnp.stack(rows, axis + 2)

    return along(0, y)


def _as_product(x: jax.Array, kernel: jax.Array, factors: tuple[int, ...]) -> jax.Array:
    """One matrix product on the small grid, whose results are laid side by side."""
    axes = len(factors)
    sizes = x.shape[1:-1]
    matrix = _fold_kernel(kernel, factors).astype(x.dtype)
    padded = jnp.pad(x, ((0, 0), *((1, 1),) * axes, (0, 0)))
    windows = [3 if f == 1 else 2 for f in factors]
    places = [s + 3 - w for s, w in zip(sizes, windows, strict=True)]
    shifted = []
    for offset in itertools.product(*map(range, windows)):
        part = padded
        for axis, (start, size) in enumerate(zip(offset, places, strict=True), start=1):
            part = jax.lax.slice_in_dim(part, start, start + size, axis=axis)
        shifted.append(part)
    rows = jnp.concatenate(shifted, -1).reshape(-1, matrix.shape[0])
    y = rows @ matrix  # [B * places, phases * F]
    y = y.reshape(x.shape[0], *places, *factors, kernel.shape[-1])
    y = _interleave(y, sizes, factors)
    enlarged = (s * f for s, f in zip(sizes, factors, strict=True))
    return y.reshape(x.shape[0], *enlarged, kernel.shape[-1])


def _as_transposed(x: jax.Array, kernel: jax.Array, factors: tuple[int, ...]) -> jax.Array:
    """One convolution of the small grid with zeros between its positions: the kernel and the
    `factor` copies of a position together are a kernel of `factor` + 2.
    """
    axes = len(factors)
    summed = kernel
    for factor in factors:  # takes the first axis away and puts one before the channels
        sums = np.zeros((factor + 2, 3))
        for copy, tap in itertools.product(range(factor), range(3)):
            sums[tap - 1 - copy + factor, tap] = 1.0
        sums = jnp.asarray(sums, kernel.dtype)
        summed = jnp.tensordot(summed, sums, axes=((0,), (1,)), precision="highest")
    summed = jnp.moveaxis(summed, (0, 1), (-2, -1))  # [factor + 2, ..., C, F]
    data = (0, axes + 1, *range(1, axes + 1))
    return jax.lax.conv_general_dilated(
        x,
        summed.astype(x.dtype),
        (1,) * axes,
        [(f, f) for f in factors],
        lhs_dilation=factors,
        dimension_numbers=jax.lax.ConvDimensionNumbers(data, (axes + 1, axes, *range(axes)), data),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def upsampled_convolution(x: jax.Array, kernel: jax.Array, factors: tuple[int, ...]) -> jax.Array:
    """x [B, *S, C], upsampled to nearest neighbours, convolved with `kernel` [3, ..., C, F], whose
    taps are summed before they are rounded to the dtype of `x`.

    The copies are never made: a convolution of a grid of copies is, exactly, one of the small grid
    with sums of the kernel's taps; for factor 2 in two axes with 2.25 times fewer multiplications.
    On a CPU it is a matrix product, and forward and backward take 2.5 times less; elsewhere it is a
    convolution: laying results side by side was a fifth of the bytes that a VQGAN's step moves on
    a TPU (`vqjax compile`, docs/scaling.md).
    """
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_as_product, factors=factors),
        default=functools.partial(_as_transposed, factors=factors),
    )


def _upsampled_forward(x: jax.Array, kernel: jax.Array, factors: tuple[int, ...]) -> tuple:
    return upsampled_convolution(x, kernel, factors), (x, kernel)


def _upsampled_backward(factors: tuple[int, ...], kept: tuple, gradient: jax.Array) -> tuple:
    def gradients(method: Callable, x: jax.Array, kernel: jax.Array, g: jax.Array) -> tuple:
        return jax.vjp(lambda x, k: method(x, k, factors), x, kernel)[1](g)

    return jax.lax.platform_dependent(
        *kept,
        gradient,
        cpu=functools.partial(gradients, _as_product),
        default=functools.partial(gradients, _as_transposed),
    )


upsampled_convolution.defvjp(_upsampled_forward, _upsampled_backward)


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
        """x [B, *S, C] -> [B, *(S * factor), features]."""
        axes = x.ndim - 2
        factors = per_axis(self.factor, axes)
        shape = (*(3,) * axes, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        dtype = canonicalize_dtype(x, kernel, dtype=self.dtype)
        y = upsampled_convolution(x.astype(dtype), kernel, factors)
        return _add_bias(y, bias.astype(y.dtype))
