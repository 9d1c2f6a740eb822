"""What decoders give -> int16 samples of one channel, and what is odd about it.

Full scale, 1.0, is 32,768.
"""

import os
from collections.abc import Iterable, Iterator

import numpy as np

from vqjax.media.sound_file import FORMATS, OTHER_SUFFIXES, RATES, BadSound, OpenSound
from vqjax.types import UsageError

FULL_SCALE = 32_768
VALUES = 1 << 20  # decoded or resampled at once
_LEAST, _MOST = -FULL_SCALE, FULL_SCALE - 1
_LARGEST = 1e6  # times full scale; of what is larger nothing is known


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


class Rounding:
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


def mono_blocks(sound: OpenSound, frames: int | None, most: int) -> Iterator[np.ndarray]:
    """Yields the next `frames` samples of an open file, or all that follow, the mean of all
    channels: float64[n].

    Args:
        sound: the file.
        frames: samples of each channel; None: to the end.
        most: how many may come.

    Raises:
        BadSound: more come, or such as are no sound.
    """
    decoded = 0
    for block in sound.blocks(frames, VALUES):
        decoded += len(block)
        if decoded > most:  # of a file that did not say how long it is
            raise BadSound(f"more than {most:,} samples: see max_seconds and max_samples")
        with np.errstate(invalid="ignore", over="ignore"):
            mono = block.mean(axis=1)
        if not np.isfinite(mono).all():
            raise BadSound("NaN or infinity in it")
        if np.abs(mono).max() > _LARGEST:
            raise BadSound(f"values up to {np.abs(mono).max():.3g}, full scale is 1")
        yield mono


def suffixes_of(formats: Iterable[str]) -> tuple[str, ...]:
    """Returns the suffixes of files of these formats, in lower case with their dots."""
    return tuple(suffix for name in formats for suffix in FORMATS[name].suffixes)


def suffix_note(path: str | bytes | os.PathLike, name: str) -> list[str]:
    """Returns a line where the suffix is that of another format; .ogg may hold Opus."""
    suffix = os.path.splitext(os.fsdecode(path))[1].lower()
    if suffix not in (*suffixes_of(FORMATS), *OTHER_SUFFIXES):
        return []
    named = {known for known in FORMATS if suffix in FORMATS[known].suffixes}
    if name in named or {name, *named} == {"ogg", "opus"}:
        return []
    return [f"named {suffix}, is {name}"]
