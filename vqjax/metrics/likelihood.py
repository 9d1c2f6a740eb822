"""How probable a model finds the examples of a whole split, as a bound."""

import flax.struct
import jax
import numpy as np

from vqjax.metrics.state import State, counted, ratio


@flax.struct.dataclass
class NegativeBound(State):
    """Mean of minus a lower bound on log p(x), in nats per example: lower is better."""

    total: jax.Array | np.ndarray
    count: jax.Array | np.ndarray

    @classmethod
    def empty(cls) -> "NegativeBound":
        return cls(np.zeros((), np.float64), np.zeros((), np.int64))

    @classmethod
    def of(cls, bound: jax.Array, mask: jax.Array | None = None) -> "NegativeBound":
        """`bound`: float[B], at most log p(x) of each example in expectation; `mask`: bool[B]."""
        return cls(*counted(-bound, mask))

    def compute(self) -> dict[str, float]:
        return {"nll_bound": ratio(self.total, self.count)}
