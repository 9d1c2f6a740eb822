"""How far two sets of features are apart as Gaussians: the Frechet distance (arXiv 1706.08500)."""

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from vqjax.metrics.state import State
from vqjax.ops.numerics import at_least_float32


@flax.struct.dataclass
class FeatureMoments(State):
    """Number, sum and sum of outer products of feature vectors: their mean and covariance.

    `compute` gives `mean_square`, the squared length of the mean, and `variance`, the trace of the
    covariance: their sum is the Frechet distance to a point at the origin.
    """

    count: jax.Array | np.ndarray  # int[]
    total: jax.Array | np.ndarray  # float[D]
    outer: jax.Array | np.ndarray  # float[D, D]

    @classmethod
    def empty(cls, dim: int) -> "FeatureMoments":
        return cls(np.zeros((), np.int64), np.zeros((dim,)), np.zeros((dim, dim)))

    @classmethod
    def of(
        cls, features: jax.Array | np.ndarray, mask: jax.Array | np.ndarray | None = None
    ) -> "FeatureMoments":
        """`features`: float[B, D], NumPy arrays in float64; `mask`: bool[B]."""
        chex.assert_rank(features, 2)
        if isinstance(features, np.ndarray):
            lib, features = np, features.astype(np.float64)
        else:
            lib, features = jnp, at_least_float32(features)
        if mask is None:
            mask = lib.ones(len(features), bool)
        # `where`, not a product: padding may hold anything, NaN included.
        features = lib.where(mask[:, None], features, 0.0)
        with jax.default_matmul_precision("highest"):  # else products may be bfloat16 or TF32
            outer = features.T @ features  # [D, D]
        return cls(mask.sum(), features.sum(axis=0), outer)  # [], [D], [D, D]

    @property
    def mean(self) -> np.ndarray:
        """float64[D]; NaN where nothing was counted."""
        total = np.asarray(self.total, np.float64)
        return total / self.count if self.count else np.full_like(total, np.nan)

    @property
    def covariance(self) -> np.ndarray:
        """float64[D, D], the unbiased estimate; NaN where fewer than two were counted."""
        outer = np.asarray(self.outer, np.float64)
        if self.count < 2:
            return np.full_like(outer, np.nan)
        return (outer - self.count * np.outer(self.mean, self.mean)) / (self.count - 1)

    def compute(self) -> dict[str, float]:
        return {
            "mean_square": float(np.square(self.mean).sum()),
            "variance": float(np.trace(self.covariance)),
        }


def frechet_distance(a: FeatureMoments, b: FeatureMoments) -> float:
    """|mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) (arXiv 1706.08500, eq. 6).

    The trace of the root is the sum of the square roots of the eigenvalues of the symmetric
    S_a^(1/2) S_b S_a^(1/2), which has those of S_a S_b. It is defined for singular covariances,
    too. The estimate is biased upwards, the more the fewer examples there are: compare values of
    equal numbers of examples only.

    Returns:
        At least 0; NaN where fewer than two examples were counted in one of them.
    """
    chex.assert_equal_shape([a.total, b.total])
    if min(a.count, b.count) < 2:
        return float("nan")
    values, vectors = np.linalg.eigh(a.covariance)  # [D], [D, D]
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T  # [D, D]
    both = np.linalg.eigvalsh(root @ b.covariance @ root)  # [D]
    overlap = np.sqrt(np.maximum(both, 0.0)).sum()
    apart = np.square(a.mean - b.mean).sum()
    distance = apart + np.trace(a.covariance) + np.trace(b.covariance) - 2.0 * overlap  # eq. 6
    return max(float(distance), 0.0)
