"""The order of a prior's tokens: levels of grids as one sequence."""

import dataclasses
import functools
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.types import Level


@dataclasses.dataclass(frozen=True)
class TokenOrder:
    """A tokenizer's levels as one sequence of T tokens with one id space of V.

    Levels of one grid (residual, product) are interleaved: all levels of a position, then the next
    position, row by row. Levels of different grids (multi-scale) come one after the other, in the
    order of `token_layout`. The ids of a level follow those of the level before it.

    Attributes:
        levels: Q, at least one.
    """

    levels: tuple[Level, ...]

    @property
    def interleaved(self) -> bool:
        return len({level.grid for level in self.levels}) == 1

    @property
    def length(self) -> int:
        """T."""
        return sum(math.prod(level.grid) for level in self.levels)

    @property
    def steps(self) -> int:
        """S, in which they are drawn one after the other: T."""
        return self.length

    @property
    def vocabulary(self) -> int:
        """V."""
        return sum(level.codebook_size for level in self.levels)

    @property
    def firsts(self) -> tuple[int, ...]:
        """The first id of every level."""
        sizes = [level.codebook_size for level in self.levels]
        return tuple(sum(sizes[:i]) for i in range(len(sizes)))

    @functools.cached_property
    def level_at(self) -> np.ndarray:
        """int[T]: the number of every token's level."""
        parts = [np.full(math.prod(v.grid), i) for i, v in enumerate(self.levels)]
        return self._put_together(parts)

    @functools.cached_property
    def positions(self) -> np.ndarray:
        """float[T, axes]: the middle of every token's cell, in cells of the finest grid.

        Counted from 1: the prefix before the tokens is at 0.
        """
        finest = np.max([level.grid for level in self.levels], axis=0)
        parts = []
        for level in self.levels:
            positions = np.arange(math.prod(level.grid))  # [level's T]
            index = np.stack(np.unravel_index(positions, level.grid), -1)  # [level's T, axes]
            parts.append((index + 0.5) * finest / np.asarray(level.grid) + 0.5)
        return self._put_together(parts)

    @property
    def step_positions(self) -> np.ndarray:
        """float[S, axes]: those of the steps."""
        return self.positions

    @property
    def level_of(self) -> np.ndarray:
        """int[V]: the number of the level that an id belongs to."""
        return np.repeat(np.arange(len(self.levels)), [v.codebook_size for v in self.levels])

    def _put_together(self, parts: list) -> np.ndarray:
        """One array per level, [positions, ...], in the order of the sequence."""
        if not self.interleaved:
            return np.concatenate(parts)  # [T, ...]
        stacked = np.stack(parts, axis=1)  # [T / Q, Q, ...]
        return stacked.reshape(self.length, *parts[0].shape[1:])  # [T, ...]

    def arrange(self, arrays: Mapping[str, jax.Array]) -> jax.Array:
        """{level name: [B, *grid]} of anything that tokens have -> [B, T], in its order."""
        parts = [arrays[level.name] for level in self.levels]
        parts = [part.reshape(len(part), -1) for part in parts]  # [B, level's T] each
        if not self.interleaved:
            return jnp.concatenate(parts, axis=1)  # [B, T]
        stacked = jnp.stack(parts, axis=2)  # [B, T / Q, Q]
        return stacked.reshape(len(parts[0]), self.length)  # [B, T]

    def flatten(self, indices: Mapping[str, jax.Array]) -> jax.Array:
        """{level name: int32[B, *grid]} -> ids int32[B, T]."""
        firsts = zip(self.levels, self.firsts, strict=True)
        return self.arrange({level.name: indices[level.name] + first for level, first in firsts})

    def unflatten(self, ids: jax.Array) -> dict[str, jax.Array]:
        """`flatten` backwards."""
        if self.interleaved:
            stacked = ids.reshape(len(ids), -1, len(self.levels))  # [B, T / Q, Q]
            parts = [stacked[..., i] for i in range(len(self.levels))]  # [B, T / Q] each
        else:
            ends = np.cumsum([math.prod(level.grid) for level in self.levels])[:-1]
            parts = jnp.split(ids, ends, axis=1)  # [B, level's T] each
        return {
            level.name: (part - first).reshape(len(ids), *level.grid)  # [B, *grid]
            for level, first, part in zip(self.levels, self.firsts, parts, strict=True)
        }
