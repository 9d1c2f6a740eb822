"""A folder of sound; needs no TensorFlow."""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vqjax.config.annotations import check_fields
from vqjax.data.folder_captions import read_captions
from vqjax.data.in_threads import in_order
from vqjax.data.listing import (
    SOUND,
    Layout,
    check_formats,
    chosen_for_eval,
    counted,
    layout_of,
    list_folder,
    name_text,
    named,
    report_bad,
)
from vqjax.data.name_patterns import check_pattern, held_out, left_in
from vqjax.data.several import Several, pick, subset
from vqjax.data.sound import (
    RANDOM,
    FlatClips,
    Loudness,
    SoundSource,
    SoundSplit,
    Window,
    sound_spec,
)
from vqjax.data.sound_files import FileClips, SoundFiles, Verdicts
from vqjax.data.source import Visits
from vqjax.media.audio import ENDS_EARLY, FORMATS, MAX_SECONDS, check_rate
from vqjax.paths import as_path
from vqjax.types import ArraySpec, DataError, UsageError, did_you_mean

__all__ = ["SoundFolder"]

LABEL, CAPTION = "label", "caption"
_ODD = 10  # files with something odd that one note names
_TOP = "."  # the name of the class of files at the top


@dataclasses.dataclass(frozen=True)
class _Scan:
    """What is in the folder; arrays go with the clips, one per good file."""

    clips: FlatClips | FileClips
    labels: np.ndarray  # int32[n]
    classes: tuple[str, ...]
    gains: np.ndarray  # float32[n]
    captions: np.ndarray | Several | None  # uint8[n, caption_bytes] where they are requested
    chosen: np.ndarray  # bool[n], for evaluation
    notes: tuple[str, ...]


def _with_captions(spec: dict[str, ArraySpec], caption_bytes: int) -> dict[str, ArraySpec]:
    caption = {CAPTION: ArraySpec((caption_bytes,), "uint8")} if caption_bytes else {}
    return {**spec, **caption}


def oddities(names: Sequence[str], notes: Sequence[str]) -> list[str]:
    """Returns a line on files that are used though something is odd."""
    odd = [f"{name_text(n)} ({note})" for n, note in zip(names, notes, strict=True) if note]
    return [f"used, but odd: {len(odd):,} files: {named(odd, _ODD)}"] if odd else []


class FolderSoundSplit(SoundSplit):
    """A split with captions, where `captions` is not None, whose batches are made in threads where
    clips are read from files.
    """

    def __init__(self, *arguments: Any, captions: np.ndarray | Several | None):
        super().__init__(*arguments)
        self._captions = captions

    def spec(self) -> dict[str, ArraySpec]:
        """See `Split.spec`."""
        values = getattr(self._captions, "values", self._captions)
        return _with_captions(super().spec(), 0 if values is None else values.shape[1])

    def at_hand(self, name: str) -> np.ndarray | None:
        """See `SplitSource.at_hand`."""
        if name == CAPTION and isinstance(self._captions, np.ndarray):
            return self._captions
        return super().at_hand(name)

    def batches(self, visits: Visits) -> Iterator[dict[str, np.ndarray]]:
        """See `Split.batches`."""
        if isinstance(self._clips, FlatClips):
            return (self._at(visits, step) for step in visits.steps())
        return in_order(functools.partial(self._at, visits), visits.steps())

    def _at(self, visits: Visits, step: int) -> dict[str, np.ndarray]:
        batch = next(super().batches(dataclasses.replace(visits, start=step)))
        positions, indices, _ = visits.at(step)
        return self._captioned(batch, indices, visits.seed, positions)

    def clips(self, indices: np.ndarray, samples: int) -> dict[str, np.ndarray]:
        """See `SoundSource.clips`."""
        batch = super().clips(indices, samples)
        return self._captioned(batch, batch["example_id"], None, indices)

    def _captioned(
        self,
        batch: dict[str, np.ndarray],
        indices: np.ndarray,
        seed: int | None,
        positions: np.ndarray,
    ) -> dict[str, np.ndarray]:
        if self._captions is None:
            return batch
        return {**batch, CAPTION: pick(self._captions, indices, seed, positions)}


