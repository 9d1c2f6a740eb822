"""Decoding the sound files of a folder: all of them once, or a part of one."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tqdm

from vqjax.data import cache
from vqjax.data.in_threads import in_order
from vqjax.data.listing import name_text, stamps
from vqjax.data.sound import FlatClips, Loudness
from vqjax.media.audio import BadSound, library_version, read_sound
from vqjax.types import DataError

_TEXT = 120  # characters of a reason or note
_COLUMNS = {"reason": "U", "note": "U", "length": "i", "gain": "f"}  # kinds of dtypes


class Verdicts(NamedTuple):
    """What is known of files that were decoded.

    Attributes:
        reason: str[n], why a file is bad, or "".
        note: str[n], what is odd about one that is used, or "".
        length: int64[n], samples of each; 0 of a bad one.
        gain: float32[n], the factor of each; 1 where no level is asked for.
    """

    reason: np.ndarray
    note: np.ndarray
    length: np.ndarray
    gain: np.ndarray


class _Decoded(NamedTuple):
    """One file; `samples`: int16[n], of a bad one [0]."""

    reason: str
    note: str
    samples: np.ndarray
    gain: float


@dataclasses.dataclass(frozen=True)
class SoundFiles:
    """How the files of a folder are decoded.

    Attributes:
        root: the folder.
        rate: that all are resampled to, in Hz.
        max_seconds: a longer file is bad.
        formats: that a file may have.
        loudness: the level, if any.
    """

    root: pathlib.Path
    rate: int
    max_seconds: float
    formats: tuple[str, ...]
    loudness: Loudness | None

    def path(self, name: str) -> bytes:
        """Returns the path of a file, whatever bytes are in it."""
        return os.fsencode(self.root / name)

    def read_again(self, name: str, start: int, count: int) -> np.ndarray:
        """Returns samples of a file that was good once: int16[count].

        Raises:
            DataError: it is bad by now, or another one.
        """
        limits = {"max_seconds": self.max_seconds, "formats": self.formats}
        try:
            sound = read_sound(self.path(name), self.rate, start=start, count=count, **limits)
        except BadSound as error:
            raise self._changed(name, str(error)) from error
        if len(sound.samples) != count:
            raise self._changed(name, "it is shorter")
        return sound.samples

    def _changed(self, name: str, reason: str) -> DataError:
        path = name_text(str(self.root / name))
        return DataError(f"{path} was good when the run began, now: {reason}")

    def _decode(self, name: str) -> _Decoded:
        limits = {"max_seconds": self.max_seconds, "formats": self.formats}
        try:
            sound = read_sound(self.path(name), self.rate, **limits)
        except BadSound as error:
            return _Decoded(str(error)[:_TEXT], "", np.zeros(0, np.int16), 1.0)
        gain = 1.0 if self.loudness is None else float(self.loudness.gain(sound.samples))
        return _Decoded("", "; ".join(sound.notes)[:_TEXT], sound.samples, gain)

    def read_all(
        self, names: Sequence[str], cache_bytes: int
    ) -> tuple[Verdicts, "FlatClips | FileClips"]:
        """Decodes all files, or loads the cached verdicts on these very files; the clips, one per
        file, stay in memory if they take at most `cache_bytes`.
        """
        level = None if self.loudness is None else self.loudness.db
        key = [str(self.root.absolute()), self.rate, self.max_seconds, self.formats, level]
        key += [library_version(), stamps(self.root, names)]
        table = cache.load("sounds", key)
        if table is not None and _is_table(table, len(names)):
            verdicts = Verdicts(**table)
            if verdicts.length.sum() * 2 > cache_bytes:
                return verdicts, FileClips(self, tuple(names), verdicts.length)
        verdicts, samples = self._decode_all(names, cache_bytes)
        if samples is not None:
            return verdicts, FlatClips.joined(samples)
        cache.store("sounds", key, verdicts._asdict())
        return verdicts, FileClips(self, tuple(names), verdicts.length)

    def _decode_all(
        self, names: Sequence[str], cache_bytes: int
    ) -> tuple[Verdicts, list[np.ndarray] | None]:
        """Returns the samples of each file, or None where these are too many."""
        rows: list[tuple] = []
        samples: list[np.ndarray] | None = []
        size = 0
        # Shown on a terminal only, and only where this takes a while.
        shown = {"desc": f"folder {self.root}", "delay": 2.0, "disable": None, "leave": False}
        with tqdm.tqdm(total=len(names), **shown) as bar:
            for decoded in in_order(self._decode, names):
                bar.update()
                rows.append((decoded.reason, decoded.note, len(decoded.samples), decoded.gain))
                size += decoded.samples.nbytes
                if samples is not None and size <= cache_bytes:
                    samples.append(decoded.samples)
                else:
                    samples = None
        columns = zip(zip(*rows, strict=True), (str, str, np.int64, np.float32), strict=True)
        return Verdicts(*(np.array(column, dtype) for column, dtype in columns)), samples


def _is_table(table: dict[str, np.ndarray], num: int) -> bool:
    """Whether what was cached is what it must be."""
    kinds = {name: array.dtype.kind for name, array in table.items()}
    return kinds == _COLUMNS and all(array.shape == (num,) for array in table.values())


@dataclasses.dataclass(frozen=True)
class FileClips:
    """Clips that are read from their files at each visit; see `Clips`.

    Attributes:
        files: how.
        names: of the files, relative to the folder.
        lengths: int64[n], the samples of each.
    """

    files: SoundFiles
    names: tuple[str, ...]
    lengths: np.ndarray

    def subset(self, rows: np.ndarray) -> "FileClips":
        """The clips `rows` alone."""
        names = tuple(self.names[row] for row in rows)
        return dataclasses.replace(self, names=names, lengths=self.lengths[rows])

    def read(self, index: int, start: int, stop: int) -> np.ndarray:
        """See `Clips.read`."""
        return self.files.read_again(self.names[index], start, stop - start)
