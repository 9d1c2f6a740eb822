"""Spectrograms: a tone where its frequency is, nothing after the end, colours that grow lighter."""

import numpy as np
import pytest

from vqjax.media.spectrogram import (
    COLUMNS,
    EMPTY,
    GAP,
    LEFT,
    RANGE,
    ROWS,
    SILENCE,
    TOP,
    WAVE,
    Scales,
    colour_map,
    draw_sound,
    spectrogram,
)

PLOT = TOP + WAVE + GAP  # where the spectrogram begins


def tone(frequency, rate, seconds, amplitude=1.0):
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)


def drawn(sound, scales):
    """The pixels of the spectrogram alone."""
    image = draw_sound(sound, scales)
    return image[PLOT : PLOT + ROWS, LEFT : LEFT + COLUMNS]


@pytest.mark.parametrize("rate", [200, 1_000, 8_000, 22_050, 48_000])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_tone_is_brightest_at_its_frequency(rate, share):
    """`share` of the highest frequency. A full-scale sine has 0 dB, at any rate."""
    decibels = spectrogram(tone(share * rate / 2, rate, 2.0), rate, 2.0)
    assert decibels.shape == (ROWS, COLUMNS)
    inner = decibels[:, 20:-20]
    assert np.abs(inner.argmax(0) - share * ROWS).max() <= 1
    assert np.abs(inner.max(0)).max() < 1.5
    np.testing.assert_allclose(
        spectrogram(tone(share * rate / 2, rate, 2.0, 0.1), rate, 2.0)[:, 20:-20].max(0),
        inner.max(0) - 20,
        atol=0.01,
    )


def test_a_click_is_at_its_time_in_a_short_sound_and_in_a_long_one():
    for length in (800, 200_000):
        sound = np.zeros(length)
        sound[length // 4] = 1.0
        decibels = spectrogram(sound, 8_000.0, length / 8_000)
        loud = np.flatnonzero(decibels.max(0) > SILENCE)
        assert loud.min() <= COLUMNS / 4 <= loud.max() + 1
        assert decibels[:, -1].max() == SILENCE


def test_no_sample_is_passed_over():
    """In a sound of 25 s each pixel stands for many spectra."""
    for place in range(100_000, 100_600, 50):
        sound = np.zeros(200_000)
        sound[place : place + 8] = 1.0
        assert spectrogram(sound, 8_000.0, 25.0).max() > SILENCE + 40


def test_colours_get_lighter_from_step_to_step():
    srgb = colour_map() / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all() and luminance[0] < 0.01 and luminance[-1] > 0.85


def test_what_is_drawn_ends_where_the_sound_does():
    sounds = [tone(1_000, 8_000, 1.0), np.zeros(4_000), np.zeros(0)]
    scales = Scales.of([sounds], 8_000.0)
    full, half, none = (drawn(sound, scales) for sound in sounds)
    assert not (full == EMPTY).all(-1).any()
    ends = (half == EMPTY).all((0, 2))
    assert ends.sum() == COLUMNS // 2 and ends[COLUMNS // 2 :].all()
    assert (half[:, : COLUMNS // 2] == colour_map()[0]).all()  # silence is something else
    assert (none == EMPTY).all()


def test_reconstructions_have_the_scales_of_their_originals():
    x = tone(1_000, 8_000, 0.5, 0.25)
    scales = Scales.of([[x], [4 * x]], 8_000.0)
    assert scales.loudest == pytest.approx(20 * np.log10(0.25), abs=1.5) and scales.peak < 0.251
    original, quiet, loud = (drawn(x * gain, scales) for gain in (1.0, 0.01, 4.0))
    row = round(ROWS * (1 - 0.25))
    light = [image[row - 2 : row + 2, 180].astype(int).sum(-1).max() for image in (original, quiet)]
    assert light[1] < light[0] == colour_map()[-1].astype(int).sum()
    assert (loud[row - 1] == colour_map()[-1]).all(-1).mean() > 0.9
    silent = Scales.of([[0 * x], [x]], 8_000.0)
    assert silent.peak == pytest.approx(0.25, rel=0.01)
    nothing = Scales.of([[0 * x], [0 * x]], 8_000.0)
    assert (drawn(0 * x, nothing) == colour_map()[0]).all()
    assert nothing.loudest == SILENCE + RANGE


@pytest.mark.parametrize("length", [1, 2, 3, 63, 64, 65])
@pytest.mark.parametrize("rate", [1.0, 250.0, 8_000.0, 192_000.0])
def test_sounds_of_any_length_and_rate_are_drawn(length, rate):
    sound = np.ones(length)
    shapes = {draw_sound(x, Scales.of([[sound]], rate)).shape for x in (sound, 5 * sound[:0])}
    assert len(shapes) == 1
