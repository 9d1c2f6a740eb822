"""Times and positions as vectors of sines and cosines."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax.nn.attention import INIT
from vqjax.types import UsageError

STEPS = 1_000  # of time 1: what the frequencies were made for
LONGEST = 10_000.0  # of the wavelengths, over 2 pi


class TimeEmbedding(nn.Module):
    """t in [0, 1] -> a vector: cosines and sines of 1,000 t, and two layers (arXiv 2212.09748).

    Attributes:
        features: of the vector.
        frequencies: cosines, and as many sines.
        dtype: to compute in; None: that of the parameters. The waves are float32.
    """

    features: int
    frequencies: int = 128
    dtype: str | None = None

    @nn.compact
    def __call__(self, t: jax.Array) -> jax.Array:
        """float[B] -> [B, features]."""
        rates = np.exp(-math.log(LONGEST) * np.arange(self.frequencies) / self.frequencies)
        angles = STEPS * t.astype(jnp.float32)[:, None] * jnp.asarray(rates, jnp.float32)[None]
        waves = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=1)  # [B, 2 frequencies]
        waves = waves.astype(self.dtype or waves.dtype)
        h = nn.Dense(self.features, kernel_init=INIT, dtype=self.dtype, name="first")(waves)
        return nn.Dense(self.features, kernel_init=INIT, dtype=self.dtype, name="second")(
            jax.nn.silu(h)
        )


def sine_positions(grid: tuple[int, ...], width: int) -> np.ndarray:
    """Fixed vectors of the positions of a grid, float32 [T, width]: an equal share of the channels
    for each axis, the last axis first; of each the sines, then the cosines (arXiv 2212.09748).

    Raises:
        UsageError: the axes cannot share the channels in equal pairs.
    """
    axes = len(grid)
    if width % (2 * axes):
        raise UsageError(f"width={width}: {axes} axes of positions need a multiple of {2 * axes}")
    share = width // (2 * axes)
    rates = LONGEST ** (-np.arange(share) / share)
    places = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, axes)
    angles = places[:, ::-1, None] * rates  # [T, axes, share]
    return np.concatenate([np.sin(angles), np.cos(angles)], -1).reshape(-1, width).astype("float32")
