"""Transposed convolutions whose kernel is twice the stride, as sound codecs upsample (arXiv
2107.03312, 2210.13438): at every position the kernel meets two neighbours.
"""

import itertools

import jax
import jax.numpy as jnp

from vqjax.ops.platforms import by_platform, channels_last


def transposed_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x [B, *S, C_in] with kernel [*2f, C_in, C_out] and strides *f -> [B, *((S + 1) f), C_out].

    y[f i + j] = x[i] kernel[j] + x[i - 1] kernel[f + j], j in 0 .. f - 1: all positions that the
    kernel reaches. The first S f of them depend on nothing that comes later. On a CPU it is a
    product of neighbours with the kernel; elsewhere a convolution of x with zeros between its
    positions.
    """
    axes = x.ndim - 2
    if any(size % 2 for size in kernel.shape[:axes]):
        raise ValueError(f"kernel {kernel.shape[:axes]}: needed is twice the stride")
    return by_platform(_as_product, _as_convolution)(x, kernel)


def _as_product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    axes = x.ndim - 2
    *window, channels_in, channels_out = kernel.shape
    factors = [size // 2 for size in window]
    padded = jnp.pad(x, ((0, 0), *((1, 1),) * axes, (0, 0)))  # [B, *(S + 2), C_in]
    neighbours = []
    for offset in itertools.product((1, 0), repeat=axes):  # x[i], then x[i - 1], along each axis
        slices = (slice(o, o + s + 1) for o, s in zip(offset, x.shape[1:-1], strict=True))
        neighbours.append(padded[:, *slices])  # [B, *(S + 1), C_in]
    rows = jnp.concatenate(neighbours, -1).reshape(-1, 2**axes * channels_in)  # [N, windows C_in]
    split = kernel.reshape(*itertools.chain(*((2, f) for f in factors)), channels_in, channels_out)
    windows, phases = range(0, 2 * axes, 2), range(1, 2 * axes, 2)
    matrix = split.transpose(*windows, 2 * axes, *phases, 2 * axes + 1)  # [*2, C_in, *f, C_out]
    y = rows @ matrix.reshape(rows.shape[1], -1)  # [N, phases C_out]
    grid = [size + 1 for size in x.shape[1:-1]]
    y = y.reshape(x.shape[0], *grid, *factors, channels_out)  # [B, *(S + 1), *f, C_out]
    pairs = itertools.chain(*((axis + 1, axes + axis + 1) for axis in range(axes)))
    y = y.transpose(0, *pairs, 2 * axes + 1)  # [B, S1 + 1, f1, S2 + 1, f2, .., C_out]
    enlarged = (g * f for g, f in zip(grid, factors, strict=True))
    return y.reshape(x.shape[0], *enlarged, channels_out)  # [B, *((S + 1) f), C_out]


def _as_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    axes = x.ndim - 2
    window = kernel.shape[:axes]
    return jax.lax.conv_general_dilated(  # [B, *((S + 1) f), C_out]
        x,
        jnp.flip(kernel, range(axes)),
        (1,) * axes,
        [(size - 1, size - 1) for size in window],
        lhs_dilation=[size // 2 for size in window],
        dimension_numbers=channels_last(axes),
    )
