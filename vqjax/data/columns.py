"""The columns of a table of pairs: pictures, sound, words."""

import dataclasses
import math
import os
import pathlib
import posixpath
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from vqjax.config.annotations import check_fields
from vqjax.data.arrays import ArraySplit, finished_spec
from vqjax.data.bpe import BPE
from vqjax.data.bytes_vocabulary import Bytes
from vqjax.data.listing import check_formats
from vqjax.data.pictures import Pictures
from vqjax.data.sound import START, Loudness, Window, check_window, sound_spec
from vqjax.data.sound_files import SoundFiles
from vqjax.data.sound_folder import FolderSoundSplit, oddities
from vqjax.data.source import Split
from vqjax.data.text_ids import CHECKED, TextIds
from vqjax.data.wrapper import CAPTION
from vqjax.media.audio import ENDS_EARLY, FORMATS, MAX_SECONDS, BadSound, check_rate, read_header
from vqjax.media.image import readable_formats
from vqjax.types import ArraySpec, UsageError

Texts = Callable[[], Iterable[str]]


class Cells(NamedTuple):
    """What was read of the different cells of a column, n.

    Attributes:
        reasons: why each is bad, or "".
        notes: lines for the user.
        content: what the column makes examples of.
    """

    reasons: Sequence[str]
    notes: Sequence[str]
    content: Any


class FileColumn:
    """What columns of files have in common."""

    has_files = True

    @staticmethod
    def cell(root: pathlib.Path, written: str) -> str:
        """The file that a cell names: relative to the folder, "/" or "\\" in it.

        Raises:
            ValueError: no file has such a name.
        """
        if "\0" in written:
            raise ValueError("a zero byte")
        os.fsencode(written)
        name = posixpath.normpath(written)
        if os.path.lexists(root / name):
            return name
        other = posixpath.normpath(written.replace("\\", "/"))
        return other if os.path.lexists(root / other) else name

    def late_notes(self, names: Sequence[str]) -> list[str]:
        """Lines for the user that need a fitted column."""
        del names
        return []


@dataclasses.dataclass(frozen=True)
class ImageColumn(FileColumn, Pictures):
    """Pictures, one file a cell: "image", uint8[image_size, image_size, channels].

    Attributes:
        image_size: height and width of the pictures in a batch.
        resize: the shorter side is resized to this and the middle square is taken; see `Folder`.
        augment: transforms of "image".
        channels: 3 (RGB) or 1 (grey).
        max_pixels: a file with more pixels is bad; it is not decoded.
        cache_bytes: largest decoded size that is kept in memory.
        formats: of the files that are read. None: all that can be read here, or those of the run
            which is resumed.
    """

    def __post_init__(self) -> None:
        check_fields(self)
        self.check_settings("ImageColumn")

    def fitted(self, before: Any, texts: Texts) -> "ImageColumn":
        """This column with its `formats`: those of `before`, or all that can be read here."""
        del texts
        earlier = before.formats if isinstance(before, ImageColumn) else None
        return dataclasses.replace(self, formats=self.formats or earlier or readable_formats())

    def specs(self) -> dict[str, ArraySpec]:
        """Of one example; known without the files."""
        return finished_spec({"image": self.stored}, self.transforms("ImageColumn"))

    def read(self, root: pathlib.Path, names: Sequence[str], on_bad: str) -> Cells:
        """Decodes the files `names` once."""
        del on_bad
        table = self.read_files(root, names, "ImageColumn")
        return Cells(table["reason"].tolist(), (), table.get("image"))

    def split(self, root: pathlib.Path, names: Sequence[str], cells: Cells) -> Split:
        """All files as examples, by their index in `names`; bad ones cannot be read."""
        rows = np.arange(len(names))
        specs = {"image": self.stored}
        return self.split_of(root, names, cells.content, rows, specs, {}, "ImageColumn")


