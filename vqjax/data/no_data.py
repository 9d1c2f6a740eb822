"""No source at all: the data of a run whose networks were made elsewhere."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from vqjax.config.annotations import check_fields
from vqjax.types import ArraySpec, DataError, UsageError

__all__ = ["NoData"]


@dataclasses.dataclass(frozen=True)
class NoData:
    """Says what examples are like, and has none: whatever reads them is refused with DataError.

    Attributes:
        shape: of an image, (*S, C).
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.shape) < 2 or min(self.shape) < 1:
            raise UsageError(f"data.shape={self.shape}: wanted sizes (*S, C) of at least 1")

    def example_spec(self) -> dict[str, ArraySpec]:
        """See `Source.example_spec`."""
        return {"image": ArraySpec(self.shape, "uint8")}

    def train(
        self, batch_size: int, seed: int, start_step: int, rows: np.ndarray
    ) -> Iterator[dict[str, np.ndarray]]:
        """See `Source.train`."""
        raise self._missing()

    def eval(self, batch_size: int, rows: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        """See `Source.eval`."""
        raise self._missing()

    def num_train(self) -> int:
        """See `Source.num_train`."""
        raise self._missing()

    def num_eval(self) -> int:
        """See `Source.num_eval`."""
        raise self._missing()

    def check(self) -> None:
        """See `Source.check`."""
        raise self._missing()

    def notes(self) -> list[str]:
        """See `Source.notes`."""
        return []

    def _missing(self) -> DataError:
        size = self.shape[0]
        return DataError(
            "this run came without data: name some by --data "
            f"'Folder(\"DIR\", {size})', or from Python by vqjax.load(RUN, data=...)"
        )
