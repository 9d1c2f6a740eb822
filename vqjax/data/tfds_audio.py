"""Any set of recordings that TFDS has prepared. Only `vqjax prepare` downloads."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from vqjax.config.annotations import check_fields
from vqjax.data.name_patterns import (
    check_class_patterns,
    check_pattern,
    classes_of,
    held_out,
    left_in,
)
from vqjax.data.records import Shard
from vqjax.data.sound import (
    FULL_SCALE,
    RANDOM,
    RESERVED,
    Loudness,
    SoundSource,
    SoundSplit,
    sound_spec,
)
from vqjax.data.tf_data import tensorflow
from vqjax.data.tfds_builder import is_text, is_whole_number, open_builder, shards_of
from vqjax.data.tfds_recordings import Recordings, RecordingTable, load_recordings
from vqjax.types import ArraySpec, DataError, UsageError, did_you_mean

__all__ = ["TFDSAudio"]

RATES = (1_000, 768_000)  # Hz, of sound; another number is an error in the data, or of a user
_QUIET = 128  # a whole data set of so small numbers is probably of another scale


@dataclasses.dataclass(frozen=True)
class TFDSAudio(SoundSource):
    """The recordings of a prepared TFDS data set: windows of them as "audio", their classes as
    "label" and by other names.

    Evaluation has `eval_split`, or those files of `split` whose names `hold_out` finds. Recordings
    are decoded once, and again at each visit where they take more than `cache_bytes`.

    Attributes:
        name: "spoken_digit", "speech_commands:0.0.3", ...
        samples: T of the window.
        split: training split in TFDS's language: "train", "train[:90%]", ...
        eval_split: likewise, for evaluation; None: `hold_out` says what it has.
        hold_out: regular expression, searched in the file names: r"_[0-4]\\.wav$", ...
        leave_out: likewise; what it finds is for neither training nor evaluation.
        crop: where the window begins in training: "random", drawn anew at each visit, or "start".
        shift: samples by which crop="start" is late in training, at most, drawn anew at each visit.
        loudness: the level that recordings are brought to; None: as they are.
        audio_key: feature of the sound, numbers [n] or [n, C]; channels are averaged.
        name_key: feature of the file names, a text; None: `audio_key`/filename where there is one.
        label_key: feature of the classes, a whole number; None: "label" where there is such a one.
        classes: {name in the batch: regular expression}: its first group, in the file name, is the
            class; numbers from 0 follow the sorted classes of all files of both splits.
        rate: samples per second; None: as recorded. Recordings of another rate are resampled; where
            the data set has no record of its rate, this is it.
        scale: the value of full scale, which TFDS has no record of; None: 32768 for whole numbers,
            1 for floats.
        data_dir: where it is prepared; None: TFDS_DATA_DIR, else ~/tensorflow_datasets.
        cache_bytes: largest size of a split, as int16, that is kept in memory.
    """

    name: str
    samples: int
    split: str = "train"
    eval_split: str | None = None
    hold_out: str | None = None
    leave_out: str | None = None
    crop: str = RANDOM
    loudness: Loudness | None = None
    audio_key: str = "audio"
    name_key: str | None = None
    label_key: str | None = None
    classes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    rate: int | None = None
    scale: float | None = None
    data_dir: str | None = None
    cache_bytes: int = 1 << 30
    shift: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        self._check_window()
        if (self.eval_split is None) == (self.hold_out is None):
            raise UsageError(
                "TFDSAudio: evaluation has eval_split or what hold_out finds in the file names: "
                f"set one of them, got {self.eval_split!r} and {self.hold_out!r}"
            )
        for name in ("hold_out", "leave_out"):
            if getattr(self, name) is not None:
                check_pattern(f"TFDSAudio: {name}", getattr(self, name))
        taken = RESERVED if self.label_key is None else (*RESERVED, "label")
        check_class_patterns("TFDSAudio: classes", self.classes, taken)
        if self.rate is not None and not RATES[0] <= self.rate <= RATES[1]:
            raise UsageError(f"TFDSAudio: rate lies in {RATES[0]}..{RATES[1]}, got {self.rate!r}")
        if self.scale is not None and not 0 < self.scale < math.inf:
            raise UsageError(f"TFDSAudio: scale is greater than 0, got {self.scale!r}")
        if self.cache_bytes < 0:
            raise UsageError(f"TFDSAudio: cache_bytes is 0 or more, got {self.cache_bytes!r}")

    @functools.cached_property
    def _builder(self) -> Any:
        return open_builder(self.name, self.data_dir)

    @property
    def _reads_names(self) -> bool:
        return bool(self.hold_out is not None or self.leave_out is not None or self.classes)

    @functools.cached_property
    def _keys(self) -> dict[str, str]:
        """{"audio", "label" and "name": feature}; DataError if one is not what it must be."""
        features = self._builder.info.features
        names = list(features) if hasattr(features, "keys") else []
        if self.audio_key not in names:
            hint = did_you_mean(self.audio_key, (k for k in names if _is_sound(features[k])))
            raise DataError(f"data set {self.name!r} has no feature {self.audio_key!r}: {hint}")
        audio = features[self.audio_key]
        if not _is_sound(audio):
            raise DataError(
                f"feature {self.audio_key!r} of {self.name!r} is {audio}, not numbers [n] or [n, C]"
            )
        keys = {"audio": self.audio_key}
        label = self.label_key or "label"
        if "label" not in self.classes and label in names and is_whole_number(features[label]):
            keys["label"] = label
        elif self.label_key is not None:
            raise DataError(
                f"data set {self.name!r} has no whole number in {label!r}: "
                + did_you_mean(label, (k for k in names if is_whole_number(features[k])))
            )
        if self._reads_names:
            name = keys["name"] = self.name_key or f"{self.audio_key}/filename"
            if name not in names or not is_text(features[name]):
                raise DataError(
                    f"data set {self.name!r} has no file names in {name!r} (name_key): "
                    + did_you_mean(name, (k for k in names if is_text(features[k])))
                )
        return keys

    @functools.cached_property
    def _rates(self) -> tuple[int, int]:
        """Of the recordings and of the clips, in Hz."""
        recorded = getattr(self._builder.info.features[self._keys["audio"]], "sample_rate", None)
        if not recorded and self.rate is None:
            raise DataError(
                f"data set {self.name!r} has no record of the rate of {self.audio_key!r}: "
                "pass it, as in rate=16000"
            )
        if recorded and not RATES[0] <= recorded <= RATES[1]:
            raise DataError(
                f"data set {self.name!r} has {self.audio_key!r} at {recorded} Hz: "
                f"{RATES[0]}..{RATES[1]} are read"
            )
        rate = self.rate or int(recorded)
        return int(recorded or rate), rate

    def _shards(self, split: str) -> list[Shard]:
        return shards_of(self._builder, self.name, split)

    @functools.cached_property
    def _tables(self) -> dict[str, RecordingTable]:
        """Those that are decoded, by split."""
        return {}

    def _table(self, split: str) -> RecordingTable:
        if split not in self._tables:
            features = self._builder.info.features
            whole = np.issubdtype(features[self._keys["audio"]].np_dtype, np.integer)
            scale = self.scale or (FULL_SCALE if whole else 1.0)
            recordings = Recordings(features, self._keys, scale, self._rates)
            what = f"split {split!r} of {self.name!r}"
            self._tables[split] = load_recordings(
                recordings, self._shards(split), self.loudness, self.cache_bytes, what
            )
        return self._tables[split]

    @property
    def _splits(self) -> tuple[str, ...]:
        return (self.split,) if self.eval_split is None else (self.split, self.eval_split)

    @functools.cached_property
    def _names(self) -> list[str]:
        """Of the files of all splits."""
        return [name for split in self._splits for name in self._table(split).names or ()]

    @functools.cached_property
    def _classes(self) -> dict[str, tuple[np.ndarray, tuple[str, ...]]]:
        """{name in the batch: the class of each file, int32[n], and the names of the classes}."""
        return {
            name: classes_of(f"TFDSAudio: classes[{name!r}]", pattern, self._names)
            for name, pattern in self.classes.items()
        }

    def _members(self, part: str) -> tuple[str, np.ndarray]:
        """Returns the split of `part` and which of its recordings it has: int64[n]."""
        if self.hold_out is not None:
            parts = held_out("TFDSAudio", self._names, self.hold_out, self.leave_out)
            return self.split, parts[part == "eval"]
        split = self.split if part == "train" else self.eval_split
        num = len(self._table(split).clips.lengths)
        if self.leave_out is None:
            return split, np.arange(num)
        kept = left_in("TFDSAudio", self._names, self.leave_out)
        return split, np.flatnonzero(kept[self._first(split) :][:num])

    def _first(self, split: str) -> int:
        """Where the files of `split` begin among those of all splits."""
        return 0 if split == self.split else len(self._table(self.split).names or ())

    def _open(self, part: str) -> SoundSplit:
        rate = self._rates[1]
        split, rows = self._members(part)
        table = self._table(split)
        arrays = {} if table.label is None else {"label": table.label[rows]}
        for name, (numbers, _) in self._classes.items():
            arrays[name] = numbers[self._first(split) + rows]
        gains = None if table.gains is None else table.gains[rows]
        return self._split(table.clips.subset(rows), rate, arrays, gains)

    def at_hand(self, part: str, name: str) -> np.ndarray | None:
        """See `SplitSource.at_hand`."""
        return super().at_hand(part, name) if f"_{part}" in self.__dict__ else None

    def example_spec(self) -> dict[str, ArraySpec]:
        """See `Source.example_spec`; known before anything is decoded."""
        names = [name for name in ("label",) if name in self._keys]
        return sound_spec(self.samples, self._rates[1], self.loudness, [*names, *self.classes])

    def _num(self, part: str) -> int | None:
        """How many examples `part` has, where this is known before anything is decoded."""
        if self.hold_out is not None or self.leave_out is not None:
            return None
        split = self.split if part == "train" else self.eval_split
        return sum(shard.take for shard in self._shards(split))

    def num_train(self) -> int:
        """See `Source.num_train`."""
        num = self._num("train")
        return super().num_train() if num is None else num

    def num_eval(self) -> int:
        """See `Source.num_eval`."""
        num = self._num("eval")
        return super().num_eval() if num is None else num

    def class_names(self, name: str) -> tuple[str, ...]:
        """See `SoundSource.class_names`."""
        if name in self.classes:
            return self._classes[name][1]
        if name == "label" and "label" in self._keys:
            names = getattr(self._builder.info.features[self._keys["label"]], "names", None)
            if names:
                return tuple(names)
        valid = [*self.classes, *(n for n in ("label",) if n in self._keys)]
        hint = did_you_mean(name, valid)
        raise UsageError(f"data set {self.name!r} has no names of classes {name!r}: {hint}")

    def check(self) -> None:
        """See `Source.check`."""
        self.example_spec()  # what is wrong there is known before anything is decoded
        super().check()
        tensorflow()

    def notes(self) -> list[str]:
        """See `Source.notes`: how many recordings are for what, and what is odd of their level."""
        tables = [self._table(split) for split in self._splits]
        total = sum(len(table.clips.lengths) for table in tables)
        train, evaluation = self.num_train(), self.num_eval()
        notes = [f"{train:,} recordings for training, {evaluation:,} for evaluation"]
        if total > train + evaluation:
            notes[0] += f", {total - train - evaluation:,} for neither"
        loud, peak = sum(table.loud for table in tables), max(table.peak for table in tables)
        if loud:
            notes.append(f"{loud:,} recordings exceed full scale and are clipped: is scale right?")
        empty = sum(int((table.clips.lengths == 0).sum()) for table in tables)
        if empty:
            notes.append(f"{empty:,} recordings hold no sound: their length is 0")
        if peak < _QUIET:
            notes.append(f"the largest sample of all is {peak} of {FULL_SCALE}: is scale right?")
        return notes


def _is_sound(feature: Any) -> bool:
    """Whether a feature is numbers [n] or [n, C]; encoded files are none."""
    shape, dtype = getattr(feature, "shape", None), getattr(feature, "np_dtype", None)
    if not isinstance(shape, tuple) or len(shape) not in (1, 2):  # nested features have mappings
        return False
    return np.issubdtype(dtype, np.number) and feature.get_serialized_info().shape != ()
