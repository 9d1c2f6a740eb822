"""Depthwise convolutions, a kernel for each channel, in the forms that platforms compute fast."""

import functools
import itertools

import jax
import jax.numpy as jnp

from vqjax.ops.platforms import Pads, by_platform, channels_last


def depthwise_convolution(
    x: jax.Array, kernel: jax.Array, pads: Pads, dilation: tuple[int, ...]
) -> jax.Array:
    """x [B, *S, C] with a kernel [*k, C] of its own for each channel -> [B, *s, C].

    On a CPU it is the sum of shifted copies, elsewhere a convolution in C groups.

    Args:
        pads: zeros before and after each axis.
        dilation: positions from tap to tap along each axis.
    """
    settings = {"pads": pads, "dilation": dilation}
    shifts = functools.partial(_as_shifts, **settings)
    return by_platform(shifts, functools.partial(_in_groups, **settings))(x, kernel)


def _as_shifts(x: jax.Array, kernel: jax.Array, pads: Pads, dilation: tuple[int, ...]) -> jax.Array:
    wide = jnp.promote_types(x.dtype, jnp.float32)  # sums are not rounded to less
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0))).astype(wide)  # [B, *(S + pads), C]
    sizes = [
        size - (taps - 1) * step
        for size, taps, step in zip(padded.shape[1:-1], kernel.shape, dilation, strict=False)
    ]
    y = jnp.zeros((x.shape[0], *sizes, x.shape[-1]), wide)  # [B, *s, C]
    for tap in itertools.product(*map(range, kernel.shape[:-1])):
        starts = (t * step for t, step in zip(tap, dilation, strict=True))
        slices = (slice(o, o + s) for o, s in zip(starts, sizes, strict=True))
        weights = kernel[tap].astype(wide).reshape((1,) * (x.ndim - 1) + (-1,))  # [1, .., C]
        y += padded[:, *slices] * weights  # [B, *s, C]
    return y.astype(x.dtype)


def _in_groups(x: jax.Array, kernel: jax.Array, pads: Pads, dilation: tuple[int, ...]) -> jax.Array:
    axes = x.ndim - 2
    return jax.lax.conv_general_dilated(  # [B, *s, C]
        x,
        kernel[..., None, :],  # [*k, 1, C]
        (1,) * axes,
        pads,
        rhs_dilation=dilation,
        feature_group_count=x.shape[-1],
        dimension_numbers=channels_last(axes),
    )
