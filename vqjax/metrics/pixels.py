"""Errors value by value: mean squared error with its PSNR, and mean absolute error.

Both measure in [0, 1]: a step from black to white is an error of 1. They take arrays of any rank.
"""

import math
from typing import Self

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from vqjax.metrics.state import State, counted, ratio, unit_range

PSNR_MAX = 100.0  # dB; a perfect copy has no finite PSNR, and JSON no infinity


@flax.struct.dataclass
class Errors(State):
    """Base: the sum of the errors of all values, and how many values there are."""

    total: jax.Array | np.ndarray
    count: jax.Array | np.ndarray

    @classmethod
    def empty(cls) -> Self:
        return cls(np.zeros((), np.float64), np.zeros((), np.int64))

    @classmethod
    def of(cls, x: jax.Array, x_hat: jax.Array, mask: jax.Array | None = None) -> Self:
        """`x`, `x_hat`: [B, ...] in [-1, 1] (what lies outside is clipped); `mask`: bool[B]."""
        chex.assert_equal_shape([x, x_hat])
        return cls(*counted(cls.size(unit_range(x) - unit_range(x_hat)), mask))


@flax.struct.dataclass
class SquaredError(Errors):
    """Mean squared error over all values, and PSNR = 10 log10(1 / mse), at most `PSNR_MAX`."""

    size = staticmethod(jnp.square)

    def compute(self) -> dict[str, float]:
        mse = ratio(self.total, self.count)
        psnr = PSNR_MAX if mse == 0.0 else min(-10.0 * math.log10(mse), PSNR_MAX)
        return {"psnr": mse if math.isnan(mse) else psnr, "mse": mse}


@flax.struct.dataclass
class AbsoluteError(Errors):
    """Mean absolute error over all values."""

    size = staticmethod(jnp.abs)

    def compute(self) -> dict[str, float]:
        return {"l1": ratio(self.total, self.count)}
