"""What all denoisers share: their condition, their grid of patches."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax.nn.attention import CrossContext, rows_of
from vqjax.nn.patches import from_patches, patch_grid, to_patches
from vqjax.nn.remat import rematerialised
from vqjax.nn.timestep import TimeEmbedding
from vqjax.types import Tree, UsageError

XAVIER = nn.initializers.xavier_uniform()
ZEROS = nn.initializers.zeros


class DenoiserInputs(NamedTuple):
    """A network's inputs beside its patches.

    Attributes:
        vector: of time and condition, [B, C].
        context: for cross-attention in every block; None: there is none.
    """

    vector: jax.Array
    context: CrossContext | None = None


class Denoiser(nn.Module):
    """Base. Subclasses have the fields `width`, `layers`, `heads`, `patch`, `condition`, `dtype`.

    A denoiser is called as (x_t [B, *S, C], t float[B] in [0, 1], cond) and returns [B, *S, C];
    which of x0, noise or velocity that is, is not its concern. Any rank.
    """

    def check_sizes(self) -> None:
        """Refuses sizes that do not fit each other, with UsageError."""
        if self.heads < 1 or self.width < 1 or self.width % self.heads:
            raise UsageError(f"denoiser.heads={self.heads} does not divide width={self.width}")
        if self.layers < 1 or self.patch < 1:
            raise UsageError(
                f"denoiser: layers={self.layers}, patch={self.patch}: wanted at least one of each"
            )

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuses examples (*S, C) that it cannot take, with UsageError."""
        try:
            self.positions(patch_grid(shape[:-1], self.patch))
        except UsageError as error:
            raise UsageError(f"denoiser.patch={self.patch}: {error}") from error

    def positions(self, grid: tuple[int, ...]) -> np.ndarray:
        """What it knows of the positions of a grid of patches."""
        raise NotImplementedError

    def inputs(self, t: jax.Array, cond: Tree | None) -> DenoiserInputs:
        """Its inputs beside the patches, of times [B] and what the condition takes. In `setup` or a
        compact method.

        A condition's vectors are averaged, and added to that of the time; one `by` "cross" is
        attended to as well.
        """
        vector = TimeEmbedding(self.width, dtype=self.dtype, name="time")(t)  # [B, C]
        if self.condition is None:
            return DenoiserInputs(vector)
        vectors, mask = self.condition(cond, self.width)  # [B, M, C], [B, M] or None
        if mask is None:
            pooled = vectors.mean(axis=1)  # [B, C]
        else:
            weights = mask.astype(vectors.dtype)[..., None]  # [B, M, 1]
            pooled = (vectors * weights).sum(axis=1) / jnp.maximum(weights.sum(axis=1), 1)
        context = CrossContext(vectors, mask) if self.condition.by == "cross" else None
        return DenoiserInputs(vector + pooled.astype(vector.dtype), context)

    def embedded(self, x: jax.Array) -> jax.Array:
        """Patches of x [B, *S, C] as vectors, [B, T, width]. In a compact method."""
        patches = to_patches(x, self.patch)  # [B, T, p^n C]
        embed = nn.Dense(self.width, kernel_init=XAVIER, dtype=self.dtype, name="embed")
        return embed(rows_of(patches)).reshape(*patches.shape[:2], self.width)

    def scanned(self, block: type[nn.Module], *settings: Any) -> nn.Module:
        """`layers` blocks, their parameters stacked, one of them compiled. In a compact method."""
        blocks: Any = nn.scan(
            rematerialised(block, self.remat, scanned=True),
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=nn.broadcast,
            length=self.layers,
        )
        return blocks(*settings, name="blocks")

    def read_out(
        self, h: jax.Array, vector: jax.Array, grid: tuple[int, ...], channels: int
    ) -> jax.Array:
        """Normalised vectors [B, T, width] of patches as what they say, float32 [B, *S, channels],
        zero at first. In a compact method.
        """
        shift, scale = modulation(vector, 2, self.dtype, "final_modulation")
        h = modulated(h, shift, scale).astype(jnp.float32)
        size = self.patch ** len(grid) * channels
        out = nn.Dense(size, kernel_init=ZEROS, name="head")(rows_of(h))  # [B T, p^n C]
        return from_patches(out.reshape(*h.shape[:2], size), grid, self.patch)


def modulation(vector: jax.Array, count: int, dtype: str | None, name: str) -> tuple[Any, ...]:
    """`count` vectors [B, 1, C] out of one, [B, C], all zero at first: "adaLN-Zero" (arXiv
    2212.09748). In a compact method.
    """
    width = vector.shape[-1]
    dense = nn.Dense(count * width, kernel_init=ZEROS, bias_init=ZEROS, dtype=dtype, name=name)
    return tuple(jnp.split(dense(jax.nn.silu(vector))[:, None], count, axis=-1))


def modulated(x: jax.Array, shift: jax.Array, scale: jax.Array) -> jax.Array:
    """x [B, T, C] moved and stretched by [B, 1, C]."""
    return x * (1 + scale) + shift
