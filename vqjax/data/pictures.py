"""Picture files as examples: decoded once to squares of one size, then transformed."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vqjax.data import augment as augmentation
from vqjax.data.arrays import ArraySplit
from vqjax.data.folder_files import PictureFiles
from vqjax.data.listing import check_formats
from vqjax.data.several import Several, spread
from vqjax.data.source import Split
from vqjax.data.tf_data import StreamSplit
from vqjax.media.image import FORMATS, readable_formats
from vqjax.types import ArraySpec, UsageError


@dataclasses.dataclass(frozen=True)
class Pictures:
    """How picture files become the "image" of a batch; the attributes are those of `Folder`."""

    image_size: int
    resize: int | None = None
    augment: tuple[augmentation.Transform, ...] = ()
    channels: int = 3
    max_pixels: int = 64 << 20
    cache_bytes: int = 1 << 30
    formats: tuple[str, ...] | None = None

    def check_settings(self, what: str) -> None:
        """Refuses, with UsageError, settings that cannot work; `what`: whose they are."""
        if self.channels not in (1, 3):
            raise UsageError(f"{what}: channels is 1 or 3, got {self.channels!r}")
        if self.image_size < 1 or self.stored.shape[0] < self.image_size:
            raise UsageError(
                f"{what}: resize must be at least image_size, and that at least 1; got "
                f"resize={self.resize!r}, image_size={self.image_size!r}"
            )
        check_formats(what, self.formats, FORMATS)

    @property
    def stored(self) -> ArraySpec:
        """Of one file as it is decoded."""
        side = self.image_size if self.resize is None else self.resize
        return ArraySpec((side, side, self.channels), "uint8")

    def transforms(self, what: str) -> tuple[augmentation.Transform, ...]:
        """Those of a batch's pictures; UsageError where they leave too little."""
        height, width, _ = augmentation.shape_after(self.augment, self.stored.shape)
        if min(height, width) < self.image_size:
            raise UsageError(
                f"{what}: augment leaves {height}x{width}, less than image_size={self.image_size}"
            )
        if height == width == self.image_size:
            return self.augment
        return (*self.augment, augmentation.CenterCrop(self.image_size))

    def files(self, root: pathlib.Path) -> PictureFiles:
        """How the files of a folder are decoded."""
        formats = self.formats or readable_formats()
        return PictureFiles(root, self.stored.shape[0], self.channels, self.max_pixels, formats)

    def read_files(
        self, root: pathlib.Path, names: Sequence[str], what: str
    ) -> dict[str, np.ndarray]:
        """Decodes files once: {"reason": str[n], why one is bad, or ""}, and, where all pictures
        take at most `cache_bytes`, "image", uint8[n, H, W, C] after the fixed transforms.
        """
        fixed, _ = augmentation.divide(self.transforms(what))
        shape = augmentation.shape_after(fixed, self.stored.shape)
        if len(names) * int(np.prod(shape)) <= self.cache_bytes:
            return self.files(root).read_all(names, fixed, shape)
        return self.files(root).verdicts(names)

    def split_of(
        self,
        root: pathlib.Path,
        names: Sequence[str],
        images: np.ndarray | None,
        rows: np.ndarray,
        specs: Mapping[str, ArraySpec],
        loaded: Mapping[str, np.ndarray | Several],
        what: str,
    ) -> Split:
        """A split of good files.

        Args:
            root: the folder.
            names: of the files, relative to it.
            images: what `read_files` returned, of more files than these; None: they are decoded at
                each visit.
            rows: int64[n], the row in `images` of each.
            specs: of one example before any transform.
            loaded: {name: array[n, ...]}, the other arrays.
            what: whose pictures they are, for messages.
        """
        transforms = self.transforms(what)
        if images is not None:
            fixed, each_visit = augmentation.divide(transforms)
            specs = {**specs, "image": ArraySpec(images.shape[1:], "uint8")}
            arrays = {name: spread(array, rows, len(images)) for name, array in loaded.items()}
            arrays["image"] = images
            return ArraySplit(len(names), specs, lambda: arrays, each_visit, rows=rows)
        files = self.files(root)

        def fetch(indices: np.ndarray) -> list[bytes]:
            return [files.path(names[i]) for i in indices]

        def decode(path: Any, calls: Any) -> dict[str, Any]:
            results = [("uint8", self.stored.shape)]
            (image,) = calls.tensors(lambda path: [files.read_again(path)], [path], results)
            return {"image": image}

        folder = f"folder {root}"
        return StreamSplit(len(names), specs, fetch, decode, transforms, folder, loaded=loaded)
