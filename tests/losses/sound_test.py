"""Losses of sound: values worked out by hand, scales, gradients."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.quickly import quick
from vqjax.losses import SDR, SISDR, MultiScaleMel, MultiScaleSTFT
from vqjax.types import UsageError

RATE = 8000
MEL = MultiScaleMel(RATE, windows=(64, 128), mels=(8, 16))
STFT = MultiScaleSTFT(windows=(64, 128))


def tones(*hertz, samples=512):
    time = np.arange(samples) / RATE
    return jnp.asarray(0.3 * np.sin(2 * np.pi * np.array(hertz)[:, None] * time), jnp.float32)[
        ..., None
    ]


@pytest.mark.parametrize("loss", [MEL, STFT, SDR(), SISDR()], ids=lambda loss: loss.name)
def test_what_is_equal_is_nearest_and_gradients_are_finite(loss):
    x = tones(500, 1200)
    near, far = x + 0.1 * tones(900, 900), x + 0.3 * tones(900, 900)
    value, gradient = quick(loss), quick(jax.grad(lambda y, x: loss(x, y, y)))
    values = [float(value(x, y, y)) for y in (x, near, far)]
    assert values == sorted(values) and len(set(values)) == 3
    for y in (x, far, jnp.zeros_like(x)):
        assert np.isfinite(np.asarray(gradient(y, x))).all()
    assert np.isfinite(float(value(jnp.zeros_like(x), x, x)))


def test_ten_times_the_amplitude_is_one_in_log10_of_every_band():
    x = (
        tones(500, 1200)
        + tones(2500, 3300)
        + 0.05 * jax.random.normal(jax.random.key(0), (2, 512, 1))
    )
    assert float(MEL(x, 10 * x, x)) == pytest.approx(1.0, rel=1e-5)


def test_spectral_convergence_of_twice_the_sound_is_one():
    x = tones(500)
    # |2 X - X| / |X| is 1, and ln 2 is the difference of logarithms above the clamp.
    quiet = MultiScaleSTFT(windows=(64,), clamp=1e9)
    assert float(quiet(x, 2 * x, x)) == pytest.approx(1.0, rel=1e-4)
    noise = jax.random.normal(jax.random.key(0), (1, 512, 1))
    loud = MultiScaleSTFT(windows=(64,))
    assert float(loud(noise, 2 * noise, noise)) == pytest.approx(1 + math.log(2), rel=1e-3)


def test_ratios_by_hand():
    x = jnp.asarray([[1.0, -1.0, 1.0, -1.0]])[..., None] * 10
    noise = jnp.asarray([[1.0, 1.0, -1.0, -1.0]])[..., None]  # orthogonal to x, of mean 0
    # 10 log10(100 / 1) dB
    assert float(SISDR()(x, x + noise, x)) == pytest.approx(-20.0, abs=1e-3)
    assert float(SISDR()(x, 3 * (x + noise), x)) == pytest.approx(-20.0, abs=1e-3)
    least = 10 * math.log10(10 ** (-30 / 10) + (4 + 1e-5) / (400 + 0.01))
    assert float(SDR()(x, x + noise, x)) == pytest.approx(least, abs=1e-3)
    assert float(SDR()(x, 3 * x, x)) > 5.0  # a wrong level is wrong


def test_silence_counts_in_no_ratio():
    x = jnp.concatenate([tones(500), jnp.zeros((1, 512, 1))])
    y = x + 0.1 * tones(900)
    assert float(SISDR()(x, y, y)) == pytest.approx(float(SISDR()(x[:1], y[:1], y)), abs=1e-4)


def test_short_or_other_examples_are_refused():
    with pytest.raises(UsageError, match="window of 128.*64 samples.*65 are needed"):
        MEL.check((64, 1))
    with pytest.raises(UsageError, match="takes sound"):
        STFT.check((8, 8, 1))
    with pytest.raises(UsageError, match="one number for each"):
        MultiScaleMel(RATE, windows=(64,), mels=(8, 16))
