"""scikit-learn's scanned digits: part of its package, so they need no files and no network."""

import dataclasses
import functools
import hashlib

import numpy as np

from vqjax.config.annotations import check_fields
from vqjax.data import augment as augmentation
from vqjax.data.arrays import finished_spec, open_arrays
from vqjax.data.source import Split, SplitSource
from vqjax.types import ArraySpec, UsageError

__all__ = ["Digits"]

NUM_TRAIN = 1_500
NUM_TEST = 297
_SPECS = {"image": ArraySpec((8, 8, 1), "uint8"), "label": ArraySpec((), "int32")}


@functools.cache
def split_indices() -> dict[str, list[int]]:
    """Returns {"train" or "eval": numbers of its digits in scikit-learn's file}: for evaluation the
    297 whose number has the smallest sha256.
    """
    numbers = range(NUM_TRAIN + NUM_TEST)
    ranked = sorted(numbers, key=lambda i: hashlib.sha256(str(i).encode()).digest())
    return {"train": sorted(ranked[NUM_TEST:]), "eval": sorted(ranked[:NUM_TEST])}


def _load(part: str) -> dict[str, np.ndarray]:
    """Digits of 13 people, scanned, reduced to 8 x 8 pixels of 17 levels, 0 to 255 here."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UsageError(
            f"the digits come with scikit-learn, which cannot be imported ({error}): "
            "pip install scikit-learn"
        ) from error
    digits, chosen = load_digits(), split_indices()[part]
    images = np.rint(digits.images[chosen] * (255 / 16)).astype(np.uint8)
    return {"image": images[..., None], "label": digits.target[chosen]}


@dataclasses.dataclass(frozen=True)
class Digits(SplitSource):
    """1,797 handwritten digits, uint8 [8, 8, 1], 1,500 for training and 297 for evaluation.

    The test part of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (UCI,
    1998, doi:10.24432/C50P49, CC BY 4.0), as it comes with scikit-learn.

    Attributes:
        augment: transforms of "image".
        data_dir: of records of earlier versions, which kept a copy there; nothing is read.
    """

    augment: tuple[augmentation.Transform, ...] = ()
    data_dir: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    def _open(self, part: str) -> Split:
        num = NUM_TRAIN if part == "train" else NUM_TEST
        return open_arrays(_SPECS, num, lambda: _load(part), self.augment)

    def check(self) -> None:
        """See `Source.check`."""
        super().check()
        _load("eval")

    def example_spec(self) -> dict[str, ArraySpec]:
        """See `Source.example_spec`."""
        return finished_spec(_SPECS, self.augment)

    def notes(self) -> list[str]:
        """See `Source.notes`."""
        return [
            "data: Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI "
            "(CC BY 4.0), from scikit-learn"
        ]
