"""High-frequency ratio: blur is below one, borders do not count as detail."""

import numpy as np

from vqjax.metrics.sharpness import HighFrequency, detail_energy


def _ratio(x: np.ndarray, x_hat: np.ndarray) -> float:
    return HighFrequency.of(x, x_hat).compute()["high_frequency_ratio"]


def test_a_blurred_picture_scores_below_one_and_a_copy_exactly_one():
    x = np.random.default_rng(0).uniform(-0.9, 0.9, (3, 16, 16, 3)).astype(np.float32)
    blurred = (x + np.roll(x, 1, axis=1) + np.roll(x, 1, axis=2)) / 3
    assert _ratio(x, x) == 1.0
    assert _ratio(x, blurred) < 0.6


def test_half_of_nyquist_divides_coarse_from_fine():
    columns = np.arange(64)

    def wave(cycles_per_pixel: float) -> np.ndarray:
        row = np.cos(2 * np.pi * cycles_per_pixel * columns)
        return np.broadcast_to(row[None, None, :, None], (1, 64, 64, 1)).astype(np.float32)

    coarse, fine = (float(detail_energy(wave(f))[0]) for f in (0.1875, 0.3125))
    assert coarse < 1e-3 * fine


def test_a_smooth_ramp_has_no_detail_although_its_borders_differ():
    ramp = np.broadcast_to(np.linspace(-1, 1, 32)[None, None, :, None], (1, 32, 32, 1))
    noise = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 1))
    ramp, noise = ramp.astype(np.float32), noise.astype(np.float32)
    assert float(detail_energy(ramp)[0]) < 1e-4 * float(detail_energy(noise)[0])
