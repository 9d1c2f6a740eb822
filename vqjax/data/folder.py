"""A folder of pictures."""

import dataclasses
import functools
import os
import pathlib
from typing import Any

import numpy as np

from vqjax.config.annotations import check_fields
from vqjax.data import augment as augmentation
from vqjax.data.arrays import finished_spec
from vqjax.data.folder_captions import read_captions
from vqjax.data.listing import (
    Listing,
    chosen_for_eval,
    counted,
    layout_of,
    list_folder,
    report_bad,
)
from vqjax.data.pictures import Pictures
from vqjax.data.several import Several, subset
from vqjax.data.source import Split, SplitSource
from vqjax.media.image import FIRST_FORMATS, FORMATS, is_readable, readable_formats, suffixes_of
from vqjax.paths import as_path
from vqjax.types import ArraySpec, DataError, UsageError

__all__ = ["Folder"]

READINGS = (1, 2)


@dataclasses.dataclass(frozen=True)
class _Scan:
    """What is in the folder; arrays and tuples go with `names`, which are relative to it."""

    names: tuple[str, ...]
    labels: np.ndarray  # int32[n]
    captions: np.ndarray | Several | None  # uint8[n, caption_bytes] where they are requested
    chosen: np.ndarray  # bool[n], for evaluation; all of these without the bad files
    images: np.ndarray | None  # uint8[files, H, W, C] where they are kept
    rows: np.ndarray  # int64[n], each name's row of `images`
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Folder(SplitSource):
    """Pictures under a directory, at any depth, of any size: jpeg, png, webp, gif, bmp, tiff, avif,
    and heic where `pillow-heif` is installed.

    The class of a picture is the first directory of its relative path: classes are numbered from 0
    in the order of their names; where pictures lie at the top, these are class 0 and the
    directories follow. Whether a picture is for training or for evaluation depends on a hash of its
    relative path: it stays so whatever is added to the folder. (One exception: where the hashes
    would leave a side empty, as they may in a small folder, one picture changes sides.)

    Where there is train/ at the top, and beside it no pictures but in val/ (valid/, validation/)
    and test/, these are splits instead, and the directories in them are the classes. Evaluation has
    val/, or test/ if there is no val/, or a share of train/ if there is neither.

    The caption of a/b.png is in a/b.png.txt, a/b.png.caption, a/b.txt or a/b.caption, else in a
    table in any of the folders above it: captions.csv, caption.csv, metadata.csv (columns `file`,
    `file_name`, `image` or `filename`, relative to the table, and `caption` or `text`), or .jsonl
    with such keys. Without one it is empty. Of several that a table has, training draws one at each
    visit by (seed, position), and evaluation takes the first.

    Every file is decoded once before the first step. If the result takes at most `cache_bytes` it
    is kept in memory; else only the verdict is, on disk too, and files are decoded at each visit.

    Attributes:
        path: of the directory.
        image_size: height and width of the pictures in a batch.
        eval_fraction: share of the pictures held out for evaluation, in [0, 1].
        resize: the shorter side is resized to this and the middle square is taken, from which
            `augment` may crop; None: `image_size`. What is larger than `image_size` in the end is
            cut to its middle.
        on_bad: "skip" leaves bad files out and names them; "fail" raises DataError.
        augment: transforms of "image".
        channels: 3 (RGB) or 1 (grey).
        max_pixels: a file with more pixels is bad; it is not decoded.
        cache_bytes: largest decoded size that is kept in memory.
        caption_bytes: length of "caption", uint8 [caption_bytes]: UTF-8 with zeros behind it, cut
            after the last whole character that fits; 0: no captions.
        reading: how the folder is read: 2 as above; 1 as runs did that were recorded without it:
            all directories are classes, captions are in a/b.txt, captions.csv or captions.jsonl at
            the top, and the first of several is the only one. None: 2, or that of the run which
            is resumed.
        formats: of the files that are read; files of other formats are counted in `notes`. None:
            all that can be read here, or those of the run which is resumed.
    """

    path: str
    image_size: int
    eval_fraction: float = 0.1
    resize: int | None = None
    on_bad: str = "skip"
    augment: tuple[augmentation.Transform, ...] = ()
    channels: int = 3
    max_pixels: int = 64 << 20
    cache_bytes: int = 1 << 30
    caption_bytes: int = 0
    # A record that is older than these fields means what vqjax did then (`config.tree.absent`).
    reading: int | None = dataclasses.field(default=None, metadata={"absent": 1})
    formats: tuple[str, ...] | None = dataclasses.field(
        default=None, metadata={"absent": FIRST_FORMATS}
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.on_bad not in ("skip", "fail"):
            raise UsageError(f"Folder: on_bad is 'skip' or 'fail', got {self.on_bad!r}")
        if not 0 <= self.eval_fraction <= 1:
            raise UsageError(f"Folder: eval_fraction lies in [0, 1], got {self.eval_fraction!r}")
        self._pictures.check_settings("Folder")
        if self.caption_bytes < 0:
            raise UsageError(f"Folder: caption_bytes is 0 or more, got {self.caption_bytes!r}")
        if self.reading is not None and self.reading not in READINGS:
            raise UsageError(f"Folder: reading is 1 or 2, got {self.reading!r}")

    def fitted(self, before: Any = None) -> "Folder":
        """This folder with `reading` and `formats` set: those of `before`, the result of an earlier
        start of the run, or else the newest.
        """
        if self.reading and self.formats:
            return self
        earlier = before if isinstance(before, Folder) else self
        return dataclasses.replace(
            self,
            reading=self.reading or earlier.reading or READINGS[-1],
            formats=self.formats or earlier.formats or readable_formats(),
        )

    @property
    def _root(self) -> pathlib.Path:
        return as_path(self.path, "Folder.path")

    @property
    def _pictures(self) -> Pictures:
        names = (field.name for field in dataclasses.fields(Pictures))
        return Pictures(**{name: getattr(self, name) for name in names})

    def _specs(self) -> dict[str, ArraySpec]:
        """Of one example before any transform."""
        specs = {"image": self._pictures.stored, "label": ArraySpec((), "int32")}
        if self.caption_bytes:
            specs["caption"] = ArraySpec((self.caption_bytes,), "uint8")
        return specs

    @property
    def _is_old(self) -> bool:
        return self.reading == 1

    @functools.cached_property
    def _scan(self) -> _Scan:
        """Decodes every file once; DataError where nothing is left, or for `on_bad`."""
        pictures = self._pictures
        listing = list_folder(self._root, pictures.files(self._root).formats)
        notes = self._other_formats(listing)
        layout = layout_of(listing.names, self._is_old)
        names = layout.names
        table = pictures.read_files(self._root, names, "Folder")
        reasons = table["reason"].tolist()
        rows = np.array([i for i, reason in enumerate(reasons) if not reason], np.int64)
        bad = report_bad(self._root, names, reasons, listing.unreadable, self.on_bad)
        notes = [*bad, *notes]
        good = tuple(names[i] for i in rows)
        captions, caption_notes = None, []
        if self.caption_bytes:
            every, length = frozenset(listing.names), self.caption_bytes
            captions, caption_notes = read_captions(
                self._root, good, listing.files, every, length, old=self._is_old
            )
        held_out = layout.held_out
        return _Scan(
            names=good,
            labels=layout.labels[rows],
            captions=captions,
            chosen=(
                chosen_for_eval(good, self.eval_fraction) if held_out is None else held_out[rows]
            ),
            images=table.get("image"),
            rows=rows,
            notes=(*notes, *layout.notes, *caption_notes),
        )

    def _other_formats(self, listing: Listing) -> list[str]:
        """Returns the line about pictures of formats that are not read.

        Raises:
            DataError: there are some of a format that is to be read, and cannot be here.
        """
        suffixes = {os.path.splitext(name)[1].lower() for name in listing.names}
        formats = self._pictures.files(self._root).formats
        for name in formats:
            present = suffixes.intersection(FORMATS[name].suffixes)
            if present and not is_readable(name):
                raise DataError(
                    f"folder {self._root} holds {name} files, which this machine cannot decode: "
                    f"pip install {FORMATS[name].package}"
                )
        if not listing.others:
            return []
        note = f"left out, of formats that are not read: {counted(listing.others)}"
        skipped = {f for f in FORMATS if any(s[1:] in listing.others for s in suffixes_of([f]))}
        if skipped - {"heic"}:
            note += f"; formats={formats}"
        if "heic" in skipped and not is_readable("heic"):
            note += "; heic needs pillow-heif installed when a run begins"
        return [note]

    def _members(self, part: str) -> np.ndarray:
        """Returns the indices of the pictures of `part` in the scan: int64[n]."""
        return np.flatnonzero(self._scan.chosen == (part == "eval"))

    def _open(self, part: str) -> Split:
        scan, members = self._scan, self._members(part)
        loaded = {"label": scan.labels}
        if scan.captions is not None:
            loaded["caption"] = scan.captions
        return self._pictures.split_of(
            self._root,
            [scan.names[i] for i in members],
            scan.images,
            scan.rows[members],
            self._specs(),
            {name: subset(array, members) for name, array in loaded.items()},
            "Folder",
        )

    def at_hand(self, part: str, name: str) -> np.ndarray | None:
        """See `SplitSource.at_hand`."""
        return self._scan.labels[self._members(part)] if name == "label" else None

    def example_spec(self) -> dict[str, ArraySpec]:
        """See `Source.example_spec`; known without the files."""
        return finished_spec(self._specs(), self._pictures.transforms("Folder"))

    def notes(self) -> list[str]:
        """See `Source.notes`: which files are left out and why, what directories mean, what is odd
        about captions.
        """
        return list(self._scan.notes)
