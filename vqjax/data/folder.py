"""A folder of pictures."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from vqjax.config.annotations import check_fields
from vqjax.data import augment as augmentation
from vqjax.data.arrays import ArraySplit, finished_spec
from vqjax.data.keep import keep, recall
from vqjax.data.listing import chosen_for_eval, labels_of, picture_names, printable, stamps
from vqjax.data.pictures import BadPicture, read_picture
from vqjax.data.source import Split, SplitSource
from vqjax.data.texts import read_captions
from vqjax.data.tf_data import StreamSplit, decode_once, tensorflow
from vqjax.types import ArraySpec, DataError, UsageError

__all__ = ["Folder"]

_NAMED = 50  # bad files that one message names
_REASON_LENGTH = 120


@dataclasses.dataclass(frozen=True)
class _Scan:
    """What is in the folder; arrays and tuples go with `names`, which are relative to it."""

    names: tuple[str, ...]
    labels: np.ndarray  # int32[n]
    captions: np.ndarray | None  # uint8[n, caption_bytes] where they are asked for
    chosen: np.ndarray  # bool[n], for evaluation; all of these without the bad files
    images: np.ndarray | None  # uint8[files, H, W, C] where they are kept
    rows: np.ndarray  # int64[n], each name's row of `images`
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Folder(SplitSource):
    """Pictures under a directory: jpeg, png, webp, gif and bmp, at any depth, of any size.

    The class of a picture is the first directory of its relative path: classes are numbered from 0
    in the order of their names; where pictures lie at the top, these are class 0 and the
    directories follow. Whether a picture is for training or for evaluation depends on a hash of its
    relative path: it stays so whatever is added to the folder. (One exception: where the hashes
    would leave a side empty, as they may in a small folder, one picture changes sides.)

    Every file is decoded once before the first step. If the result takes at most `cache_bytes` it
    is kept in memory; else only the verdict is, on disk too, and files are decoded at each visit.

    Attributes:
        path: of the directory.
        image_size: height and width of the pictures in a batch.
        eval_fraction: share of the pictures kept for evaluation, in [0, 1].
        resize: the shorter side is resized to this and the middle square is taken, from which
            `augment` may crop; None: `image_size`. What is larger than `image_size` in the end is
            cut to its middle.
        on_bad: "skip" leaves bad files out and names them; "fail" raises DataError.
        augment: transforms of "image".
        channels: 3 (RGB) or 1 (grey).
        max_pixels: a file with more pixels is bad; it is not decoded.
        cache_bytes: largest decoded size that is kept in memory.
        caption_bytes: length of "caption", uint8 [caption_bytes]: UTF-8 with zeros behind it, cut
            after the last whole character that fits; 0: no captions. The caption of a/b.png is in
            a/b.txt, or in captions.csv (columns `file` and `caption`) or captions.jsonl (such keys)
            at the top; without one it is empty.
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

    def __post_init__(self) -> None:
        check_fields(self)
        if self.on_bad not in ("skip", "fail"):
            raise UsageError(f"Folder: on_bad is 'skip' or 'fail', got {self.on_bad!r}")
        if self.channels not in (1, 3):
            raise UsageError(f"Folder: channels is 1 or 3, got {self.channels!r}")
        if not 0 <= self.eval_fraction <= 1:
            raise UsageError(f"Folder: eval_fraction lies in [0, 1], got {self.eval_fraction!r}")
        if self.image_size < 1 or self._stored.shape[0] < self.image_size:
            raise UsageError(
                "Folder: resize must be at least image_size, and that at least 1; got "
                f"resize={self.resize!r}, image_size={self.image_size!r}"
            )
        if self.caption_bytes < 0:
            raise UsageError(f"Folder: caption_bytes is 0 or more, got {self.caption_bytes!r}")

    @property
    def _root(self) -> pathlib.Path:
        return pathlib.Path(self.path).expanduser()

    @property
    def _stored(self) -> ArraySpec:
        """Of one file as it is decoded."""
        side = self.image_size if self.resize is None else self.resize
        return ArraySpec((side, side, self.channels), "uint8")

    def _specs(self) -> dict[str, ArraySpec]:
        """Of one example before any transform."""
        specs = {"image": self._stored, "label": ArraySpec((), "int32")}
        if self.caption_bytes:
            specs["caption"] = ArraySpec((self.caption_bytes,), "uint8")
        return specs

    def _transforms(self) -> tuple[augmentation.Transform, ...]:
        height, width, _ = augmentation.shape_after(self.augment, self._stored.shape)
        if min(height, width) < self.image_size:
            raise UsageError(
                f"Folder: augment leaves {height}x{width}, less than image_size={self.image_size}"
            )
        if height == width == self.image_size:
            return self.augment
        return (*self.augment, augmentation.CenterCrop(self.image_size))

    @functools.cached_property
    def _scan(self) -> _Scan:
        """Decodes every file once; DataError where nothing is left, or for `on_bad`."""
        names, unreadable = picture_names(self._root)
        fixed, _ = augmentation.divide(self._transforms())
        shape = augmentation.shape_after(fixed, self._stored.shape)
        if len(names) * int(np.prod(shape)) <= self.cache_bytes:
            table = self._decode_all(names, fixed, shape)
        else:
            key = [str(self._root.absolute()), self.max_pixels, stamps(self._root, names)]
            table = recall("folders", key)
            if table is None or set(table) != {"reason"}:
                table = self._decode_all(names, (), None)
                keep("folders", key, table)
        reasons = table["reason"].tolist()
        rows = np.array([i for i, reason in enumerate(reasons) if not reason], np.int64)
        bad = [f"{printable(n)} ({r})" for n, r in zip(names, reasons, strict=True) if r]
        notes = self._judge(names, bad, unreadable)
        good = tuple(names[i] for i in rows)
        captions = None
        if self.caption_bytes:
            captions, more = read_captions(self._root, good, set(names), self.caption_bytes)
            notes = (*notes, *more)
        return _Scan(
            names=good,
            labels=labels_of(names)[rows],
            captions=captions,
            chosen=chosen_for_eval(good, self.eval_fraction),
            images=table.get("image"),
            rows=rows,
            notes=notes,
        )

    def _decode_all(
        self, names: Sequence[str], fixed: tuple[augmentation.Transform, ...], shape: Any
    ) -> dict[str, np.ndarray]:
        """Decodes all files: {"reason": str[n], "image": uint8[n, *shape] unless shape is None}."""
        tf = tensorflow()
        blank = np.zeros(shape or (), np.uint8)

        def read(path: bytes) -> list:
            try:
                image = read_picture(path, self._stored.shape[0], self.channels, self.max_pixels)
            except BadPicture as error:
                return [str(error)[:_REASON_LENGTH].encode(), blank]
            if shape is None:
                return [b"", blank]
            return [b"", augmentation.apply(fixed, image[None], None, np.zeros(1))[0]]

        def decode(path: Any, calls: Any) -> dict[str, Any]:
            results = [("string", ()), ("uint8", blank.shape)]
            reason, image = calls.tensors(read, [path], results)
            return {"reason": reason} if shape is None else {"reason": reason, "image": image}

        specs: dict[str, tuple] = {"reason": ("object", ())}
        if shape is not None:
            specs["image"] = ("uint8", shape)
        paths = [os.fsencode(self._root / name) for name in names]
        table = decode_once(
            lambda: tf.data.Dataset.from_tensor_slices(paths),
            len(names),
            decode,
            specs,
            f"folder {self._root}",
        )
        table["reason"] = np.array([r.decode("utf-8", "replace") for r in table["reason"]], str)
        return table

    def _judge(self, names: list[str], bad: list[str], unreadable: list[str]) -> tuple[str, ...]:
        """Returns the lines about what was left out, or raises them."""
        listed = ", ".join(bad[:_NAMED])
        if len(bad) > _NAMED:
            listed += f" and {len(bad) - _NAMED:,} more"
        count = f"{len(bad):,} of {len(names):,} files"
        if len(bad) == len(names):
            raise DataError(f"folder {self._root} has no readable picture: {listed}")
        if self.on_bad == "fail" and (bad or unreadable):
            raise DataError(
                f"folder {self._root} has bad files and on_bad='fail': "
                + "; ".join(filter(None, (f"{count}: {listed}" if bad else "", *unreadable)))
            )
        notes = [f"skipped {count}: {listed}"] if bad else []
        return (*notes, *(f"skipped a folder that cannot be listed: {u}" for u in unreadable))

    def _open(self, part: str) -> Split:
        scan = self._scan
        ours = np.flatnonzero(scan.chosen == (part == "eval"))
        specs = self._specs()
        transforms = self._transforms()
        if scan.images is None:
            return self._stream(scan, ours, specs, transforms)
        fixed, each_visit = augmentation.divide(transforms)
        specs["image"] = ArraySpec(scan.images.shape[1:], "uint8")
        arrays = {"image": scan.images, "label": _by_row(scan, scan.labels)}
        if scan.captions is not None:
            arrays["caption"] = _by_row(scan, scan.captions)
        return ArraySplit(len(ours), specs, lambda: arrays, each_visit, rows=scan.rows[ours])

    def _stream(
        self, scan: _Scan, ours: np.ndarray, specs: dict[str, ArraySpec], transforms: Any
    ) -> Split:
        """Returns the split of files `ours` that is decoded at each visit."""
        known = {"label": scan.labels[ours]}
        if scan.captions is not None:
            known["caption"] = scan.captions[ours]

        def fetch(indices: np.ndarray) -> list[bytes]:
            return [os.fsencode(self._root / scan.names[ours[i]]) for i in indices]

        def read(path: bytes) -> list[np.ndarray]:
            try:
                shape = self._stored.shape
                return [read_picture(path, shape[0], self.channels, self.max_pixels)]
            except BadPicture as error:
                name = printable(os.fsdecode(path))
                raise DataError(f"{name} was good when the run began, now: {error}") from error

        def decode(path: Any, index: Any, calls: Any) -> dict[str, Any]:
            (image,) = calls.tensors(read, [path], [("uint8", self._stored.shape)])
            gather = tensorflow().gather
            return {"image": image, **{name: gather(a, index) for name, a in known.items()}}

        return StreamSplit(len(ours), specs, fetch, decode, transforms, f"folder {self._root}")

    def example_spec(self) -> dict[str, ArraySpec]:
        """See `Source.example_spec`; known without the files."""
        return finished_spec(self._specs(), self._transforms())

    def notes(self) -> list[str]:
        """See `Source.notes`: which files were skipped and why; what is odd about captions."""
        return list(self._scan.notes)


def _by_row(scan: _Scan, values: np.ndarray) -> np.ndarray:
    """Returns `values` [n, ...] in the order of `scan.images`, whose bad rows nobody asks for."""
    result = np.zeros((len(scan.images), *values.shape[1:]), values.dtype)
    result[scan.rows] = values
    return result
