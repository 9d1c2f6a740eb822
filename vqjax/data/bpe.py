"""Byte-pair encoding: texts as ids of a vocabulary that is fitted to them."""

import dataclasses
import functools
import json
from collections.abc import Iterable, Sequence
from typing import Any

from vqjax.config.annotations import check_fields
from vqjax.extras import pip_install
from vqjax.types import DataError, UsageError

PADDING = 0  # the id of no token
BYTES = 256


@dataclasses.dataclass(frozen=True)
class BPE:
    """Byte-pair encoding (arXiv 1508.07909, section 3.2) over bytes.

    Ids: 0 is padding, then come the 256 bytes, then the merges in the order in which they were
    learned. There is no unknown text: what was never seen falls back to its bytes. Pairs are merged
    within words only, a word taking the space before it along.

    Attributes:
        size: of the vocabulary at most, at least 257.
        merges: pairs of tokens, each "left right", in the printable spelling of bytes that the
            `tokenizers` library uses. Empty until the first start of a run fits them.
    """

    size: int
    merges: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        if self.size < 1 + BYTES + len(self.merges):
            raise UsageError(
                f"BPE: size={self.size} with {len(self.merges)} merges: wanted at least "
                f"{1 + BYTES} and one more for each merge"
            )

    @property
    def is_fitted(self) -> bool:
        """Whether it has merges."""
        return bool(self.merges)

    def fitted(self, texts: Iterable[str]) -> "BPE":
        """The vocabulary whose merges are the most frequent ones in `texts`.

        Raises:
            DataError: there are no texts.
            UsageError: the tokenizers library is not installed.
        """
        texts = [text for text in texts if text]
        if not texts:
            raise DataError("no captions to fit a vocabulary to: all are empty")
        lib = _library()
        model = lib.Tokenizer(lib.models.BPE())
        model.pre_tokenizer = lib.pre_tokenizers.ByteLevel(add_prefix_space=True)
        trainer = lib.trainers.BpeTrainer(
            vocab_size=self.size - 1,
            initial_alphabet=lib.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        model.train_from_iterator(texts, trainer)
        merges = json.loads(model.to_str())["model"]["merges"]
        pairs = (m if isinstance(m, str) else " ".join(m) for m in merges)
        return dataclasses.replace(self, merges=tuple(pairs))

    @functools.cached_property
    def _model(self) -> Any:
        if not self.merges and self.size > 1 + BYTES:
            raise UsageError("the vocabulary of captions has not been fitted: train a run first")
        lib = _library()
        words = ["", *sorted(lib.pre_tokenizers.ByteLevel.alphabet())]
        pairs = [tuple(merge.split(" ")) for merge in self.merges]
        words += ["".join(pair) for pair in pairs]
        ids = {word: i for i, word in enumerate(words)}
        try:
            model = lib.Tokenizer(lib.models.BPE(ids, pairs))
        except Exception as error:  # the library has no type of its own
            raise DataError(f"the vocabulary's merges do not fit together: {error}") from error
        model.pre_tokenizer = lib.pre_tokenizers.ByteLevel(add_prefix_space=True)
        model.decoder = lib.decoders.ByteLevel()
        return model

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, of any number; without padding."""
        return [encoding.ids for encoding in self._model.encode_batch(list(texts))]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; padding is left out."""
        return self._model.decode([int(i) for i in ids if i != PADDING]).removeprefix(" ")


def _library() -> Any:
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError as error:
        raise UsageError(
            f"texts need the tokenizers library, which cannot be imported ({error}): "
            f"{pip_install('text')}"
        ) from error
    return tokenizers
