"""Bytes as ids: the vocabulary of texts that needs no fitting and no library."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from vqjax.types import UsageError


@dataclasses.dataclass(frozen=True)
class Bytes:
    """The bytes of texts' UTF-8, each as 1 + its value; 0 is padding.

    Attributes:
        size: of the vocabulary.
    """

    size: ClassVar[int] = 257
    is_fitted: ClassVar[bool] = True

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, of any number; without padding. Halves of surrogate pairs, which
        have no UTF-8, become "?".
        """
        return [[1 + byte for byte in text.encode("utf-8", "replace")] for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; padding is left out, bytes that are not UTF-8 become U+FFFD.

        Raises:
            UsageError: an id is out of range.
        """
        ids = [int(i) for i in ids if i]
        for i in ids:
            if not 0 < i < self.size:
                raise UsageError(f"Bytes: id {i}: wanted 0 to {self.size - 1}")
        return bytes(i - 1 for i in ids).decode("utf-8", "replace")
