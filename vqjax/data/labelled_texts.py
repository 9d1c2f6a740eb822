"""Texts by label: a source of its own, whose examples others are paired with."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from vqjax.config.annotations import check_fields
from vqjax.data.arrays import ArraySource
from vqjax.data.texts import to_bytes
from vqjax.data.wrapper import CAPTION
from vqjax.types import UsageError

__all__ = ["LabelledTexts"]


@dataclasses.dataclass(frozen=True)
class LabelledTexts(ArraySource):
    """Every text of every label as an example, the same in both splits.

    `Paired` draws one of them at each visit, so a label may have texts in several languages.

    Attributes:
        texts: those of label 0, of label 1, ...; at least one of each.
    """

    texts: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.texts:
            raise UsageError("LabelledTexts: wanted at least one text")
        for label, own in enumerate(self.texts):
            if not own or not all(text.strip() for text in own):
                raise UsageError(f"LabelledTexts: label {label} has no text, or an empty one")

    def _pairs(self) -> Iterator[tuple[int, str]]:
        return ((label, text) for label, own in enumerate(self.texts) for text in own)

    def load(self, part: str) -> dict[str, np.ndarray]:
        """See `ArraySource.load`."""
        del part
        pairs = list(self._pairs())
        length = max(len(text.encode("utf-8")) for _, text in pairs)
        return {
            "label": np.array([label for label, _ in pairs], np.int32),
            CAPTION: np.stack([to_bytes(text, length) for _, text in pairs]),
        }