@dataclasses.dataclass(frozen=True)
class SoundFolder(SoundSource):
    """Sound under a directory, at any depth, of any rate and number of channels: wav, flac, ogg,
    opus, mp3, aiff, by their content. Channels are averaged, rates resampled.

    The class of a file is the first directory of its relative path, and a hash of that path says
    whether it is for training or for evaluation; or there are train/, val/ and test/: all as in
    `Folder`, and so are captions.

    Every file is decoded once before the first step. If all clips take at most `cache_bytes` they
    are kept in memory; else only the verdict is, on disk too, and windows are read at each visit:
    WAV, FLAC and AIFF files at their place, the others as a whole.

    Attributes:
        path: of the directory.
        rate: samples per second that all files are resampled to.
        samples: T of the window.
        eval_fraction: share of the files held out for evaluation, in [0, 1].
        hold_out: regular expression, searched in the relative paths: what it finds is for
            evaluation, and `eval_fraction` does not count.
        leave_out: likewise; what it finds is for neither training nor evaluation.
        crop: where the window begins in training: "random", drawn anew at each visit, or "start".
        shift: samples by which crop="start" is late in training, at most, drawn anew at each visit.
        loudness: the level that clips are brought to; None: as they are.
        max_seconds: a longer file is bad; it is not decoded.
        cache_bytes: largest size of all clips, as int16, that is kept in memory.
        on_bad: "skip" leaves bad files out and names them, and uses what there is of one that ends
            early; "fail" raises DataError for both.
        caption_bytes: length of "caption"; 0: no captions.
        formats: of the files that are read; files of other formats are counted in `notes`. None:
            all that can be read here, or those of the run which is resumed.
    """

    path: str
    rate: int
    samples: int
    eval_fraction: float = 0.1
    hold_out: str | None = None
    leave_out: str | None = None
    crop: str = RANDOM
    loudness: Loudness | None = None
    max_seconds: float = MAX_SECONDS
    cache_bytes: int = 1 << 30
    on_bad: str = "skip"
    caption_bytes: int = 0
    formats: tuple[str, ...] | None = None
    shift: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        self._check_window()
        try:
            check_rate(self.rate)
        except UsageError as error:
            raise UsageError(f"SoundFolder: {error}") from error
        if self.on_bad not in ("skip", "fail"):
            raise UsageError(f"SoundFolder: on_bad is 'skip' or 'fail', got {self.on_bad!r}")
        if not 0 <= self.eval_fraction <= 1:
            got = repr(self.eval_fraction)
            raise UsageError(f"SoundFolder: eval_fraction lies in [0, 1], got {got}")
        if not 0 < self.max_seconds < math.inf:
            raise UsageError(f"SoundFolder: max_seconds is more than 0, got {self.max_seconds!r}")
        for name in ("cache_bytes", "caption_bytes"):
            if getattr(self, name) < 0:
                raise UsageError(f"SoundFolder: {name} is 0 or more, got {getattr(self, name)!r}")
        for name in ("hold_out", "leave_out"):
            if getattr(self, name) is not None:
                check_pattern(f"SoundFolder: {name}", getattr(self, name))
        check_formats("SoundFolder", self.formats, FORMATS)

    def fitted(self, before: Any = None) -> "SoundFolder":
        """This folder with `formats` set: those of `before`, the result of an earlier start of the
        run, or else all.
        """
        if self.formats:
            return self
        earlier = before.formats if isinstance(before, SoundFolder) else None
        return dataclasses.replace(self, formats=earlier or tuple(FORMATS))

    @property
    def _root(self) -> pathlib.Path:
        return as_path(self.path, "SoundFolder.path")

    @functools.cached_property
    def _scan(self) -> _Scan:
        """Decodes every file once; DataError where nothing is left, or for `on_bad`."""
        formats = self.formats or tuple(FORMATS)
        listing = list_folder(self._root, formats, SOUND)
        kept = left_in("SoundFolder", listing.names, self.leave_out)
        layout = layout_of([listing.names[i] for i in np.flatnonzero(kept)], medium=SOUND)
        names, chosen = layout.names, self._chosen(layout)
        files = SoundFiles(self._root, self.rate, self.max_seconds, formats, self.loudness)
        verdicts, clips = files.read_all(names, self.cache_bytes)
        notes = self._report(names, verdicts, listing.unreadable)
        if listing.others:
            notes.append(f"left out, of formats that are not read: {counted(listing.others)}")
        if not kept.all():
            notes.append(f"left out by leave_out: {np.count_nonzero(~kept):,} files")
        notes += layout.notes
        rows = np.flatnonzero(verdicts.reason == "")
        good = tuple(names[row] for row in rows)
        captions, caption_notes = None, []
        if self.caption_bytes:
            every, length = frozenset(listing.names), self.caption_bytes
            captions, caption_notes = read_captions(
                self._root, good, listing.files, every, length, what=SOUND.name
            )
        return _Scan(
            clips=clips.subset(rows),
            labels=layout.labels[rows],
            classes=tuple(name_text(name) or _TOP for name in layout.classes),
            gains=verdicts.gain[rows],
            captions=captions,
            chosen=(chosen_for_eval(good, self.eval_fraction) if chosen is None else chosen[rows]),
            notes=(*notes, *caption_notes),
        )

    def _report(
        self, names: Sequence[str], verdicts: Verdicts, unreadable: Sequence[str]
    ) -> list[str]:
        """Returns the lines about bad files and odd ones, or raises them, as `on_bad` says."""
        reasons, odd = verdicts.reason.tolist(), verdicts.note.tolist()
        if self.on_bad == "fail":
            both = zip(reasons, odd, strict=True)
            reasons = [reason or (note if ENDS_EARLY in note else "") for reason, note in both]
        notes = report_bad(self._root, names, reasons, unreadable, self.on_bad, SOUND)
        return [*notes, *oddities(names, odd)]

    def _chosen(self, layout: Layout) -> np.ndarray | None:
        """Returns which files are for evaluation, bool[n]; None: a hash of each says it."""
        if self.hold_out is None:
            return layout.held_out
        if layout.held_out is not None:
            raise DataError(
                f"folder {self._root}: hold_out={self.hold_out!r} is one division, and its "
                f"directories are another ({layout.notes[0]}): leave hold_out out"
            )
        _, evaluation = held_out("SoundFolder", layout.names, self.hold_out)
        chosen = np.zeros(len(layout.names), bool)
        chosen[evaluation] = True
        return chosen

    def _open(self, part: str) -> SoundSplit:
        scan = self._scan
        members = np.flatnonzero(scan.chosen == (part == "eval"))
        captions = None if scan.captions is None else subset(scan.captions, members)
        return FolderSoundSplit(
            scan.clips.subset(members),
            Window(self.samples, self.crop, self.shift),
            self.rate,
            self.loudness,
            {LABEL: scan.labels[members]},
            scan.gains[members],
            captions=captions,
        )

    def at_hand(self, part: str, name: str) -> np.ndarray | None:
        """See `SplitSource.at_hand`."""
        return super().at_hand(part, name) if "_scan" in self.__dict__ else None

    def class_names(self, name: str) -> tuple[str, ...]:
        """See `SoundSource.class_names`."""
        if name != LABEL:
            raise UsageError(f"SoundFolder: no classes {name!r}: {did_you_mean(name, [LABEL])}")
        return self._scan.classes

    def example_spec(self) -> dict[str, ArraySpec]:
        """See `Source.example_spec`; known without the files."""
        spec = sound_spec(self.samples, self.rate, self.loudness, [LABEL])
        return _with_captions(spec, self.caption_bytes)

    def notes(self) -> list[str]:
        """See `Source.notes`: which files are left out and why, which are odd, what directories
        mean.
        """
        return list(self._scan.notes)
