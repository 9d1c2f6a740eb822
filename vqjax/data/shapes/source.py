"""The pictures of shapes as a source of batches."""

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
import tqdm

from vqjax.config.annotations import check_fields
from vqjax.data import augment as augmentation
from vqjax.data import cache
from vqjax.data.arrays import finished_spec, open_arrays
from vqjax.data.shapes.drawing import draw
from vqjax.data.shapes.grammar import CAPTION_BYTES, KINDS, LANGUAGES, caption, kind, meant
from vqjax.data.shapes.scorer import satisfied, satisfies
from vqjax.data.shapes.splits import NUM_EXAMPLES, example
from vqjax.data.source import Split, SplitSource
from vqjax.data.texts import to_bytes
from vqjax.types import ArraySpec, UsageError

VERSION = "1.0.0"  # of what is drawn; another drops what is cached of this one
_TRAIN = {"seen": ("train",), "all": ("train", "train_held_out")}
_EVAL = {"seen": "test", "held_out": "held_out"}
_CAPTIONS = {"en": "caption", "zh": "caption_zh"}
_CACHED_FROM = 10_000  # pictures on, a split is cached for the user: it takes seconds to draw
_CHOICES = {
    "image_size": (32, 64),
    "language": LANGUAGES,
    "pairs": tuple(_TRAIN),
    "eval_pairs": tuple(_EVAL),
}


def draw_split(split: str, side: int) -> dict[str, np.ndarray]:
    """Draws one of `NUM_EXAMPLES`, or loads it from the cache.

    Returns:
        image uint8[n, side, side, 3], caption and caption_zh uint8[n, CAPTION_BYTES], label
        int32[n].
    """
    num = NUM_EXAMPLES[split]
    key = [VERSION, split, side, num]
    cached = cache.load("shapes", key) if num >= _CACHED_FROM else None
    if cached is not None:
        return cached
    rows: dict[str, list] = {"image": [], "caption": [], "caption_zh": [], "label": []}
    # Shown on a terminal only, and only where this takes a while.
    bar = {"desc": f"drawing {split}", "delay": 2.0, "disable": None, "leave": False}
    for index in tqdm.trange(num, **bar):
        meaning, scene = example(split, index)
        rows["image"].append(draw(scene, side))
        for language, name in _CAPTIONS.items():
            rows[name].append(to_bytes(caption(meaning, language), CAPTION_BYTES))
        rows["label"].append(KINDS.index(meaning.kind))
    arrays = {name: np.array(values) for name, values in rows.items()}
    arrays["label"] = arrays["label"].astype(np.int32)
    if num >= _CACHED_FROM:
        cache.store("shapes", key, arrays)
    return arrays


@dataclasses.dataclass(frozen=True)
class Shapes(SplitSource):
    """Coloured shapes, uint8 [H, H, 3], with captions, drawn by a program and scored by one.

    A batch has "caption", uint8[b, 72]: the UTF-8 of its captions, with zeros behind. "label" is
    the number of the caption's kind: 0 a single thing, 1 a count, 2 a relation. See
    `vqjax.data.shapes` for what there is to see, and to be said.

    Attributes:
        image_size: height and width, 32 or 64.
        language: of the captions, "en" or "zh".
        pairs: "seen" leaves the held-out pairs of colour and shape out of training, as a test of
            priors requires it; "all" trains on these, too, as a tokenizer may.
        eval_pairs: "seen" evaluates on captions that are in no training split, of seen pairs;
            "held_out" on captions that name a held-out pair (new ones if `pairs` is "seen").
        augment: transforms of "image"; captions know nothing of them.
        data_dir: of records of earlier versions, which kept a copy there; nothing is read.
    """

    image_size: int = 32
    language: str = "en"
    pairs: str = "seen"
    eval_pairs: str = "seen"
    augment: tuple[augmentation.Transform, ...] = ()
    data_dir: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        for name, valid in _CHOICES.items():
            if getattr(self, name) not in valid:
                listed = " or ".join(map(repr, valid))
                raise UsageError(f"Shapes: {name} is {listed}, got {getattr(self, name)!r}")

    def _splits(self, part: str) -> tuple[str, ...]:
        return _TRAIN[self.pairs] if part == "train" else (_EVAL[self.eval_pairs],)

    def _specs(self) -> dict[str, ArraySpec]:
        return {
            "image": ArraySpec((self.image_size, self.image_size, 3), "uint8"),
            "label": ArraySpec((), "int32"),
            "caption": ArraySpec((CAPTION_BYTES,), "uint8"),
        }

    def _open(self, part: str) -> Split:
        num = self.num_train() if part == "train" else self.num_eval()
        return open_arrays(self._specs(), num, lambda: self._load(part), self.augment)

    def _load(self, part: str) -> dict[str, np.ndarray]:
        splits = [draw_split(split, self.image_size) for split in self._splits(part)]
        names = {"image": "image", "label": "label", "caption": _CAPTIONS[self.language]}
        return {name: np.concatenate([s[key] for s in splits]) for name, key in names.items()}

    def example_spec(self) -> dict[str, ArraySpec]:
        """See `Source.example_spec`; known before anything is drawn."""
        return finished_spec(self._specs(), self.augment)

    def num_train(self) -> int:
        """See `Source.num_train`."""
        return sum(NUM_EXAMPLES[split] for split in self._splits("train"))

    def num_eval(self) -> int:
        """See `Source.num_eval`."""
        return sum(NUM_EXAMPLES[split] for split in self._splits("eval"))

    def caption_tests(self) -> dict[str, "Shapes"]:
        """Returns the sources whose eval captions a prior should be held to, by what they test."""
        tests = {"unseen captions": "seen", "held-out pairs": "held_out"}
        return {
            name: dataclasses.replace(self, eval_pairs=pairs, augment=())
            for name, pairs in tests.items()
        }

    def kinds(self, captions: Sequence[str]) -> list[str]:
        """Returns the kind of each caption."""
        return [kind(caption) for caption in captions]

    def satisfied(self, images: np.ndarray, captions: Sequence[str]) -> np.ndarray:
        """Returns whether each of images uint8[B, H, H, 3] satisfies its caption: bool[B]."""
        return satisfied(images, captions)

    def described(self, images: np.ndarray, captions: Sequence[str]) -> np.ndarray:
        """Returns `satisfied` of captions that may be none of the grammar, which are false."""
        return np.array(
            [
                meant(text) is not None and satisfies(image, text)
                for image, text in zip(images, captions, strict=True)
            ],
            bool,
        )

    def named(self, captions: Sequence[str], truths: Sequence[str]) -> np.ndarray:
        """Returns the share of things, each a colour and a shape, that captions have in common with
        true ones, of the more that either has: float64[B]; 0 of what is none of the grammar.
        """
        shares = []
        for text, truth in zip(captions, truths, strict=True):
            meanings = meant(text), meant(truth)
            pairs = [Counter(p.pair for p in m.phrases) if m else Counter() for m in meanings]
            most = max(1, *(pair.total() for pair in pairs))
            shares.append((pairs[0] & pairs[1]).total() / most)
        return np.array(shares, np.float64)
