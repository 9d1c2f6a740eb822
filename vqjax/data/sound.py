"""Sound of any length as batches of windows, at a recorded level.

A batch is {"audio": int16[b, T, 1], "length": int32[b], "gain": float32[b], "label": int32[b], ...}
with "gain" where the source has a `Loudness`. A clip shorter than the window of T samples has zeros
behind it, from `length` on. What a network takes is audio / 32768 * gain, worked out in the step.
"""

import abc
import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import numpy as np

from vqjax.config.annotations import check_fields
from vqjax.data.source import SplitSource, Visits, hash64
from vqjax.types import ArraySpec, UsageError

__all__ = ["Loudness"]

AUDIO, LENGTH, GAIN = "audio", "length", "gain"
RESERVED = (AUDIO, LENGTH, GAIN, "example_id", "mask")  # no class may have these names
RANDOM, START = "random", "start"
CROPS = (RANDOM, START)
FULL_SCALE = 32768  # of int16: 1.0
_LEAST_DB, _STEP_DB, _STEPS = -40.0, 0.5, 256  # the grid of gains: to +87.5 dB
_SILENCE_DB = 0.0
_WINDOW = 4  # the first word of the hash, apart from those of order, augmentation and captions


@functools.cache
def _gains() -> np.ndarray:
    """The factors of the grid, float32[256]."""
    decibels = _LEAST_DB + _STEP_DB * np.arange(_STEPS)
    gains = (10.0 ** (decibels / 20)).astype(np.float32)
    gains.flags.writeable = False
    return gains


def _index_of(decibels: np.ndarray | float) -> np.ndarray:
    steps = np.rint((np.asarray(decibels) - _LEAST_DB) / _STEP_DB)
    return np.clip(steps, 0, _STEPS - 1).astype(np.uint8)


def gain_index(gain: np.ndarray | float) -> np.ndarray:
    """Positive factors, of any shape, as the nearest of the grid (in dB): uint8, the same shape."""
    return _index_of(20 * np.log10(np.asarray(gain, np.float64)))


def gain_of_index(index: np.ndarray | int) -> np.ndarray:
    """The factors of numbers 0..255 of the grid, of any shape: float32, the same shape."""
    return _gains()[index]


@dataclasses.dataclass(frozen=True)
class Loudness:
    """The level that clips are brought to, by one recorded factor each.

    Level is the RMS of the whole clip, of which a batch may have a window; full scale is 1.0. The
    factor is one of 256, in steps of 0.5 dB from -40 to +87.5 dB: it costs 8 bits in a file. The
    factor of silence is 1.

    Attributes:
        db: the level in dB of full scale, -40 to 0.
    """

    db: float = -24.0

    def __post_init__(self) -> None:
        check_fields(self)
        if not _LEAST_DB <= self.db <= 0:
            raise UsageError(f"Loudness: db lies in [{_LEAST_DB:g}, 0], got {self.db!r}")

    def gain(self, samples: np.ndarray) -> np.float32:
        """Returns the factor of a whole clip, int16[n]."""
        return self.gain_of_pieces((samples,))

    def gain_of_pieces(self, pieces: Iterable[np.ndarray]) -> np.float32:
        """Returns the factor of a clip that comes in pieces, int16[n]."""
        power, count = 0.0, 0
        for samples in pieces:
            # Whole numbers: exact in any order, up to 2**53.
            power += float(np.square(samples, dtype=np.float64).sum())
            count += samples.size
        if power == 0:
            return gain_of_index(int(_index_of(_SILENCE_DB)))
        decibels = self.db - 10 * np.log10(power / count / FULL_SCALE**2)
        return gain_of_index(int(_index_of(decibels)))


class Clips(Protocol):
    """Clips that can be read by index, whole or in part; `lengths`: int64[n], their samples."""

    lengths: np.ndarray

    def read(self, index: int, start: int, stop: int) -> np.ndarray:
        """Returns samples `start` to `stop` of a clip, int16[stop - start]."""


