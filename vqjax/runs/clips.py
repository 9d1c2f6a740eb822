"""Sound that goes into runs: [B, T, C] at the rate and level of training.

What does not fit is refused with what was wanted.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vqjax import arguments
from vqjax.media.audio import check_rate, to_int16
from vqjax.media.resampling import resample, resampled_length
from vqjax.tasks.base import GAIN
from vqjax.types import UsageError

FULL_SCALE = np.float32(32768.0)  # of int16
MOST_GAIN = 1e6  # of int16's smallest value a full scale has 32,768 times as much


def checked_clips(sound: Any, channels: int, name: str = "sound") -> tuple[np.ndarray, bool]:
    """`sound`, int16 or float in [-1, 1], as float32 [B, T, C], and whether it was one clip [T].

    Raises:
        UsageError: another rank, dtype, number of channels or range; no samples.
    """
    expected = f"int16, or float in [-1, 1]: [T] or [B, T, {channels}]"
    array = arguments.array(name, sound, expected)
    if single := array.ndim == 1 and channels == 1:
        array = array[None, :, None]
    if array.ndim != 3 or array.shape[-1] != channels or not array.shape[1]:
        raise UsageError(f"{name}: {array.dtype} {list(np.shape(sound))}, wanted {expected}")
    if array.dtype == np.int16:
        return array.astype(np.float32) / FULL_SCALE, single
    if array.dtype.kind != "f":
        raise UsageError(f"{name}: {array.dtype} values, wanted {expected}")
    if array.size and not (array.min() >= -1.001 and array.max() <= 1.001):
        low, high = float(array.min()), float(array.max())
        raise UsageError(f"{name}: values are {low:.4g} to {high:.4g}: wanted -1 to 1, no NaN")
    return array.astype(np.float32), single


def checked_gain(gain: Any, count: int) -> np.ndarray:
    """`gain` of `count` clips, a number or one of each, as float32[count].

    Raises:
        UsageError: others than these, or not above 0 and at most `MOST_GAIN`.
    """
    gains = np.asarray(gain)
    if gains.dtype.kind not in "fiu" or gains.shape not in ((), (count,)):
        raise UsageError(f"gain={arguments.got(gain)}: wanted a number, or [{count}] of them")
    gains = np.broadcast_to(gains, (count,)).astype(np.float32)
    if not np.all((gains > 0) & (gains <= MOST_GAIN)):
        raise UsageError(f"gain={arguments.got(gain)}: wanted above 0 and at most {MOST_GAIN:g}")
    return gains


def at_rate(clips: np.ndarray, rate: int | None, trained: int) -> np.ndarray:
    """float32 [B, T, C] at `rate` Hz (None: as trained) -> at `trained` Hz, 0: unknown.

    Raises:
        UsageError: `rate` is none, or the run's is unknown.
    """
    if rate is None:
        return clips
    rate = arguments.whole("rate", rate, 1)
    check_rate(rate)
    if not trained:
        raise UsageError("the data of this run has no rate: resample to what it was trained on")
    if rate == trained:
        return clips
    rows = (np.stack([resample(c, rate, trained) for c in clip.T], -1) for clip in clips)
    empty = np.zeros((0, resampled_length(clips.shape[1], rate, trained), clips.shape[-1]))
    return np.concatenate([empty, *(row[None] for row in rows)]).astype(np.float32)


def levelled(clips: np.ndarray, loudness: Any) -> np.ndarray:
    """float32 [B, T, C], each clip at the level of a `Loudness` (None: as it is); zeros at its end
    are padding, which has no part in it.
    """
    if loudness is None:
        return clips
    gains = np.ones(len(clips), np.float32)
    for row, clip in enumerate(clips):
        sounds = np.flatnonzero(clip.any(axis=1))
        end = int(sounds[-1]) + 1 if len(sounds) else len(clip)
        gains[row] = loudness.gain(to_int16(clip[:end]))
    return clips * gains[:, None, None]


def fitted(clips: np.ndarray, samples: int) -> np.ndarray:
    """[B, T, C] -> [B, samples, C]: the first of them, zeros behind what is shorter."""
    missing = max(0, samples - clips.shape[1])
    return np.pad(clips[:, :samples], ((0, 0), (0, missing), (0, 0)))


def source_inputs(batch: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """The array `name` of a source's batch, sound at its level: what networks take of it."""
    if GAIN not in batch or batch[name].dtype != np.int16:
        return batch[name]
    return batch[name].astype(np.float32) / FULL_SCALE * batch[GAIN][:, None, None]
