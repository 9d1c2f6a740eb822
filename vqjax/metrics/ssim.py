"""Structural similarity (Wang et al. 2004, "Image quality assessment", eq. 13).

Gaussian window of 11x11 pixels and sigma 1.5, K1 = 0.01, K2 = 0.03, data range 1, one value per
window that lies wholly inside the picture, channels averaged. In a picture with a side below 11
pixels the window shrinks to the largest odd size that fits; sigma stays.
"""

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from vqjax.metrics.state import State, counted, ratio, unit_range

WINDOW = 11
SIGMA = 1.5
C1 = 0.01**2
C2 = 0.03**2


def _band(size: int, window: int) -> np.ndarray:
    """The Gaussian window at each position where it fits, as a matrix [size - window + 1, size]."""
    offsets = np.arange(window) - window // 2
    weights = np.exp(-0.5 * (offsets / SIGMA) ** 2)
    band = np.zeros((size - window + 1, size))
    for row in range(len(band)):
        band[row, row : row + window] = weights / weights.sum()
    return band


def similarity(x: jax.Array, y: jax.Array) -> jax.Array:
    """SSIM of pictures `x` and `y`, float [B, H, W, C] in [0, 1]; returns float[B]."""
    chex.assert_rank([x, y], 4)
    chex.assert_equal_shape([x, y])
    height, width = x.shape[1:3]
    window = min(WINDOW, height - 1 + height % 2, width - 1 + width % 2)
    # [H', H] and [W', W] with H' = H - window + 1, W' = W - window + 1
    rows, columns = (jnp.asarray(_band(n, window), x.dtype) for n in (height, width))

    def blur(a: jax.Array) -> jax.Array:  # precision: bfloat16 or TF32 products spoil variances
        return jnp.einsum("yh,bhwc,xw->byxc", rows, a, columns, precision="highest")

    mean_x, mean_y = blur(x), blur(y)  # [B, H', W', C] each
    # Variances do not change with a shift; centred values lose fewer digits in the difference.
    u, v = x - 0.5, y - 0.5
    mean_u, mean_v = mean_x - 0.5, mean_y - 0.5
    var_x = blur(u * u) - mean_u**2
    var_y = blur(v * v) - mean_v**2
    covariance = blur(u * v) - mean_u * mean_v
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    structure = (2 * covariance + C2) / (var_x + var_y + C2)
    return (luminance * structure).mean(axis=(1, 2, 3))  # [B]; eq. 13


@flax.struct.dataclass
class StructuralSimilarity(State):
    """Mean SSIM over pictures, -1 to 1; 1.0 for equal ones."""

    total: jax.Array | np.ndarray
    count: jax.Array | np.ndarray

    @classmethod
    def empty(cls) -> "StructuralSimilarity":
        return cls(np.zeros((), np.float64), np.zeros((), np.int64))

    @classmethod
    def of(
        cls, x: jax.Array, x_hat: jax.Array, mask: jax.Array | None = None
    ) -> "StructuralSimilarity":
        """`x`, `x_hat`: [B, H, W, C] in [-1, 1] (what lies outside is clipped); `mask`: bool[B]."""
        return cls(*counted(similarity(unit_range(x), unit_range(x_hat)), mask))

    def compute(self) -> dict[str, float]:
        return {"ssim": ratio(self.total, self.count)}
