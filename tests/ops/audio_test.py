"""Frames, spectra and mel bands, beside what torch and librosa computed."""

import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from vqjax.ops import audio

FOLDER = pathlib.Path(__file__).parent.parent / "parity" / "fixtures"
RECORDED = safetensors.numpy.load_file(
    pathlib.Path(os.environ.get("VQJAX_PARITY", FOLDER)) / "audio.safetensors"
)
LIMITS = {8000: (0.0, None), 16000: (50.0, 7000.0)}  # Hz, by rate


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("length", "size", "hop"), [(10, 4, 2), (11, 4, 3), (9, 3, 5), (4, 4, 1)])
def test_frames_are_windows_of_the_signal(length, size, hop):
    x = jnp.arange(2.0 * length).reshape(2, length)
    frames = audio.frame(x, size, hop)
    starts = range(0, length - size + 1, hop)
    np.testing.assert_array_equal(frames, np.stack([x[:, i : i + size] for i in starts], 1))
    total = np.zeros((2, starts[-1] + size))
    for i, start in enumerate(starts):
        total[:, start : start + size] += frames[:, i]
    np.testing.assert_array_equal(audio.overlap_add(frames, hop), total)


def test_a_signal_that_is_too_short_for_a_frame():
    with pytest.raises(ValueError, match="3 samples: frames of 4 need as many"):
        audio.frame(jnp.zeros(3), 4, 2)


@pytest.mark.parametrize("name", sorted({k.rsplit("_", 1)[0] for k in RECORDED if "stft" in k}))
def test_spectra_are_those_of_torch(name):
    size, hop, window, center, normalized = map(int, name.removeprefix("stft/").split("_"))
    settings = {"center": bool(center), "normalized": bool(normalized)}
    run = jax.jit(lambda x: audio.stft(x, size, hop, window=audio.hann(window), **settings))
    got = run(RECORDED["signal"])
    close(got.real, RECORDED[f"{name}_real"])
    close(got.imag, RECORDED[f"{name}_imag"])


@pytest.mark.parametrize("name", sorted(k for k in RECORDED if "mel" in k))
def test_mel_bands_are_those_of_librosa(name):
    rate, size, mels, htk, area = map(int, name.removeprefix("mel/").split("_"))
    scale = audio.HTK if htk else audio.SLANEY
    close(audio.mel_matrix(rate, size, mels, *LIMITS[rate], scale, bool(area)), RECORDED[name])


@pytest.mark.parametrize("scale", audio.SCALES)
def test_mel_scales_have_inverses(scale):
    hertz = np.linspace(0.0, 12_000.0, 50)
    np.testing.assert_allclose(audio.mel_to_hertz(audio.hertz_to_mel(hertz, scale), scale), hertz)


def test_the_gradient_of_a_spectrum_is_finite_at_silence():
    def energy(x):
        return jnp.sum(jnp.abs(audio.stft(x, 16, 4)) ** 2)

    slope = jax.grad(energy)(jnp.zeros(40))
    assert np.isfinite(slope).all() and not slope.any()
    x = jax.random.normal(jax.random.key(0), (40,))
    step = 1e-2 * jnp.ones(40)
    change = (energy(x + step) - energy(x - step)) / 2
    np.testing.assert_allclose(change, jnp.vdot(jax.grad(energy)(x), step), rtol=1e-3)
