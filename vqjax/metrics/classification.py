"""How well a classifier knows the labels of a whole split."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from vqjax.metrics.state import State, counted, ratio
from vqjax.ops.numerics import at_least_float32


@flax.struct.dataclass
class Classification(State):
    """`accuracy`, the share of examples whose label has the largest logit, 0 to 1, and
    `cross_entropy`, the mean of -log p(label), in nats.
    """

    hits: jax.Array | np.ndarray
    nats: jax.Array | np.ndarray
    count: jax.Array | np.ndarray

    @classmethod
    def empty(cls) -> "Classification":
        return cls(*(np.zeros((), t) for t in (np.int64, np.float64, np.int64)))

    @classmethod
    def of(
        cls, logits: jax.Array, labels: jax.Array, mask: jax.Array | None = None
    ) -> "Classification":
        """`logits`: float[B, K] of K classes; `labels`: int32[B] in [0, K); `mask`: bool[B]."""
        log_p = jax.nn.log_softmax(at_least_float32(logits))  # [B, K]
        nats = -jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]  # [B]
        total, count = counted(nats, mask)
        hits = jnp.argmax(logits, axis=1) == labels  # [B]
        if mask is not None:
            hits = hits & mask
        return cls(hits.astype(jnp.int32).sum(), total, count)

    def compute(self) -> dict[str, float]:
        return {
            "accuracy": ratio(self.hits, self.count),
            "cross_entropy": ratio(self.nats, self.count),
        }
