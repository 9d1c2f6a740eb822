"""A sound file -> int16 samples of one channel, whatever it is stored as, or the reason why not.

And back. Full scale, 1.0, is 32,768.
"""

import io
import math
import os
import pathlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from vqjax.files import GENERATOR, write_output
from vqjax.media.resampling import factors, resample_part, resampled_length, source_span
from vqjax.media.resampling import resample as resample
from vqjax.media.sound_file import CHANNELS as CHANNELS
from vqjax.media.sound_file import ENDS_EARLY as ENDS_EARLY
from vqjax.media.sound_file import FORMATS, BadSound, Header, OpenSound, library, opened
from vqjax.media.sound_file import OTHER_SUFFIXES as OTHER_SUFFIXES
from vqjax.media.sound_file import RATES as RATES
from vqjax.media.sound_file import library_version as library_version
from vqjax.types import UsageError, did_you_mean

FULL_SCALE = 32_768
MAX_SECONDS = 600.0
MAX_SAMPLES = 1 << 28
_LEAST, _MOST = -FULL_SCALE, FULL_SCALE - 1
_VALUES = 1 << 20  # decoded or resampled at once
_LARGEST = 1e6  # times full scale; of what is larger nothing is known
# How sound is written: libsndfile's names of format and subtype, and the rates that it takes.
_WRITTEN = {
    "wav": ("WAV", "PCM_16", None),
    "flac": ("FLAC", "PCM_16", None),
    "ogg": ("OGG", "VORBIS", None),
    "opus": ("OGG", "OPUS", (8_000, 12_000, 16_000, 24_000, 48_000)),
    "mp3": (
        "MP3",
        "MPEG_LAYER_III",
        (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    ),
}
# FLAC's header has bits for no more; above, the Vorbis encoder ends the process.
_HIGHEST = {"flac": 655_350, "ogg": 200_000}


class Sound(NamedTuple):
    """What a file holds.

    Attributes:
        samples: int16[n], the mean of all channels.
        rate: samples per second.
        notes: what is odd about the file, a few words each; ().
    """

    samples: np.ndarray
    rate: int
    notes: tuple[str, ...] = ()


def suffixes_of(formats: Iterable[str]) -> tuple[str, ...]:
    """Returns the suffixes of files of these formats, in lower case with their dots."""
    return tuple(suffix for name in formats for suffix in FORMATS[name].suffixes)


def to_int16(x: np.ndarray) -> np.ndarray:
    """Floats of full scale 1.0, of any shape -> int16: rint(32768 x), what lies outside clipped."""
    return np.clip(np.rint(np.asarray(x) * FULL_SCALE), _LEAST, _MOST).astype(np.int16)


def to_float(samples: np.ndarray) -> np.ndarray:
    """int16 v, of any shape -> float32 v / 32768, of which `to_int16` is the inverse."""
    return np.asarray(samples, np.float32) / np.float32(FULL_SCALE)


def check_rate(rate: int) -> None:
    """Refuses, with UsageError, what is no sample rate: a whole number, 1,000 to 768,000 Hz."""
    if not isinstance(rate, int | np.integer) or not RATES[0] <= rate <= RATES[1]:
        raise UsageError(f"a sample rate is {RATES[0]:,} to {RATES[1]:,} Hz, got {rate!r}")


def read_header(path: str | bytes | os.PathLike, formats: Iterable[str] = tuple(FORMATS)) -> Header:
    """Reads what the header of a file says; decodes nothing.

    Raises:
        BadSound: it is no sound, or the header is out of bounds.
        UsageError: soundfile is not installed.
    """
    with opened(path, formats) as sound:
        return sound.header


class _Rounding:
    """Floats of full scale 1.0 -> int16, with a count of what was clipped."""

    def __init__(self) -> None:
        self._samples = self._clipped = 0
        self._peak = 0.0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Returns `to_int16(x)`."""
        values = np.abs(np.rint(x * FULL_SCALE))
        self._samples += len(values)
        # Exactly 1.0 is what a full wave has; it becomes the largest number.
        self._clipped += int(np.count_nonzero(values > FULL_SCALE))
        self._peak = max(self._peak, float(values.max(initial=0)) / FULL_SCALE)
        return to_int16(x)

    def notes(self) -> list[str]:
        """Returns a line on what was clipped, if anything was."""
        if not self._clipped:
            return []
        count = f"{self._clipped:,} of {self._samples:,} samples clipped"
        return [f"{count}: the peak is {self._peak:,.2f} times full scale"]


def read_sound(
    path: str | bytes | os.PathLike,
    rate: int | None = None,
    *,
    start: int = 0,
    count: int | None = None,
    max_seconds: float = MAX_SECONDS,
    max_samples: int = MAX_SAMPLES,
    formats: Iterable[str] = tuple(FORMATS),
) -> Sound:
    """Reads a sound, of which `start` and `count` may name a part: the same samples, bit for bit,
    as of the whole, and fewer where it ends before. Only WAV, FLAC and AIFF need not be decoded
    whole for a part.

    Channels become their mean. What is beyond full scale is clipped, and a note counts it.

    Args:
        path: of the file.
        rate: to resample to, in Hz; None: that of the file.
        start: the first sample, at `rate`.
        count: of samples; None: all that follow.
        max_seconds: a longer file is bad; it is not decoded.
        max_samples: likewise, where more samples would be decoded, or come out.
        formats: of `FORMATS`, what the file may be.

    Raises:
        BadSound: the file is damaged, empty, too long, or no such sound.
        UsageError: soundfile is not installed, or `rate` is none.
    """
    if rate is not None:
        check_rate(rate)
    with opened(path, formats) as sound:
        header = sound.header
        rates = header.rate, header.rate if rate is None else rate
        first, last = 0, header.frames  # of the file's samples; None: to the end
        most = _most_samples(header, rates, max_seconds, max_samples)
        if last is not None:
            stop = _stop(last, start, count, rates)
            if stop == start:
                last = 0
            elif sound.seeks_exactly:
                first, last = source_span(start, stop, last, *rates)
            _check_samples(max(last - first, stop - start), max_samples)
        rounding = _Rounding()
        is_same = rates[0] == rates[1]
        mono = _decoded(sound, first, last, most, rounding if is_same else np.float32)
        is_whole = first == 0 and last == header.frames
        notes = sound.missing(len(mono)) if is_whole else []
    stop = _stop(first + len(mono), start, count, rates)
    if is_same:
        samples = mono[start - first : stop - first]
    else:
        samples = _resampled(mono, first, start, stop, rates, rounding)
    notes = (*_suffix_note(path, header.format), *notes, *rounding.notes())
    return Sound(samples, rates[1], notes)


def _stop(frames: int, start: int, count: int | None, rates: tuple[int, int]) -> int:
    """Returns one past the last sample of a part of a sound that has `frames` samples in its file;
    `start`, where it has none.
    """
    total = resampled_length(frames, *rates)
    return max(start, total if count is None else min(start + count, total))


def _most_samples(
    header: Header, rates: tuple[int, int], max_seconds: float, max_samples: int
) -> int:
    """Returns how many samples of a file may be decoded; BadSound where it has more seconds, or its
    rate cannot be resampled.
    """
    try:
        up, down = factors(*rates)
    except UsageError as error:
        raise BadSound(str(error)) from error
    if header.frames is not None and header.frames > max_seconds * header.rate:
        seconds = header.frames / header.rate
        raise BadSound(f"{seconds:,.0f} s, more than max_seconds={max_seconds:g}")
    return min(int(max_seconds * header.rate), max_samples, max_samples * down // up)


def _check_samples(samples: int, max_samples: int) -> None:
    if samples > max_samples:
        raise BadSound(f"{samples:,} samples, more than max_samples={max_samples}")


def _decoded(
    sound: OpenSound,
    first: int,
    last: int | None,
    most: int,
    convert: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Returns the file's samples from `first` to `last`, or to the end, the mean of all channels as
    `convert` makes them of float64: [n].
    """
    if first:
        sound.seek(first)
    parts = []
    decoded = 0
    for block in sound.blocks(None if last is None else last - first, _VALUES):
        decoded += len(block)
        if decoded > most:  # of a file that did not say how long it is
            raise BadSound(f"more than {most:,} samples: see max_seconds and max_samples")
        with np.errstate(invalid="ignore", over="ignore"):
            mono = block.mean(axis=1)
        if not np.isfinite(mono).all():
            raise BadSound("NaN or infinity in it")
        if np.abs(mono).max() > _LARGEST:
            raise BadSound(f"values up to {np.abs(mono).max():.3g}, full scale is 1")
        parts.append(convert(mono))
    if not parts and not first and last != 0:
        raise BadSound("no sound in it")
    return np.concatenate(parts) if parts else np.zeros(0, np.int16)


def _resampled(
    mono: np.ndarray,
    first: int,
    start: int,
    stop: int,
    rates: tuple[int, int],
    rounding: _Rounding,
) -> np.ndarray:
    """Returns samples `start` to `stop` at the new rate, int16; `mono`: from `first` on."""
    samples = np.empty(stop - start, np.int16)
    for low in range(start, stop, _VALUES):
        high = min(low + _VALUES, stop)
        begins, ends = source_span(low, high, first + len(mono), *rates)
        part = resample_part(mono[begins - first : ends - first], low, high, begins, *rates)
        samples[low - start : high - start] = rounding(part)
    return samples


def _suffix_note(path: str | bytes | os.PathLike, name: str) -> list[str]:
    """Returns a line where the suffix is that of another format; .ogg may hold Opus."""
    suffix = os.path.splitext(os.fsdecode(path))[1].lower()
    if suffix not in (*suffixes_of(FORMATS), *OTHER_SUFFIXES):
        return []
    named = {known for known in FORMATS if suffix in FORMATS[known].suffixes}
    if name in named or {name, *named} == {"ogg", "opus"}:
        return []
    return [f"named {suffix}, is {name}"]


def sound_bytes(samples: np.ndarray, rate: int, format: str) -> bytes:
    """Returns a file in memory, with the mark of what vqjax writes: int16[n], n at least 1, in one
    of the formats "wav", "flac", "ogg", "opus", "mp3".

    Raises:
        UsageError: there is no such format, or it has no such rate, or nothing to write.
    """
    if format not in _WRITTEN:
        raise UsageError(f"no sound is written as {format!r}: {did_you_mean(format, _WRITTEN)}")
    if samples.ndim != 1 or samples.dtype != np.int16:
        raise UsageError(f"samples are int16[n], got {samples.dtype}{list(samples.shape)}")
    if not len(samples):
        raise UsageError("no sound to write: 0 samples")
    container, subtype, rates = _WRITTEN[format]
    if rates and rate not in rates:
        near = min(rates, key=lambda valid: (abs(math.log(valid / rate)), -valid))
        valid = ", ".join(f"{one:,}" for one in rates)
        raise UsageError(f"{format} has {valid} Hz, not {rate:,}: the nearest is {near:,}")
    highest = _HIGHEST.get(format, RATES[1])
    if not RATES[0] <= rate <= highest:
        raise UsageError(f"{format} is written at {RATES[0]:,} to {highest:,} Hz, not at {rate:,}")
    soundfile, _ = library()
    buffer = io.BytesIO()
    try:
        with soundfile.SoundFile(buffer, "w", rate, 1, subtype, format=container) as file:
            file.software = GENERATOR
            file.write(samples)
    except soundfile.LibsndfileError as error:
        text = error.error_string.removeprefix("Error").strip(" :.")
        raise UsageError(f"{format} cannot be written at {rate:,} Hz: {text}") from error
    return (_id3() if format == "mp3" else b"") + buffer.getvalue()


def _id3() -> bytes:
    """Returns an ID3 tag that names the program: libsndfile writes none into an MP3."""
    text = b"\0" + GENERATOR.encode("latin-1")
    frame = b"TSSE" + len(text).to_bytes(4, "big") + b"\0\0" + text
    return b"ID3\3\0\0" + len(frame).to_bytes(4, "big") + frame


def write_sound(
    path: str | os.PathLike, samples: np.ndarray, rate: int, *, overwrite: bool = False
) -> pathlib.Path:
    """Writes a sound, whole or not at all, in the format of the suffix: .wav, .flac, .ogg, .opus or
    .mp3, of which the first two are exact.

    Args:
        path: of the file.
        samples: int16[n], n at least 1.
        rate: samples per second.
        overwrite: see `files.write_output`.

    Raises:
        UsageError: the suffix is another, the format has no such rate, or `path` cannot be written.
        DataError: the disk is full, or fails.
    """
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    names = {suffix: name for name in _WRITTEN for suffix in FORMATS[name].suffixes}
    if suffix not in names:
        raise UsageError(f"{path}: the suffix says the format: {did_you_mean(suffix, names)}")
    return write_output(path, sound_bytes(samples, rate, names[suffix]), overwrite=overwrite)
