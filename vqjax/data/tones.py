"""Short melodies made by a program: sound that needs no files and no network."""

import dataclasses
import functools

import numpy as np

from vqjax.config.annotations import check_fields
from vqjax.data.sound import RANDOM, FlatClips, Loudness, SoundSource, SoundSplit, sound_spec
from vqjax.data.source import hash64
from vqjax.types import ArraySpec, UsageError, did_you_mean

__all__ = ["Tones"]

# {class: its notes: (semitones above the lowest pitch, beats)}
MELODIES = {
    "rise": ((0, 1), (4, 1), (7, 1)),
    "fall": ((7, 1), (4, 1), (0, 1)),
    "leap": ((0, 1), (12, 1), (0, 1)),
    "steps": ((0, 2), (2, 1), (4, 1), (5, 2)),
    "question": ((5, 1), (0, 1), (4, 2), (9, 2)),
    "call": ((0, 1), (0, 1), (7, 2)),
    "trill": ((3, 1), (0, 1), (3, 1), (0, 1), (3, 1)),
    "bell": ((8, 1), (4, 1), (6, 1), (0, 3)),
    "creep": ((0, 1), (1, 1), (2, 1), (3, 1), (4, 2)),
    "fanfare": ((0, 1), (5, 1), (5, 1), (9, 2), (12, 3)),
}
NAMES = tuple(MELODIES)
_PARTS = {"train": 0, "eval": 1}
_TONES = 5  # the first word of the hash, apart from those of order, augmentation, captions, windows
_DRAWS = 12
_HARMONICS = 5
_SECONDS = (0.25, 1.0)  # of a clip
_PITCH = (130.0, 360.0)  # Hz, of the lowest note; the highest harmonic of the highest is 3,600 Hz
_AMPLITUDE = (0.02, 0.26)  # of the sum of harmonics; full scale is 1
_NOISE = 0.01  # of that
_MOST_BYTES = 1 << 30  # of a split that is kept in memory
_RATES = (4_000, 96_000)


def _uniform(part: str, indices: np.ndarray, draws: int) -> np.ndarray:
    """Numbers in [0, 1), float64[n, draws], of examples int64[n]."""
    bits = hash64(_TONES, _PARTS[part], indices[:, None], np.arange(draws))
    return (bits >> np.uint64(11)) * 2.0**-53


def tone_lengths(part: str, indices: np.ndarray, rate: int) -> np.ndarray:
    """Samples of examples of `part`, int64[n]."""
    low, high = _SECONDS
    seconds = low + (high - low) * _uniform(part, indices, 1)[:, 0]
    return np.rint(seconds * rate).astype(np.int64)


def tone(part: str, index: int, rate: int) -> np.ndarray:
    """Makes the melody `index` of `part`, of class index % 10: int16[n], n of `tone_lengths`."""
    (num,) = tone_lengths(part, np.array([index]), rate)
    _, lead, tail, pitch, level, attack, decay, *timbre = _uniform(part, np.array([index]), _DRAWS)[
        0
    ]
    notes = MELODIES[NAMES[index % len(NAMES)]]
    base = _PITCH[0] * (_PITCH[1] / _PITCH[0]) ** pitch
    weights = np.array([1.0, *timbre[: _HARMONICS - 1]]) / np.arange(1, _HARMONICS + 1)
    bounds = np.cumsum([0, *(beats for _, beats in notes)])
    # Silence before and after takes up to a tenth of the clip each.
    bounds = np.rint(num * (0.1 * lead + (1 - 0.1 * lead - 0.1 * tail) * bounds / bounds[-1]))
    sound = np.zeros(num)
    for (semitones, _), first, last in zip(notes, bounds[:-1], bounds[1:], strict=True):
        times = np.arange(int(last) - int(first)) / rate
        wave = _harmonics(base * 2 ** (semitones / 12), weights, times, rate)
        rise = np.minimum(times / (0.003 + 0.02 * attack), 1)
        release = np.minimum(times[::-1] / 0.004, 1)
        fall = np.exp(-times / (0.08 + 0.5 * decay))
        sound[int(first) : int(last)] = wave * rise * fall * release
    # The sum of two even numbers, from -1 to 1, out of the halves of each 64 bits.
    bits = hash64(_TONES, _PARTS[part], index, _DRAWS + np.arange(num))
    noise = ((bits >> np.uint64(32)) + (bits & np.uint64(0xFFFFFFFF))) * 2.0**-32 - 1
    amplitude = _AMPLITUDE[0] * (_AMPLITUDE[1] / _AMPLITUDE[0]) ** level
    return np.rint(32767 * amplitude * (sound / weights.sum() + _NOISE * noise)).astype(np.int16)


