"""Texts beside examples: bytes from a source, ids of a vocabulary for a prior.

A source that knows texts has them in "caption", uint8[b, L]: UTF-8, padded with zeros. `Captions`
makes int32[b, T] of them, on the host.
"""

import abc
import dataclasses
import functools
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vqjax.config.annotations import check_fields
from vqjax.data.texts import to_bytes, to_text
from vqjax.extras import pip_install
from vqjax.format import printable
from vqjax.types import ArraySpec, DataError, UsageError

__all__ = ["BPE", "Captions", "CaptionsByLabel"]

CAPTION = "caption"
PADDING = 0  # the id of no token
BYTES = 256
LEARNED_FROM = 200_000  # texts at most
LOOKED_AT = 1_000  # captions, for some that are too long


@dataclasses.dataclass(frozen=True)
class BPE:
    """Byte-pair encoding (arXiv 1508.07909, section 3.2) over bytes.

    Ids: 0 is padding, then come the 256 bytes, then the merges in the order in which they were
    learned. There is no unknown text: what was never seen falls back to its bytes. Pairs are merged
    within words only, a word taking the space before it along.

    Attributes:
        size: of the vocabulary at most, at least 257.
        merges: pairs of tokens, each "left right", in the printable spelling of bytes that the
            `tokenizers` library uses. Empty until the first start of a run learns them.
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

    def learned(self, texts: Iterable[str]) -> "BPE":
        """The vocabulary whose merges are the most frequent ones in `texts`.

        Raises:
            DataError: there are no texts.
            UsageError: the tokenizers library is not installed.
        """
        texts = [text for text in texts if text]
        if not texts:
            raise DataError("no captions to learn a vocabulary from: all are empty")
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
            raise UsageError("the vocabulary of captions has not been learned: train a run first")
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
        return [found.ids for found in self._model.encode_batch(list(texts))]

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


@dataclasses.dataclass(frozen=True)
class Wrapper(abc.ABC):
    """A source made of another one; what it does not change is that of the other."""

    source: Any

    def _changed(self, batches: Iterator[Mapping[str, np.ndarray]]) -> Iterator[dict]:
        return (self._change(batch) for batch in batches)

    @abc.abstractmethod
    def _change(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the batch as it leaves."""

    def train(
        self, batch_size: int, seed: int, start_step: int, rows: np.ndarray
    ) -> Iterator[dict[str, np.ndarray]]:
        """See `Source.train`."""
        return self._changed(self.source.train(batch_size, seed, start_step, rows))

    def eval(self, batch_size: int, rows: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        """See `Source.eval`."""
        return self._changed(self.source.eval(batch_size, rows))

    def in_order(
        self, part: str, batch_size: int, start_step: int = 0
    ) -> Iterator[dict[str, np.ndarray]]:
        """See `SplitSource.in_order`."""
        return self._changed(self.source.in_order(part, batch_size, start_step))

    def at_hand(self, part: str, name: str) -> np.ndarray | None:
        """See `SplitSource.at_hand`."""
        known = hasattr(self.source, "at_hand") and name != CAPTION
        return self.source.at_hand(part, name) if known else None

    def learned(self, before: Any = None) -> Any:
        """This with what its source learns before the first step of a run: from `before`, what an
        earlier start made of this, or anew.
        """
        if not hasattr(self.source, "learned"):
            return self
        source = self.source.learned(getattr(before, "source", None))
        return dataclasses.replace(self, source=source)

    def num_train(self) -> int:
        """See `Source.num_train`."""
        return self.source.num_train()

    def num_eval(self) -> int:
        """See `Source.num_eval`."""
        return self.source.num_eval()

    def notes(self) -> list[str]:
        """See `Source.notes`."""
        return self.source.notes()


@dataclasses.dataclass(frozen=True)
class Captions(Wrapper):
    """The examples of `source`, their captions as int32[b, length] ids.

    The first start of a run learns the vocabulary from the captions of the training split (of the
    first 200,000 examples, the first caption of each) and keeps it in the run's record; later
    starts, and whoever opens the run, take it from there.

    Attributes:
        source: where captions are bytes.
        vocabulary: of the ids.
        length: T, ids per caption; shorter ones are padded with 0, longer ones are cut.
    """

    vocabulary: BPE
    length: int

    def __post_init__(self) -> None:
        check_fields(self)
        if self.length < 1:
            raise UsageError(f"Captions: length={self.length}: wanted at least 1")

    def learned(self, before: Any = None) -> "Captions":
        """These captions with a vocabulary: that of `before`, what an earlier start made of them,
        or a new one.
        """
        ready = super().learned(before)
        if self.vocabulary.merges:
            return ready
        if isinstance(before, Captions) and before.vocabulary.size == self.vocabulary.size:
            return dataclasses.replace(ready, vocabulary=before.vocabulary)
        ready.check()
        return dataclasses.replace(ready, vocabulary=self.vocabulary.learned(ready._texts()))

    def _texts(self) -> Iterator[str]:
        size, left = 1_000, min(LEARNED_FROM, self.num_train())
        for batch in self.source.in_order("train", size):
            yield from map(to_text, batch[CAPTION][batch["mask"]][:left])
            left -= size
            if left <= 0:
                return

    def notes(self) -> list[str]:
        """See `Source.notes`; also how many of the first captions are cut."""
        if not self.vocabulary.merges:
            return self.source.notes()
        _, counts = self._padded(list(itertools.islice(self._texts(), LOOKED_AT)))
        cut = sum(count > self.length for count in counts)
        said = f"{cut:,} of the first {len(counts):,} captions are cut to length={self.length} ids"
        return [*self.source.notes(), *([said] if cut else [])]

    def check(self) -> None:
        """See `Source.check`."""
        self.source.check()
        self.example_spec()

    def example_spec(self) -> dict[str, ArraySpec]:
        """See `Source.example_spec`."""
        spec = self.source.example_spec()
        found = spec.get(CAPTION)
        if found is None or found.dtype != "uint8" or len(found.shape) != 1:
            raise DataError(
                f"Captions: {type(self.source).__name__} has no texts: wanted {CAPTION!r} as bytes"
            )
        return {**spec, CAPTION: ArraySpec((self.length,), "int32")}

    def _change(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        ids, _ = self._padded([to_text(row) for row in batch[CAPTION]])
        return {**batch, CAPTION: ids}

    def _padded(self, texts: Sequence[str]) -> tuple[np.ndarray, list[int]]:
        """Ids, and how many each text would have had uncut."""
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
        rows, counts = self._padded(prompts)
        for prompt, count in zip(prompts, counts, strict=True):
            if count > self.length:
                raise UsageError(
                    f"{printable(repr(prompt), 100)} is {count} tokens long: "
                    f"this prior reads at most {self.length}"
                )
        return rows


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
        """See `Source.check`; also asks for a caption for each label that is known already."""
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