@dataclasses.dataclass(frozen=True)
class FlatClips:
    """Clips in memory, in one array.

    Attributes:
        samples: int16[total].
        starts: int64[n], where each clip begins.
        lengths: int64[n], how many samples it has.
    """

    samples: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    @classmethod
    def joined(cls, clips: Iterable[np.ndarray]) -> "FlatClips":
        """Of clips int16[n], one behind the other."""
        clips = list(clips)
        lengths = np.array([len(clip) for clip in clips], np.int64)
        samples = np.concatenate([np.zeros(0, np.int16), *clips])
        return cls(samples, np.cumsum(lengths) - lengths, lengths)

    def subset(self, rows: np.ndarray) -> "FlatClips":
        """The clips `rows` alone; nothing is copied."""
        return FlatClips(self.samples, self.starts[rows], self.lengths[rows])

    def read(self, index: int, start: int, stop: int) -> np.ndarray:
        """See `Clips.read`."""
        first = int(self.starts[index])
        return self.samples[first + start : first + stop]


@dataclasses.dataclass(frozen=True)
class Window:
    """What a batch has of a clip.

    Attributes:
        samples: T, of the window.
        crop: where it begins in training: "random", drawn anew at each visit by (seed, position),
            or "start". In evaluation it is the start.
        shift: samples by which "start" is late in training, at most, drawn anew at each visit: by
            which tokens differ that are of almost the same sound.
    """

    samples: int
    crop: str
    shift: int = 0

    def starts(self, lengths: np.ndarray, seed: int | None, positions: np.ndarray) -> np.ndarray:
        """Returns the first samples, int64[b], of clips of `lengths`; all int64[b]."""
        if seed is None or (self.crop == START and not self.shift):
            return np.zeros(len(lengths), np.int64)
        if self.crop == START:
            choices = np.minimum(self.shift, np.maximum(lengths - 1, 0)) + 1
        else:
            choices = np.maximum(lengths - self.samples, 0) + 1
        return (hash64(_WINDOW, seed, positions) % choices.astype(np.uint64)).astype(np.int64)


def check_window(what: str, samples: int, crop: str, shift: int) -> None:
    """Refuses, with UsageError, a window of `what` that there is none of; see `Window`."""
    if samples < 1:
        raise UsageError(f"{what}: samples is at least 1, got {samples!r}")
    if crop not in CROPS:
        raise UsageError(f"{what}: crop is {' or '.join(map(repr, CROPS))}, got {crop!r}")
    if shift < 0 or (shift and crop != START):
        raise UsageError(f"{what}: shift is 0 or more, and of crop={START!r} alone, got {shift!r}")


def sound_spec(
    samples: int, rate: float, loudness: Loudness | None, names: Iterable[str]
) -> dict[str, ArraySpec]:
    """The spec of an example of `samples` samples at `rate` Hz; `names`: its classes."""
    spec = {
        AUDIO: ArraySpec((samples, 1), "int16", medium="audio", rate=float(rate)),
        LENGTH: ArraySpec((), "int32"),
    }
    if loudness is not None:
        spec[GAIN] = ArraySpec((), "float32")
    classes = {name: ArraySpec((), "int32") for name in names}
    return {**spec, **classes, "example_id": ArraySpec((), "int64")}


