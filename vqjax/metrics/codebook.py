"""How a codebook is used over a whole split."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from vqjax.metrics.state import State


@flax.struct.dataclass
class CodebookCounts(State):
    """How often each code was picked.

    `codebook_usage` is the share of codes picked at least once, 0 to 1; `perplexity` is exp of the
    entropy of the picks, 1 to K: the effective number of codes.
    """

    counts: jax.Array | np.ndarray  # int[K]

    @classmethod
    def empty(cls, codebook_size: int) -> "CodebookCounts":
        return cls(np.zeros((codebook_size,), np.int64))

    @classmethod
    def of(
        cls, indices: jax.Array, codebook_size: int, mask: jax.Array | None = None
    ) -> "CodebookCounts":
        """`indices`: int32[B, ...] in [0, codebook_size); `mask`: bool[B], or with more of the axes
        of `indices`: those that count.
        """
        weights = jnp.ones(indices.shape, jnp.int32)
        if mask is not None:
            ones = (1,) * (indices.ndim - mask.ndim)
            weights = weights * mask.astype(jnp.int32).reshape(*mask.shape, *ones)  # [B, ...]
        counts = jnp.zeros((codebook_size,), jnp.int32)  # [K]
        return cls(counts.at[indices.reshape(-1)].add(weights.reshape(-1)))

    def compute(self) -> dict[str, float]:
        counts = np.asarray(self.counts, np.float64)
        if not counts.sum():
            return {"codebook_usage": float("nan"), "perplexity": float("nan")}
        p = counts[counts > 0] / counts.sum()  # [codes in use]
        entropy = -(p * np.log(p)).sum()
        return {"codebook_usage": float((counts > 0).mean()), "perplexity": float(np.exp(entropy))}
