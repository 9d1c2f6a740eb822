"""Rotary position embedding for any number of axes (arXiv 2104.09864; on grids 2403.13298)."""

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.ops.numerics import at_least_float32
from vqjax.types import UsageError


def rotary_angles(positions: np.ndarray, head_dim: int, base: float = 10_000.0) -> np.ndarray:
    """The angle by which each pair of channels turns at each position.

    Axis by axis, an equal share of the pairs turns by position * base^(-i / share), i their number.

    Args:
        positions: [T, axes], coordinates; they may be fractions.
        head_dim: d, channels of a head.
        base: of the frequencies.

    Returns:
        float32 [T, d / 2]; zero where all coordinates are zero.

    Raises:
        UsageError: the axes cannot share the channels in equal pairs.
    """
    axes = positions.shape[1]
    if head_dim % (2 * axes):
        raise UsageError(
            f"{head_dim} channels per head: {axes} axes of positions need a multiple of {2 * axes}"
        )
    share = head_dim // (2 * axes)
    frequencies = base ** (-np.arange(share) / share)
    angles = positions[..., None] * frequencies  # [T, axes, share]
    return angles.reshape(len(positions), -1).astype(np.float32)  # [T, d / 2]


def rotate_pairs(x: jax.Array, angles: jax.Array) -> jax.Array:
    """Turns channel i of x [B, T, h, d] together with channel i + d / 2, by angles [T, d / 2].

    In at least float32; the dtype of the result is that of `x`.
    """
    cos, sin = jnp.cos(angles)[None, :, None], jnp.sin(angles)[None, :, None]  # [1, T, 1, d / 2]
    a, b = jnp.split(at_least_float32(x), 2, axis=-1)  # [B, T, h, d / 2] each
    turned = jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)  # [B, T, h, d]
    return turned.astype(x.dtype)