class SoundSplit:
    """A split of clips of any length.

    Args:
        clips: what is read.
        window: what a batch has of a clip.
        rate: samples per second.
        loudness: the level; None: as they are.
        arrays: {name: int[num]}, the classes.
        gains: float32[num], where the factors are known; else all clips are read for them once.
    """

    def __init__(
        self,
        clips: Clips,
        window: Window,
        rate: float,
        loudness: Loudness | None,
        arrays: Mapping[str, np.ndarray],
        gains: np.ndarray | None = None,
    ):
        self.num = len(clips.lengths)
        self._clips = clips
        self._window = window
        self._rate = rate
        self._loudness = loudness
        self._arrays = {name: array.astype(np.int32) for name, array in arrays.items()}
        self._known = gains

    @functools.cached_property
    def _gains(self) -> np.ndarray:
        if self._known is not None:
            return self._known.astype(np.float32)
        gains = [self._loudness.gain(self._whole(i)) for i in range(self.num)]
        return np.array(gains, np.float32)

    def _whole(self, index: int) -> np.ndarray:
        return self._clips.read(index, 0, int(self._clips.lengths[index]))

    def spec(self) -> dict[str, ArraySpec]:
        """See `Split.spec`."""
        return sound_spec(self._window.samples, self._rate, self._loudness, self._arrays)

    def at_hand(self, name: str) -> np.ndarray | None:
        """See `SplitSource.at_hand`."""
        return self._arrays.get(name)

    def batches(self, visits: Visits) -> Iterator[dict[str, np.ndarray]]:
        """See `Split.batches`."""
        for step in visits.steps():
            positions, indices, mask = visits.at(step)
            starts = self._window.starts(self._clips.lengths[indices], visits.seed, positions)
            batch = self._batch(indices, starts, self._window.samples)
            if mask is not None:
                batch["mask"] = mask
            yield batch

    def clip_lengths(self) -> np.ndarray:
        """See `SoundSource.clip_lengths`."""
        return self._clips.lengths.astype(np.int64)

    def clips(self, indices: np.ndarray, samples: int) -> dict[str, np.ndarray]:
        """See `SoundSource.clips`."""
        indices = np.asarray(indices, np.int64)
        longest = int(self._clips.lengths[indices].max(initial=0))
        if longest > samples:
            raise ValueError(f"a clip of {longest} samples does not fit into {samples}")
        return self._batch(indices, np.zeros_like(indices), samples)

    def _batch(
        self, indices: np.ndarray, starts: np.ndarray, samples: int
    ) -> dict[str, np.ndarray]:
        """`samples` samples of each of the clips `indices`, from `starts` on; both int64[b]."""
        lengths = np.minimum(self._clips.lengths[indices] - starts, samples).astype(np.int64)
        audio = np.zeros((len(indices), samples, 1), np.int16)
        for row, index, start, length in zip(audio, indices, starts, lengths, strict=True):
            row[:length, 0] = self._clips.read(int(index), int(start), int(start + length))
        batch = {AUDIO: audio, LENGTH: lengths.astype(np.int32)}
        if self._loudness is not None:
            batch[GAIN] = self._gains[indices]
        classes = {name: array[indices] for name, array in self._arrays.items()}
        return {**batch, **classes, "example_id": indices}


class SoundSource(SplitSource):
    """Base of sources of sound: a frozen dataclass with these fields, whose `_open` returns
    `_split(...)`.

    Attributes:
        samples: T of the window.
        crop: see `Window.crop`.
        loudness: the level that clips are brought to; None: as they are.
        shift: see `Window.shift`.
    """

    samples: int
    crop: str
    loudness: Loudness | None
    shift: int = 0  # also of sources without this field

    @abc.abstractmethod
    def _open(self, part: str) -> SoundSplit:
        """Returns the split for `part`, "train" or "eval"."""

    @abc.abstractmethod
    def class_names(self, name: str) -> tuple[str, ...]:
        """Returns the names of the classes 0, 1, ... of the batch's array `name`.

        Raises:
            UsageError: there are no such classes.
        """

    def _check_window(self) -> None:
        """Refuses, with UsageError, a window that there is none of."""
        check_window(type(self).__name__, self.samples, self.crop, self.shift)

    def _split(
        self,
        clips: Clips,
        rate: float,
        arrays: Mapping[str, np.ndarray],
        gains: np.ndarray | None = None,
    ) -> SoundSplit:
        """A split of `clips` in this source's window; see `SoundSplit`."""
        window = Window(self.samples, self.crop, self.shift)
        return SoundSplit(clips, window, rate, self.loudness, arrays, gains)

    @property
    def sample_rate(self) -> float:
        """Samples per second."""
        return self.example_spec()[AUDIO].rate

    def clip_lengths(self, part: str) -> np.ndarray:
        """Returns the samples of every whole clip of `part`, "train" or "eval": int64[n]."""
        return self._part(part).clip_lengths()

    def clips(self, part: str, indices: np.ndarray, samples: int) -> dict[str, np.ndarray]:
        """Returns whole clips as a batch: the keys of training, "audio" int16[b, samples, 1].

        Args:
            part: "train" or "eval".
            indices: int[b] in the split; they may repeat.
            samples: at least those of the longest; zeros follow what is shorter.

        Raises:
            ValueError: a clip is longer.
        """
        return self._part(part).clips(indices, samples)
