"""Texts beside examples: bytes from a source, ids of a vocabulary for a prior.

A source that knows texts has them in "caption", uint8[b, L]: UTF-8, padded with zeros. `Captions`
makes int32[b, T] of them, on the host.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from vqjax.config.annotations import check_fields
from vqjax.data.bpe import BPE
from vqjax.data.bytes_vocabulary import Bytes
from vqjax.data.text_ids import CHECKED, FIT_TEXTS, TextIds
from vqjax.data.texts import to_bytes, to_text
from vqjax.data.wrapper import CAPTION, Wrapper
from vqjax.types import ArraySpec, DataError, UsageError


@dataclasses.dataclass(frozen=True)
class Captions(TextIds, Wrapper):
    """The examples of `source`, their captions as int32[b, length] ids.

    The first start of a run fits a `BPE` to the captions of the training split (of the first
    200,000 examples, the first caption of each) and keeps it in the run's record; later
    starts, and whoever opens the run, take it from there. `Bytes` need none of this.

    Attributes:
        source: where captions are bytes.
        vocabulary: of the ids.
        length: T, ids per caption; shorter ones are padded with 0, longer ones are cut.
    """

    vocabulary: BPE | Bytes
    length: int

    def __post_init__(self) -> None:
        check_fields(self)
        if self.length < 1:
            raise UsageError(f"Captions: length={self.length}: wanted at least 1")

    def fitted(self, before: Any = None) -> "Captions":
        """These captions with a vocabulary: that of `before`, the result of an earlier start, or a
        new one.
        """
        prepared = super().fitted(before)
        if self.vocabulary.is_fitted:
            return prepared
        earlier = before.vocabulary if isinstance(before, Captions) else None

        def texts() -> Iterator[str]:
            prepared.check()
            return prepared._texts()

        vocabulary = self.fitted_vocabulary(earlier, texts)
        return dataclasses.replace(prepared, vocabulary=vocabulary)

    def _texts(self) -> Iterator[str]:
        size, left = 1_000, min(FIT_TEXTS, self.num_train())
        for batch in self.source.in_order("train", size):
            yield from map(to_text, batch[CAPTION][batch["mask"]][:left])
            left -= size
            if left <= 0:
                return

    def notes(self) -> list[str]:
        """See `Source.notes`; also how many of the first captions are cut."""
        if not self.vocabulary.is_fitted:
            return self.source.notes()
        first = list(itertools.islice(self._texts(), CHECKED))
        return [*self.source.notes(), *self.cut_notes(first)]

    def check(self) -> None:
        """See `Source.check`."""
        self.source.check()
        self.example_spec()

    def example_spec(self) -> dict[str, ArraySpec]:
        """See `Source.example_spec`."""
        spec = self.source.example_spec()
        texts = spec.get(CAPTION)
        if texts is None or texts.dtype != "uint8" or len(texts.shape) != 1:
            raise DataError(
                f"Captions: {type(self.source).__name__} has no texts: wanted {CAPTION!r} as bytes"
            )
        return {**spec, CAPTION: ArraySpec((self.length,), "int32")}

    def _change(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        ids, _ = self.padded([to_text(row) for row in batch[CAPTION]])
        return {**batch, CAPTION: ids}


@dataclasses.dataclass(frozen=True)
class CaptionsByLabel(Wrapper):
    """The examples of `source` with a caption each, as bytes: the one that its label has.

    Attributes:
        source: with "label".
        captions: that of label 0, of label 1, ...
    """

    captions: tuple[str, ...]

    def __post_init__(self) -> None:
        check_fields(self)

    @functools.cached_property
    def _rows(self) -> np.ndarray:
        length = max((len(caption.encode("utf-8")) for caption in self.captions), default=0)
        return np.array([to_bytes(caption, length) for caption in self.captions]).reshape(
            -1, length
        )

    def check(self) -> None:
        """See `Source.check`; also requires a caption for each label that is at hand."""
        self.source.check()
        self.example_spec()
        for part in ("train", "eval"):
            labels = self.at_hand(part, "label")
            if labels is not None:
                self._check_labels(labels, np.arange(len(labels)))

    def example_spec(self) -> dict[str, ArraySpec]:
        """See `Source.example_spec`."""
        spec = self.source.example_spec()
        if "label" not in spec or not self._rows.size:
            raise UsageError("CaptionsByLabel: the source needs labels, and each label a caption")
        return {**spec, CAPTION: ArraySpec(self._rows.shape[1:], "uint8")}

    def _change(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        label = batch["label"]
        self._check_labels(label, batch.get("example_id", np.arange(len(label))))
        return {**batch, CAPTION: self._rows[label]}

    def _check_labels(self, labels: np.ndarray, ids: np.ndarray) -> None:
        bad = np.flatnonzero((labels < 0) | (labels >= len(self.captions)))
        if bad.size:
            raise DataError(
                f"example {ids[bad[0]]:,}: label {labels[bad[0]]}: CaptionsByLabel has "
                f"{len(self.captions)} captions"
            )
