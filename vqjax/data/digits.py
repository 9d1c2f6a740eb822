"""scikit-learn's scanned digits, prepared at first use without a network."""

import dataclasses
import functools

from vqjax.config.annotations import check_fields
from vqjax.data import augment as augmentation
from vqjax.data.arrays import finished_spec
from vqjax.data.embedded import prepare_embedded
from vqjax.data.source import Split, SplitSource
from vqjax.data.tfds import TFDS
from vqjax.types import ArraySpec

__all__ = ["Digits"]

NAME = "digits"
NUM_TRAIN = 1_500
NUM_TEST = 297
_SPECS = {"image": ArraySpec((8, 8, 1), "uint8"), "label": ArraySpec((), "int32")}


@dataclasses.dataclass(frozen=True)
class Digits(SplitSource):
    """1,797 handwritten digits, uint8 [8, 8, 1], 1,500 for training and 297 for evaluation.

    "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (UCI, CC BY 4.0), as it
    comes with scikit-learn.

    Attributes:
        augment: transforms of "image".
        data_dir: where they are, or are prepared; None: TFDS_DATA_DIR, else ~/tensorflow_datasets,
            else the user's cache.
    """

    augment: tuple[augmentation.Transform, ...] = ()
    data_dir: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    @functools.cached_property
    def _source(self) -> TFDS:
        home, _ = prepare_embedded(NAME, self.data_dir)
        return TFDS(NAME, data_dir=home, augment=self.augment)

    def _open(self, part: str) -> Split:
        return self._source._open(part)

    def check(self) -> None:
        """See `Source.check`; prepares the digits where they are not yet."""
        self._source.check()

    def example_spec(self) -> dict[str, ArraySpec]:
        """See `Source.example_spec`; known without the files."""
        return finished_spec(_SPECS, self.augment)

    def num_train(self) -> int:
        """See `Source.num_train`."""
        return NUM_TRAIN

    def num_eval(self) -> int:
        """See `Source.num_eval`."""
        return NUM_TEST

    def notes(self) -> list[str]:
        """See `Source.notes`."""
        return [
            "data: Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI "
            "(CC BY 4.0), from scikit-learn"
        ]
