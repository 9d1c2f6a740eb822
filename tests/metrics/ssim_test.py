"""SSIM against scikit-image, and the window in small pictures."""

import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from vqjax.metrics.ssim import similarity


def _pair(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    smooth = np.cumsum(np.cumsum(rng.normal(size=shape), axis=1), axis=2)
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    noisy = np.clip(smooth + 0.05 * rng.normal(size=shape), 0, 1)
    return smooth.astype(np.float32), noisy.astype(np.float32)


@pytest.mark.parametrize("shape", [(2, 28, 28, 1), (2, 33, 20, 3)])
def test_equals_scikit_image(shape):
    x, y = _pair(shape, 0)
    expected = [
        structural_similarity(
            a.astype(np.float64),
            b.astype(np.float64),
            data_range=1.0,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(similarity(jnp.asarray(x), jnp.asarray(y)), expected, atol=1e-5)


def test_flat_bright_areas_keep_their_digits():
    x = np.full((1, 16, 16, 1), 0.999, np.float32)
    y = np.full((1, 16, 16, 1), 0.998, np.float32)
    expected = (2 * 0.999 * 0.998 + 1e-4) / (0.999**2 + 0.998**2 + 1e-4)
    np.testing.assert_allclose(similarity(jnp.asarray(x), jnp.asarray(y))[0], expected, atol=5e-4)


def _window_by_window(x: np.ndarray, y: np.ndarray, window: int) -> float:
    """SSIM of two pictures [H, W], straight from the definition."""
    bell = np.exp(-0.5 * ((np.arange(window) - window // 2) / 1.5) ** 2)
    w = np.outer(bell, bell) / bell.sum() ** 2
    values = []
    for i in range(x.shape[0] - window + 1):
        for j in range(x.shape[1] - window + 1):
            a = x[i : i + window, j : j + window].astype(np.float64)
            b = y[i : i + window, j : j + window].astype(np.float64)
            mean_a, mean_b = (w * a).sum(), (w * b).sum()
            var_a, var_b = (w * (a - mean_a) ** 2).sum(), (w * (b - mean_b) ** 2).sum()
            covariance = (w * (a - mean_a) * (b - mean_b)).sum()
            luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
            values.append(luminance * (2 * covariance + 9e-4) / (var_a + var_b + 9e-4))
    return float(np.mean(values))


@pytest.mark.parametrize(("shape", "window"), [((1, 8, 8, 1), 7), ((1, 5, 30, 1), 5)])
def test_the_window_shrinks_to_the_largest_odd_size_that_fits(shape, window):
    x, y = _pair(shape, 1)
    expected = _window_by_window(x[0, :, :, 0], y[0, :, :, 0], window)
    np.testing.assert_allclose(similarity(jnp.asarray(x), jnp.asarray(y))[0], expected, atol=1e-5)