def _harmonics(pitch: float, weights: np.ndarray, times: np.ndarray, rate: int) -> np.ndarray:
    """The sum of weights[h - 1] sin(2 pi h pitch t) over the h below the Nyquist frequency."""
    phase = 2 * np.pi * pitch * times
    before, now, double_cosine = np.zeros_like(phase), np.sin(phase), 2 * np.cos(phase)
    result = np.zeros_like(phase)
    for h, weight in enumerate(weights, 1):
        if h * pitch < rate / 2:
            result += weight * now
        before, now = now, double_cosine * now - before  # sin((h + 1) p) of sin(h p)
    return result


@functools.lru_cache(maxsize=4)  # those of two sources
def _all_tones(part: str, num: int, rate: int) -> FlatClips:
    return FlatClips.joined(tone(part, i, rate) for i in range(num))


@dataclasses.dataclass(frozen=True)
class _ToneClips:
    """The melodies of a part as `Clips`: made once, or at each visit where they are too many."""

    part: str
    rate: int
    lengths: np.ndarray

    def read(self, index: int, start: int, stop: int) -> np.ndarray:
        if self.lengths.sum() * 2 > _MOST_BYTES:
            return tone(self.part, index, self.rate)[start:stop]
        return _all_tones(self.part, len(self.lengths), self.rate).read(index, start, stop)


@dataclasses.dataclass(frozen=True)
class Tones(SoundSource):
    """Melodies of three to five notes, 0.25 to 1 s long, made by a program: example i of a part is
    a function of i alone.

    The class, "label", is one of ten melodies; pitch (by an octave and a half), tempo, timbre,
    attack, decay and level (13-fold) differ from clip to clip, and there is a little noise.

    Attributes:
        samples: T of the window.
        train_clips: how many there are for training.
        eval_clips: for evaluation, none of which is among those.
        rate: samples per second.
        crop: where the window begins in training: "random", drawn anew at each visit, or "start".
        shift: samples by which crop="start" is late in training, at most, drawn anew at each visit.
        loudness: the level that clips are brought to; None: as they are.
    """

    samples: int = 4_096
    train_clips: int = 2_000
    eval_clips: int = 200
    rate: int = 8_000
    crop: str = RANDOM
    loudness: Loudness | None = None
    shift: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        self._check_window()
        for name in ("train_clips", "eval_clips"):
            if getattr(self, name) < 0:
                raise UsageError(f"Tones: {name} is 0 or more, got {getattr(self, name)!r}")
        if not _RATES[0] <= self.rate <= _RATES[1]:
            raise UsageError(f"Tones: rate lies in {_RATES[0]}..{_RATES[1]}, got {self.rate!r}")

    def _num(self, part: str) -> int:
        return self.train_clips if part == "train" else self.eval_clips

    def _open(self, part: str) -> SoundSplit:
        indices = np.arange(self._num(part))
        clips = _ToneClips(part, self.rate, tone_lengths(part, indices, self.rate))
        return self._split(clips, self.rate, {"label": indices % len(NAMES)})

    def class_names(self, name: str) -> tuple[str, ...]:
        """See `SoundSource.class_names`."""
        if name != "label":
            raise UsageError(f"Tones have no classes {name!r}: {did_you_mean(name, ['label'])}")
        return NAMES

    def example_spec(self) -> dict[str, ArraySpec]:
        """See `Source.example_spec`; known before anything is made."""
        return sound_spec(self.samples, self.rate, self.loudness, ["label"])
