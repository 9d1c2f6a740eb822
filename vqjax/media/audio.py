"""A sound file -> int16 samples of one channel, whatever it is stored as, or the reason why not.

And back. Full scale, 1.0, is 32,768.
"""

import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from vqjax.media.resampling import factors, resample_part, resampled_length, source_span
from vqjax.media.resampling import resample as resample
from vqjax.media.sound_file import CHANNELS as CHANNELS
from vqjax.media.sound_file import ENDS_EARLY as ENDS_EARLY
from vqjax.media.sound_file import FORMATS, BadSound, Header, OpenSound, opened
from vqjax.media.sound_file import OTHER_SUFFIXES as OTHER_SUFFIXES
from vqjax.media.sound_file import RATES as RATES
from vqjax.media.sound_file import library_version as library_version
from vqjax.media.sound_samples import FULL_SCALE as FULL_SCALE
from vqjax.media.sound_samples import VALUES, Rounding, check_rate, mono_blocks, suffix_note
from vqjax.media.sound_samples import suffixes_of as suffixes_of
from vqjax.media.sound_samples import to_float as to_float
from vqjax.media.sound_samples import to_int16 as to_int16
from vqjax.media.sound_writing import sound_bytes as sound_bytes
from vqjax.media.sound_writing import write_sound as write_sound
from vqjax.types import UsageError

MAX_SECONDS = 600.0
MAX_SAMPLES = 1 << 28


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


def read_header(path: str | bytes | os.PathLike, formats: Iterable[str] = tuple(FORMATS)) -> Header:
    """Reads what the header of a file says; decodes nothing.

    Raises:
        BadSound: it is no sound, or the header is out of bounds.
        UsageError: soundfile is not installed.
    """
    with opened(path, formats) as sound:
        return sound.header


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
        rounding = Rounding()
        is_same = rates[0] == rates[1]
        mono = _decoded(sound, first, last, most, rounding if is_same else np.float32)
        is_whole = first == 0 and last == header.frames
        notes = sound.missing(len(mono)) if is_whole else []
    stop = _stop(first + len(mono), start, count, rates)
    if is_same:
        samples = mono[start - first : stop - first]
    else:
        samples = _resampled(mono, first, start, stop, rates, rounding)
    notes = (*suffix_note(path, header.format), *notes, *rounding.notes())
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
    """Returns the file's samples from `first` to `last`, or to the end, as `convert` makes them of
    the mean of all channels, float64: [n].
    """
    if first:
        sound.seek(first)
    parts = [convert(m) for m in mono_blocks(sound, None if last is None else last - first, most)]
    if not parts and not first and last != 0:
        raise BadSound("no sound in it")
    return np.concatenate(parts) if parts else np.zeros(0, np.int16)


def _resampled(
    mono: np.ndarray,
    first: int,
    start: int,
    stop: int,
    rates: tuple[int, int],
    rounding: Rounding,
) -> np.ndarray:
    """Returns samples `start` to `stop` at the new rate, int16; `mono`: from `first` on."""
    samples = np.empty(stop - start, np.int16)
    for low in range(start, stop, VALUES):
        high = min(low + VALUES, stop)
        begins, ends = source_span(low, high, first + len(mono), *rates)
        part = resample_part(mono[begins - first : ends - first], low, high, begins, *rates)
        samples[low - start : high - start] = rounding(part)
    return samples