@dataclasses.dataclass(frozen=True)
class SoundColumn(FileColumn):
    """Sound, one file a cell, of any rate and number of channels: "audio", int16[samples, 1],
    "length" and, with a level, "gain"; see `SoundFolder`.

    Attributes:
        rate: samples per second that all files are resampled to.
        samples: T of the window.
        crop: where the window begins in training: "start", or "random", drawn anew at each visit.
        loudness: the level that clips are brought to; None: as they are.
        max_seconds: a longer file is bad; it is not decoded.
        cache_bytes: largest size of all clips, as int16, that is kept in memory.
        formats: of the files that are read. None: all, or those of the run which is resumed.
        shift: samples by which crop="start" is late in training, at most, drawn anew at each visit.
    """

    rate: int
    samples: int
    crop: str = START
    loudness: Loudness | None = None
    max_seconds: float = MAX_SECONDS
    cache_bytes: int = 1 << 30
    formats: tuple[str, ...] | None = None
    shift: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        check_window("SoundColumn", self.samples, self.crop, self.shift)
        try:
            check_rate(self.rate)
        except UsageError as error:
            raise UsageError(f"SoundColumn: {error}") from error
        if not 0 < self.max_seconds < math.inf:
            raise UsageError(f"SoundColumn: max_seconds is more than 0, got {self.max_seconds!r}")
        check_formats("SoundColumn", self.formats, FORMATS)

    def fitted(self, before: Any, texts: Texts) -> "SoundColumn":
        """This column with its `formats`: those of `before`, or all."""
        del texts
        earlier = before.formats if isinstance(before, SoundColumn) else None
        return dataclasses.replace(self, formats=self.formats or earlier or tuple(FORMATS))

    def specs(self) -> dict[str, ArraySpec]:
        """Of one example; known without the files."""
        return sound_spec(self.samples, self.rate, self.loudness, ())

    def read(self, root: pathlib.Path, names: Sequence[str], on_bad: str) -> Cells:
        """Decodes the files `names` once."""
        formats = self.formats or tuple(FORMATS)
        files = SoundFiles(root, self.rate, self.max_seconds, formats, self.loudness)
        verdicts, clips = files.read_all(names, self.cache_bytes)
        reasons, odd = verdicts.reason.tolist(), verdicts.note.tolist()
        if on_bad == "fail":
            both = zip(reasons, odd, strict=True)
            reasons = [reason or (note if ENDS_EARLY in note else "") for reason, note in both]
        good = [name for name, reason in zip(names, reasons, strict=True) if not reason]
        notes = [*self._resampled(files, good), *oddities(names, odd)]
        return Cells(reasons, notes, (clips, verdicts.gain))

    def _resampled(self, files: SoundFiles, names: Sequence[str]) -> list[str]:
        """A line on the rates of files that are resampled, where there are some."""
        rates = []
        for name in names:
            try:
                rates.append(read_header(files.path(name), files.formats).rate)
            except BadSound:  # another file by now: decoding it says so
                continue
        others = [rate for rate in rates if rate != self.rate]
        if not others:
            return []
        span = " to ".join(f"{rate:,}" for rate in dict.fromkeys((min(others), max(others))))
        return [
            f"resampled to {self.rate:,} Hz: {len(others):,} of {len(names):,} files ({span} Hz)"
        ]

    def split(self, root: pathlib.Path, names: Sequence[str], cells: Cells) -> Split:
        """See `ImageColumn.split`."""
        del root, names
        clips, gains = cells.content
        window = Window(self.samples, self.crop, self.shift)
        return FolderSoundSplit(clips, window, self.rate, self.loudness, {}, gains, captions=None)


@dataclasses.dataclass(frozen=True)
class TextColumn(TextIds):
    """Words, as they are written in the cell: "caption", int32[length]. White space becomes single
    spaces.

    The first start of a run fits a `BPE` to the texts of the training rows (the first 200,000), and
    keeps it in the run's record; `Bytes` need none of this.

    Attributes:
        vocabulary: of the ids.
        length: T, ids per text; shorter ones are padded with 0, longer ones are cut.
    """

    vocabulary: BPE | Bytes
    length: int

    has_files = False

    def __post_init__(self) -> None:
        check_fields(self)
        if self.length < 1:
            raise UsageError(f"TextColumn: length={self.length}: wanted at least 1")

    @staticmethod
    def cell(root: pathlib.Path, written: str) -> str:
        """The text that is meant; "" where there is none."""
        del root
        text = written.encode("utf-8", "replace").decode()  # no halves of surrogate pairs
        return " ".join(text.replace("\0", " ").split())

    def fitted(self, before: Any, texts: Texts) -> "TextColumn":
        """This column with its vocabulary: that of `before`, or one fitted to `texts()`."""
        earlier = before.vocabulary if isinstance(before, TextColumn) else None
        vocabulary = self.fitted_vocabulary(earlier, texts)
        return dataclasses.replace(self, vocabulary=vocabulary)

    def specs(self) -> dict[str, ArraySpec]:
        """Of one example."""
        return finished_spec({CAPTION: ArraySpec((self.length,), "int32")}, ())

    def read(self, root: pathlib.Path, names: Sequence[str], on_bad: str) -> Cells:
        """Takes the texts `names`, of which none is bad."""
        del root, on_bad
        return Cells([""] * len(names), (), None)

    def split(self, root: pathlib.Path, names: Sequence[str], cells: Cells) -> Split:
        """All texts as examples, by their index in `names`."""
        del root, cells
        specs = {CAPTION: ArraySpec((self.length,), "int32")}
        return ArraySplit(len(names), specs, lambda: {CAPTION: self.padded(names)[0]}, ())

    def late_notes(self, names: Sequence[str]) -> list[str]:
        """See `FileColumn.late_notes`."""
        return self.cut_notes(names[:CHECKED]) if self.vocabulary.is_fitted else []
