"""LPIPS over a split."""

import flax.struct
import jax
import numpy as np

from vqjax.metrics.state import State, counted, ratio


@flax.struct.dataclass
class PerceptualDistance(State):
    """Mean LPIPS (`vqjax.losses.LPIPS`) over the examples; lower is better."""

    total: jax.Array | np.ndarray
    count: jax.Array | np.ndarray

    @classmethod
    def empty(cls) -> "PerceptualDistance":
        return cls(np.zeros((), np.float64), np.zeros((), np.int64))

    @classmethod
    def of(cls, distance: jax.Array, mask: jax.Array | None = None) -> "PerceptualDistance":
        """`distance`: float[B]; `mask`: bool[B]."""
        return cls(*counted(distance, mask))

    def compute(self) -> dict[str, float]:
        return {"lpips": ratio(self.total, self.count)}
