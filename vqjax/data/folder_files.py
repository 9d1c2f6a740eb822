"""Decoding the picture files of a folder: all of them once, or one."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from vqjax.data import augment as augmentation
from vqjax.data import cache
from vqjax.data.listing import name_text, stamps
from vqjax.data.tf_data import decode_once, tensorflow
from vqjax.media.image import FIRST_FORMATS, BadPicture, read_square
from vqjax.types import DataError

_REASON_LENGTH = 120


@dataclasses.dataclass(frozen=True)
class PictureFiles:
    """How the files of a folder are decoded.

    Attributes:
        root: the folder.
        side: of the squares that come out, in pixels.
        channels: 1 or 3.
        max_pixels: a file with more is bad.
        formats: that a file may have.
    """

    root: pathlib.Path
    side: int
    channels: int
    max_pixels: int
    formats: tuple[str, ...]

    def path(self, name: str) -> bytes:
        """Returns the path of a picture, whatever bytes are in it."""
        return os.fsencode(self.root / name)

    def read(self, path: bytes) -> np.ndarray:
        """Returns uint8[side, side, channels]; see `read_square`."""
        return read_square(path, self.side, self.channels, self.max_pixels, self.formats)

    def read_again(self, path: bytes) -> np.ndarray:
        """Does the same for a file that was good once.

        Raises:
            DataError: it is bad by now.
        """
        try:
            return self.read(path)
        except BadPicture as error:
            name = name_text(os.fsdecode(path))
            raise DataError(f"{name} was good when the run began, now: {error}") from error

    def verdicts(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Decodes all files, or loads the cached result for these very files:
        {"reason": str[n], why a file is bad, or ""}.
        """
        key = [str(self.root.absolute()), self.max_pixels, stamps(self.root, names)]
        if self.formats != FIRST_FORMATS:
            key.append(self.formats)
        table = cache.load("folders", key)
        if table is None or set(table) != {"reason"}:
            table = self.read_all(names, (), None)
            cache.store("folders", key, table)
        return table

    def read_all(
        self, names: Sequence[str], fixed: tuple[augmentation.Transform, ...], shape: Any
    ) -> dict[str, np.ndarray]:
        """Decodes all files: {"reason": str[n], "image": uint8[n, *shape] unless shape is None}."""
        tf = tensorflow()
        blank = np.zeros(shape or (), np.uint8)

        def read(path: bytes) -> list:
            try:
                image = self.read(path)
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
        paths = [self.path(name) for name in names]
        table = decode_once(
            lambda: tf.data.Dataset.from_tensor_slices(paths),
            len(names),
            decode,
            specs,
            f"folder {self.root}",
        )
        table["reason"] = np.array([r.decode("utf-8", "replace") for r in table["reason"]], str)
        return table
