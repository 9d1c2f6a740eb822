"""Sound as an image: the waveform over its spectrogram, with both axes.

Amplitudes are in decibels, 0 dB being a sine wave of full scale; frequencies go from 0 to half the
rate. Sounds that are drawn together have the same scales, and after its end a sound has nothing.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vqjax.format import number
from vqjax.media.chart import nice_ticks

MOST_SAMPLES = 1 << 18  # of a sound that is drawn, 10.9 s at 24 kHz; the rest is left out
WINDOW_SECONDS = 0.025  # of one spectrum, rounded to a power of 2: harmonics of a voice stay apart
LEAST_WINDOW = 64  # samples
RANGE = 80.0  # dB beneath the loudest that colours tell apart
COLUMNS, ROWS = 360, 128  # pixels of a spectrogram; rows are a power of 2
WAVE = 30  # pixels of the waveform over it
LEFT, RIGHT, TOP, GAP, BOTTOM = 34, 10, 7, 5, 17  # around them
COLOURS = 64  # of the map: with few, files are small
PAPER, EMPTY, INK, TEXT = (33, 36, 42), (46, 50, 58), (142, 178, 232), (190, 195, 204)
SILENCE = -100.0  # dB; what is quieter counts as this


@functools.cache
def colour_map() -> np.ndarray:
    """Colours from silent to loud, uint8 [COLOURS, 3]: from nearly black over violet and orange to
    a pale yellow, in steps that look alike, as their lightness in Oklab
    (https://bottosson.github.io/posts/oklab) grows by the same amount.
    """
    x = np.linspace(0, 1, COLOURS)
    lightness = 0.12 + 0.85 * x
    hue = np.deg2rad(280 + 185 * x**0.9)
    # Of each, the strongest colour that a screen has, up to what looks even.
    chroma = np.minimum(0.04 + 0.42 * np.sin(np.pi * x) ** 0.8, 0.165)
    for _ in range(200):
        linear = _linear_rgb(lightness, chroma * np.cos(hue), chroma * np.sin(hue))
        outside = ((linear < 0) | (linear > 1)).any(axis=1)
        if not outside.any():
            break
        chroma = np.where(outside, chroma * 0.97, chroma)
    linear = np.clip(linear, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * srgb).astype(np.uint8)


def _linear_rgb(lightness: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Oklab -> linear sRGB [n, 3]."""
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return np.stack(
        [
            4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
        ],
        axis=-1,
    )


def spectrogram(sound: np.ndarray, rate: float, seconds: float) -> np.ndarray:
    """Decibels of a sound float[T], float32 [ROWS, n], the lowest frequencies first, at n of the
    `COLUMNS` columns of an axis of `seconds`: those whose middle the sound reaches.
    """
    window = max(LEAST_WINDOW, 1 << max(0, round(math.log2(WINDOW_SECONDS * rate))))
    step = seconds * rate / COLUMNS  # samples per column
    parts = math.ceil(step / (window / 2))  # spectra per column: no sample is passed over
    columns = min(COLUMNS, math.ceil(len(sound) / step - 0.5))
    if columns < 1:
        return np.zeros((ROWS, 0), np.float32)
    middles = ((np.arange(columns * parts) + 0.5) / parts * step).astype(int)
    padded = np.pad(sound.astype(np.float32), (window // 2, window))
    shape = np.hanning(window + 1)[:-1].astype(np.float32)
    size = max(window, 4 * ROWS)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)
    rows = []
    for part in np.array_split(frames[middles], max(1, len(middles) // 1_024)):
        spectra = np.fft.rfft(part * shape, size)
        rows.append((np.abs(spectra) * (2 / shape.sum())) ** 2)
    power = np.concatenate(rows).reshape(columns, parts, -1).mean(1)  # [n, bins]
    power[:, -2] = power[:, -2:].max(1)
    bands = power[:, :-1].reshape(columns, ROWS, -1).max(2)  # [n, ROWS]: a tone stays as loud
    decibels = 10 * np.log10(np.maximum(bands, 1e-30))
    return np.maximum(decibels, SILENCE).T.astype(np.float32)


@functools.cache
def _font() -> ImageFont.ImageFont:
    return ImageFont.load_default()


@dataclasses.dataclass(frozen=True)
class Scales:
    """What sounds that are drawn together share.

    Attributes:
        rate: samples per second.
        seconds: of the time axis.
        loudest: dB, of the brightest colour.
        peak: amplitude that fills the strip of the waveform.
    """

    rate: float
    seconds: float
    loudest: float
    peak: float

    @classmethod
    def of(cls, rows: Sequence[Sequence[np.ndarray]], rate: float) -> "Scales":
        """Of sounds float[T]: as long as the longest, as loud as the loudest of the first row, or
        of all where that is silent.
        """
        seconds = max(max(len(sound) for row in rows for sound in row), 1) / rate
        for some in (rows[:1], rows):
            sounds = [sound for row in some for sound in row]
            peak = max(float(np.abs(sound).max(initial=0.0)) for sound in sounds)
            if peak > 0:
                break
        shown = (spectrogram(sound, rate, seconds) for sound in sounds)
        loudest = max(float(one.max(initial=SILENCE)) for one in shown)
        return cls(rate, seconds, max(loudest, SILENCE + RANGE), peak or 1.0)


def draw_sound(sound: np.ndarray, scales: Scales) -> np.ndarray:
    """A sound float[T] as an image, uint8 [H, W, 3]."""
    size = (LEFT + COLUMNS + RIGHT, TOP + WAVE + GAP + ROWS + BOTTOM)
    image = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(image)
    top = TOP + WAVE + GAP
    pen.rectangle((LEFT, top, LEFT + COLUMNS - 1, top + ROWS - 1), fill=EMPTY)
    decibels = spectrogram(sound, scales.rate, scales.seconds)
    if decibels.size:
        share = (decibels[::-1] - scales.loudest) / RANGE + 1
        levels = np.clip(share * COLOURS, 0, COLOURS - 1).astype(int)
        image.paste(Image.fromarray(colour_map()[levels]), (LEFT, top))
    _draw_wave(pen, sound, scales, decibels.shape[1])
    _draw_axes(pen, scales, top)
    return np.asarray(image)


def _draw_wave(pen: ImageDraw.ImageDraw, sound: np.ndarray, scales: Scales, columns: int) -> None:
    """The least and the largest sample of every column."""
    middle, half = TOP + (WAVE - 1) / 2, (WAVE - 1) / 2
    bounds = np.rint(np.arange(columns + 1) * scales.seconds * scales.rate / COLUMNS).astype(int)
    for column, (first, last) in enumerate(zip(bounds, bounds[1:], strict=False)):
        part = np.clip(sound[first : max(last, first + 1)] / scales.peak, -1, 1)
        if part.size:
            ends = middle - half * float(part.max()), middle - half * float(part.min())
            pen.line([(LEFT + column, round(end)) for end in ends], fill=INK)


def _draw_axes(pen: ImageDraw.ImageDraw, scales: Scales, top: int) -> None:
    """Ticks with their numbers, the last of them with the unit."""
    highest, base = scales.rate / 2, top + ROWS
    unit, factor = ("kHz", 1_000.0) if highest >= 1_000 else ("Hz", 1.0)
    for tick in nice_ticks(0, highest / factor, 4):
        down = base - 1 - (ROWS - 1) * tick * factor / highest
        pen.line((LEFT - 4, down, LEFT - 2, down), fill=TEXT)
        pen.text((LEFT - 6, down), number(tick), TEXT, _font(), anchor="rm")
    pen.text((LEFT - 6, TOP + WAVE - 2), unit, TEXT, _font(), anchor="rs")
    ticks = nice_ticks(0, scales.seconds, 5)
    for tick in ticks:
        across = LEFT + (COLUMNS - 1) * tick / scales.seconds
        pen.line((across, base + 1, across, base + 3), fill=TEXT)
        text = number(tick) + (" s" if tick == ticks[-1] else "")
        anchor = "rt" if across > LEFT + COLUMNS - 12 else "mt"
        pen.text((across, base + 5), text, TEXT, _font(), anchor=anchor)
