"""Convolutions in the forms that each platform computes fast; values are those of the plain one.

Kernels are [*k, C_in, C_out]; the number of axes is that of the input. *f are the factors of an
upsampling.
"""

import functools
import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.ops import mesh_context
from vqjax.ops.platforms import Pads, by_platform, channels_last

MOST_PIECES = 64  # of one kernel's gradient, each an operation that is compiled


def pads_for(size: int, taps: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """What to add before and after an axis for ceil(size / stride) results, an odd one after."""
    total = max((-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def causal_pads(size: int, taps: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """The same, so that result i depends on nothing after position (i + 1) stride - 1: what a whole
    number of strides lacks is added after, all else before.
    """
    reach = (taps - 1) * dilation + 1
    before = max(reach - stride, 0)
    return before, max((-(-size // stride) - 1) * stride + reach - size - before, 0)


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, ...],
    pads: Pads,
    dilation: tuple[int, ...] | None = None,
) -> jax.Array:
    """x [B, *S, C_in] with kernel [*k, C_in, C_out] -> [B, *s, C_out].

    Args:
        pads: zeros before and after each axis.
        dilation: positions from tap to tap along each axis; None: 1.
    """
    if max(strides) == 1 and (dilation is None or max(dilation) == 1):
        return _convolve_by_one(x, kernel, pads)
    return _convolve(x, kernel, strides, pads, dilation)


def _convolve(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, ...],
    pads: Pads,
    dilation: tuple[int, ...] | None = None,
) -> jax.Array:
    return jax.lax.conv_general_dilated(  # [B, *s, C_out]
        x,
        kernel,
        strides,
        pads,
        rhs_dilation=dilation,
        dimension_numbers=channels_last(x.ndim - 2),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve_by_one(x: jax.Array, kernel: jax.Array, pads: Pads) -> jax.Array:
    """`_convolve` with stride 1, whose kernel's gradient a CPU computes in another form.

    Of results whose windows are no wider than `x` it is a matrix product of those windows with `x`:
    of 4 x 64 x 64 positions, 64 channels to 3, in 1.2 ms of two AVX-512 cores' time where a
    convolution takes 14. Else it is the sum of the gradients of pieces (`_piece_size`).
    """
    return _convolve(x, kernel, (1,) * (x.ndim - 2), pads)


def _by_one_forward(x: jax.Array, kernel: jax.Array, pads: Pads) -> tuple:
    return _convolve_by_one(x, kernel, pads), (x, kernel)


def _by_one_backward(pads: Pads, residuals: tuple, gradient: jax.Array) -> tuple:
    x, kernel = residuals
    *window, channels, features = kernel.shape
    strides = (1,) * len(window)
    (of_x,) = jax.vjp(lambda x: _convolve(x, kernel, strides, pads), x)[1](gradient)

    def whole(x: jax.Array, gradient: jax.Array, pads: Pads = pads) -> jax.Array:
        return jax.vjp(lambda k: _convolve(x, k, strides, pads), kernel)[1](gradient)[0]

    if math.prod(window) * features <= channels:
        on_cpu = functools.partial(_gradient_as_product, window=tuple(window), pads=pads)
    elif size := _piece_size(gradient.shape, tuple(window)):
        on_cpu = functools.partial(_gradient_in_pieces, whole, window=window, pads=pads, size=size)
    else:
        return of_x, whole(x, gradient)
    return of_x, jax.lax.platform_dependent(x, gradient, cpu=on_cpu, default=whole)


_convolve_by_one.defvjp(_by_one_forward, _by_one_backward)


def _piece_size(shape: tuple[int, ...], window: tuple[int, ...]) -> int:
    """Positions of a piece in which a CPU works out a kernel's gradient from that of the result,
    of `shape` [B, *s, C_out]; 0: all at once.

    XLA's matrix product of all windows with the gradient is as tall as there are positions, and
    leaves the caches. With 8 positions for each of C_out channels it is 2.5 times as fast at 64
    channels and 1.8 times at 128; from 256 on nothing is gained. Rows that a mesh splits are left
    whole: a piece would be gathered.
    """
    batch, *sizes, features = shape
    positions = batch * math.prod(sizes)
    size = max(8 * features, -(-positions // MOST_PIECES))
    worth = 96 <= features <= 128 and math.prod(window) > 1 and positions >= 2 * size
    return size if worth and not mesh_context.row_axes(batch) else 0


def _gradient_in_pieces(
    whole: Callable,
    x: jax.Array,
    gradient: jax.Array,
    *,
    window: tuple[int, ...],
    pads: Pads,
    size: int,
) -> jax.Array:
    """The sum of `whole(x, gradient, pads)` over examples, or over rows of the first axis, of about
    `size` positions each: [*k, C_in, C_out].
    """
    batch, first, *rest = gradient.shape[:-1]
    rows = min(max(size // math.prod(rest), 1), first)
    examples = max(size // (first * math.prod(rest)), 1)
    total = 0.0
    for b, row in itertools.product(range(0, batch, examples), range(0, first, rows)):
        part = gradient[b : b + examples, row : row + rows]  # [examples, rows, .., C_out]
        low = row - pads[0][0]  # its rows of x, and zeros where they lie outside
        high = low + part.shape[1] + window[0] - 1
        if low < x.shape[1] and high > 0:
            inside = x[b : b + examples, max(low, 0) : high]
            zeros = (max(-low, 0), max(high - x.shape[1], 0))
            total = total + whole(inside, part, (zeros, *pads[1:]))
    return total


def _gradient_as_product(
    x: jax.Array, gradient: jax.Array, window: tuple[int, ...], pads: Pads
) -> jax.Array:
    """x [B, *S, C_in], gradient [B, *s, C_out] -> [*k, C_in, C_out], for stride 1.

    Tap t took position q of `x` to q - t + before: from the last tap to the first, these are
    windows of the gradient.
    """
    around = [(0, 0, 0)]
    sizes = zip(window, x.shape[1:-1], gradient.shape[1:-1], pads, strict=True)
    for taps, size, small, (before, _) in sizes:
        low = taps - 1 - before
        around.append((low, size + before - small, 0))
    zero = jnp.zeros((), gradient.dtype)
    padded = jax.lax.pad(gradient, zero, [*around, (0, 0, 0)])  # [B, *(S + k - 1), C_out]
    shifted = []
    for offset in itertools.product(*map(range, window)):
        slices = (slice(start, start + s) for start, s in zip(offset, x.shape[1:-1], strict=True))
        shifted.append(padded[:, *slices])  # [B, *S, C_out]
    windows = jnp.concatenate(shifted, -1)  # [B, *S, taps C_out]
    windows = windows.reshape(-1, len(shifted) * gradient.shape[-1])  # [N, taps C_out]
    product = windows.T @ x.reshape(-1, x.shape[-1])  # [taps C_out, C_in]
    taps = product.reshape(*window, gradient.shape[-1], x.shape[-1])  # [*k, C_out, C_in]
    return jnp.flip(taps, range(len(window))).swapaxes(-1, -2)  # [*k, C_in, C_out]


@functools.cache
def _fold(factor: int) -> np.ndarray:
    """[factor, window, 3]: which tap of the kernel each phase of the large grid has where.

    Position factor * i + phase of the enlarged axis is a copy of position i, so its three
    neighbours are copies of at most two small positions: i - 1 and i for the first phase, i and
    i + 1 for the others.
    """
    if factor == 1:
        return np.eye(3)[None]  # [1, 3, 3]
    fold = np.zeros((factor, 2, 3))
    for phase, tap in itertools.product(range(factor), range(3)):
        fold[phase, (phase + tap - 1) // factor + (phase == 0), tap] = 1.0
    return fold


def _fold_kernel(kernel: jax.Array, factors: tuple[int, ...]) -> jax.Array:
    """Kernel [3, .., C_in, C_out] -> matrix [windows C_in, phases C_out]."""
    axes = len(factors)
    channels_in, channels_out = kernel.shape[axes:]
    folded = kernel
    for factor in factors:  # takes the first axis away and puts its phase and window at the end
        fold = jnp.asarray(_fold(factor), kernel.dtype)  # [f, window, 3]
        folded = jnp.tensordot(folded, fold, axes=((0,), (2,)), precision="highest")
    phases = range(2, 2 * axes + 2, 2)
    windows = range(3, 2 * axes + 2, 2)
    folded = folded.transpose(*windows, 0, *phases, 1)  # [*windows, C_in, *phases, C_out]
    return folded.reshape(-1, math.prod(factors) * channels_out)  # [windows C_in, phases C_out]


def _interleave(y: jax.Array, sizes: tuple[int, ...], factors: tuple[int, ...]) -> jax.Array:
    """[B, *positions, *f, C_out] -> [B, S1, f1, S2, f2, .., C_out]."""
    axes = len(sizes)

    def along(axis: int, part: jax.Array) -> jax.Array:
        if axis == axes:
            return part
        rows = []
        for phase in range(factors[axis]):
            start = 0 if phase == 0 else 1
            row = jax.lax.slice_in_dim(part, start, start + sizes[axis], axis=axis + 1)
            row = jax.lax.index_in_dim(row, phase, axes + 1, keepdims=False)  # without this axis' f
            rows.append(along(axis + 1, row))
        return jnp.stack(rows, axis + 2)  # puts f behind its S

    return along(0, y)


def _as_product(x: jax.Array, kernel: jax.Array, factors: tuple[int, ...]) -> jax.Array:
    """x [B, *S, C_in] -> [B, *(S f), C_out] by one matrix product on the small grid, whose results
    are put side by side.
    """
    axes = len(factors)
    sizes = x.shape[1:-1]
    matrix = _fold_kernel(kernel, factors).astype(x.dtype)  # [windows C_in, phases C_out]
    padded = jnp.pad(x, ((0, 0), *((1, 1),) * axes, (0, 0)))  # [B, *(S + 2), C_in]
    windows = [3 if f == 1 else 2 for f in factors]
    grid = [s + 3 - w for s, w in zip(sizes, windows, strict=True)]
    shifted = []
    for offset in itertools.product(*map(range, windows)):
        part = padded
        for axis, (start, size) in enumerate(zip(offset, grid, strict=True), start=1):
            part = jax.lax.slice_in_dim(part, start, start + size, axis=axis)
        shifted.append(part)  # [B, *grid, C_in]
    rows = jnp.concatenate(shifted, -1).reshape(-1, matrix.shape[0])  # [B grid, windows C_in]
    y = rows @ matrix  # [B grid, phases C_out]
    y = y.reshape(x.shape[0], *grid, *factors, kernel.shape[-1])  # [B, *grid, *f, C_out]
    y = _interleave(y, sizes, factors)  # [B, S1, f1, S2, f2, .., C_out]
    enlarged = (s * f for s, f in zip(sizes, factors, strict=True))
    return y.reshape(x.shape[0], *enlarged, kernel.shape[-1])  # [B, *(S f), C_out]


def _as_transposed(x: jax.Array, kernel: jax.Array, factors: tuple[int, ...]) -> jax.Array:
    """x [B, *S, C_in] -> [B, *(S f), C_out] by one convolution of the small grid with zeros between
    its positions: the kernel and the f copies of a position together are a kernel of f + 2.
    """
    axes = len(factors)
    summed = kernel
    for factor in factors:  # takes the first axis away and puts one of f + 2 at the end
        sums = np.zeros((factor + 2, 3))  # [f + 2, 3]
        for copy, tap in itertools.product(range(factor), range(3)):
            sums[tap - 1 - copy + factor, tap] = 1.0
        sums = jnp.asarray(sums, kernel.dtype)
        summed = jnp.tensordot(summed, sums, axes=((0,), (1,)), precision="highest")
    summed = jnp.moveaxis(summed, (0, 1), (-2, -1))  # [*(f + 2), C_in, C_out]
    return jax.lax.conv_general_dilated(
        x,
        summed.astype(x.dtype),
        (1,) * axes,
        [(f, f) for f in factors],
        lhs_dilation=factors,
        dimension_numbers=channels_last(axes),
    )


def upsampled_convolution(x: jax.Array, kernel: jax.Array, factors: tuple[int, ...]) -> jax.Array:
    """x [B, *S, C_in], upsampled to nearest neighbours, convolved with kernel [3, .., C_in, C_out]:
    [B, *(S f), C_out]. The taps are summed before they are rounded to the dtype of `x`.

    The copies are never made: a convolution of a grid of copies is, exactly, one of the small grid
    with sums of the kernel's taps; for factor 2 in two axes with 2.25 times fewer multiplications.
    On a CPU it is a matrix product, and forward and backward take 2.5 times less; elsewhere it is a
    convolution: putting results side by side was a fifth of the bytes that a VQGAN's step moves on
    a TPU (`vqjax compile`, docs/scaling.md).
    """
    product = functools.partial(_as_product, factors=factors)
    return by_platform(product, functools.partial(_as_transposed, factors=factors))(x, kernel)
