"""Grids of pictures, sounds and clips as sequences of patches, and back."""

import math

import jax

from vqjax.types import UsageError


def patch_grid(shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    """Patches along each of the axes `shape`, of `size` positions each.

    Raises:
        UsageError: patches do not divide an axis.
    """
    if any(axis % size or axis < 1 for axis in shape):
        raise UsageError(f"patches of {size} do not divide {' x '.join(map(str, shape))}")
    return tuple(axis // size for axis in shape)


def to_patches(x: jax.Array, size: int) -> jax.Array:
    """[B, *S, C] -> [B, T, size^n C] for n axes, row by row, within a patch likewise."""
    batch, *axes, channels = x.shape
    grid = patch_grid(tuple(axes), size)
    split = x.reshape(batch, *(n for axis in grid for n in (axis, size)), channels)
    outer = range(1, 2 * len(grid), 2)
    inner = range(2, 2 * len(grid) + 1, 2)
    ordered = split.transpose(0, *outer, *inner, split.ndim - 1)  # [B, *grid, *sizes, C]
    return ordered.reshape(batch, math.prod(grid), size ** len(grid) * channels)


def from_patches(patches: jax.Array, grid: tuple[int, ...], size: int) -> jax.Array:
    """`to_patches` backwards: [B, T, size^n C] -> [B, *S, C], S = size times `grid`."""
    batch, count = len(patches), len(grid)
    split = patches.reshape(batch, *grid, *(size,) * count, patches.shape[-1] // size**count)
    pairs = (axis for i in range(count) for axis in (1 + i, 1 + count + i))
    ordered = split.transpose(0, *pairs, split.ndim - 1)  # [B, axis, size, ..., C]
    return ordered.reshape(batch, *(axis * size for axis in grid), split.shape[-1])
