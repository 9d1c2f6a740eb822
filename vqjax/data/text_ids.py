"""Texts as ids of a vocabulary, all of one length."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from vqjax.data.bpe import BPE, PADDING
from vqjax.data.bytes_vocabulary import Bytes
from vqjax.format import printable
from vqjax.types import UsageError

FIT_TEXTS = 200_000  # that the vocabulary is fitted to, at most
CHECKED = 1_000  # texts whose lengths notes check


class TextIds:
    """Base of frozen dataclasses with these fields.

    Attributes:
        vocabulary: of the ids.
        length: T, ids per text; shorter ones are padded with 0, longer ones are cut.
    """

    vocabulary: BPE | Bytes
    length: int

    def padded(self, texts: Sequence[str]) -> tuple[np.ndarray, list[int]]:
        """Ids int32[n, length], and how many each text has before it is cut."""
        rows = np.full((len(texts), self.length), PADDING, np.int32)
        counts = []
        for row, ids in zip(rows, self.vocabulary.encode(texts), strict=True):
            row[: len(ids)] = ids[: self.length]
            counts.append(len(ids))
        return rows, counts

    def encode(self, prompts: Sequence[str]) -> np.ndarray:
        """Prompts as int32[n, length].

        Raises:
            UsageError: one is too long.
        """
        rows, counts = self.padded(prompts)
        for prompt, count in zip(prompts, counts, strict=True):
            if count > self.length:
                raise UsageError(
                    f"{printable(repr(prompt), 100)} is {count} tokens long: "
                    f"this prior reads at most {self.length}"
                )
        return rows

    def decode(self, ids: np.ndarray) -> list[str]:
        """The texts of ids, int[n, length]: without padding, bytes that are not UTF-8 as U+FFFD."""
        return [self.vocabulary.decode(row) for row in ids]

    def fitted_vocabulary(self, earlier: Any, texts: Callable[[], Iterable[str]]) -> BPE | Bytes:
        """The vocabulary: as it is where nothing is to be fitted, else `earlier`, the result of an
        earlier start, if it is one of this size, else one fitted to `texts()`.
        """
        if self.vocabulary.is_fitted:
            return self.vocabulary
        if isinstance(earlier, BPE) and earlier.size == self.vocabulary.size:
            return earlier
        return self.vocabulary.fitted(texts())

    def cut_notes(self, texts: Sequence[str]) -> list[str]:
        """A line on how many of the first `texts` are cut, where some are."""
        _, counts = self.padded(texts)
        cut = sum(count > self.length for count in counts)
        line = f"{cut:,} of the first {len(counts):,} captions are cut to length={self.length} ids"
        return [line] if cut else []
