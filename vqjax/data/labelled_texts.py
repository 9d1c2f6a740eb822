"""Texts of labels as examples of their own."""

import dataclasses

import numpy as np

from vqjax.config.annotations import check_fields
from vqjax.data.arrays import ArraySource
from vqjax.data.texts import to_bytes
from vqjax.data.wrapper import CAPTION
from vqjax.types import UsageError

__all__ = ["LabelledTexts"]


@dataclasses.dataclass(frozen=True)
class LabelledTexts(ArraySource):
    """All pairs of a label and one of its texts, the same for training and for evaluation.

    A batch has "label", int32[b], and "caption", uint8[b, L]: UTF-8 with zeros behind it, L that
    of the longest.

    Attributes:
        texts: those of label 0, of label 1, ...: of each one or several, such as in several
            languages.
    """

    texts: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.texts:
            raise UsageError("LabelledTexts: texts is empty: wanted those of at least one label")
        for label, texts in enumerate(self.texts):
            if not texts:
                raise UsageError(
                    f"LabelledTexts: texts[{label}] is empty: wanted at least one text"
                )
            for number, text in enumerate(texts):
                if not text.replace("\0", "").strip():
                    raise UsageError(
                        f"LabelledTexts: texts[{label}][{number}]={text!r:.80} is no text"
                    )

    def load(self, part: str) -> dict[str, np.ndarray]:
        """See `ArraySource.load`."""
        del part
        labels = [label for label, texts in enumerate(self.texts) for _ in texts]
        texts = [text for texts in self.texts for text in texts]
        length = max(len(text.encode("utf-8", "replace")) for text in texts)
        captions = np.stack([to_bytes(text, length) for text in texts])
        return {"label": np.array(labels, np.int32), CAPTION: captions}
