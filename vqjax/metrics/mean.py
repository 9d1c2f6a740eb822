"""Numbers that each example has by itself, over a split."""

import flax.struct
import jax
import numpy as np

from vqjax.metrics.state import State, counted, ratio
from vqjax.types import UsageError


@flax.struct.dataclass
class ExampleMean(State):
    """Mean over the examples of a number that each has, such as LPIPS (`vqjax.losses.LPIPS`)."""

    total: jax.Array | np.ndarray
    count: jax.Array | np.ndarray
    name: str = flax.struct.field(pytree_node=False, default="mean")

    @classmethod
    def empty(cls, name: str) -> "ExampleMean":
        return cls(np.zeros((), np.float64), np.zeros((), np.int64), name)

    @classmethod
    def of(cls, name: str, values: jax.Array, mask: jax.Array | None = None) -> "ExampleMean":
        """`values`: float[B]; `mask`: bool[B].

        Raises:
            UsageError: `values` are not one number per example.
        """
        if values.ndim != 1 or (mask is not None and values.shape != mask.shape):
            raise UsageError(
                f"the metric {name!r} gives {list(values.shape)}: wanted a number per example, [B]"
            )
        return cls(*counted(values, mask), name)

    def compute(self) -> dict[str, float]:
        return {self.name: ratio(self.total, self.count)}
