"""Distances of sound: values by hand, and that padding does not change them."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.quickly import quick
from vqjax.metrics.sound import mel_distance, si_sdr, stft_distance

SLOW = pytest.mark.slow
SCALES = {"windows": (64, 256), "mels": (10, 40)}


def noise(samples, seed):
    return 0.1 * np.random.default_rng(seed).normal(size=(1, samples, 1)).astype(np.float32)


@pytest.mark.parametrize(
    "samples", [pytest.param(1, marks=SLOW), pytest.param(63, marks=SLOW), 700]
)
def test_padding_changes_nothing(samples):
    x, y = noise(samples, 0), noise(samples, 1)
    length = jnp.array([samples])
    longer = [np.pad(v, ((0, 0), (0, 900), (0, 0))) for v in (x, y)]
    for distance in (
        lambda a, b: mel_distance(a, b, length, 8000, **SCALES),
        lambda a, b: stft_distance(a, b, length, SCALES["windows"]),
        lambda a, b: si_sdr(a, b, length)[0],
    ):
        distance = quick(distance)
        np.testing.assert_allclose(distance(x, y), distance(*longer), rtol=1e-4, atol=1e-4)


def test_ten_times_the_amplitude_is_one_in_log10():
    x = noise(700, 0)
    length = jnp.array([700])
    assert float(mel_distance(x, 10 * x, length, 8000, **SCALES)[0]) == pytest.approx(1, rel=1e-4)
    assert float(stft_distance(x, 10 * x, length, (64,))[0]) == pytest.approx(1, rel=1e-3)
    assert float(mel_distance(x, x, length, 8000, **SCALES)[0]) == 0.0


@pytest.mark.slow
def test_each_example_has_its_own():
    x, y = np.concatenate([noise(700, 0), noise(700, 2)]), np.concatenate([noise(700, 1)] * 2)
    x[1, 300:] = y[1, 300:] = 0
    both = mel_distance(x, y, jnp.array([700, 300]), 8000, **SCALES)
    for i, n in enumerate((700, 300)):
        one = mel_distance(x[i : i + 1, :n], y[i : i + 1, :n], jnp.array([n]), 8000, **SCALES)
        np.testing.assert_allclose(both[i], one[0], rtol=1e-4)


def test_the_ratio_by_hand_and_of_silence():
    x = np.tile([1.0, -1.0, 1.0, -1.0], 5)[None, :, None].astype(np.float32)
    wrong = np.tile([1.0, 1.0, -1.0, -1.0], 5)[None, :, None].astype(np.float32)
    length = jnp.array([20])
    ratio, sounds = si_sdr(x, 0.5 * x + 0.05 * wrong, length)
    assert bool(sounds[0]) and float(ratio[0]) == pytest.approx(20.0, abs=1e-3)
    with_mean, _ = si_sdr(x + 0.3, 0.5 * x + 0.05 * wrong - 0.7, length)  # its mean is taken off
    assert float(with_mean[0]) == pytest.approx(20.0, abs=1e-3)
    ratio, sounds = si_sdr(0 * x, wrong, length)
    assert not bool(sounds[0]) and float(ratio[0]) == 0.0
