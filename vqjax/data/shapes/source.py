"""The pictures of shapes as a source of batches."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from vqjax.config.annotations import check_fields
from vqjax.data import augment as augmentation
from vqjax.data.arrays import finished_spec
from vqjax.data.embedded import prepare_embedded
from vqjax.data.shapes.grammar import CAPTION_BYTES, LANGUAGES, kind
from vqjax.data.shapes.scorer import satisfied
from vqjax.data.shapes.splits import NUM_EXAMPLES
from vqjax.data.source import Split, SplitSource
from vqjax.data.tfds import TFDS
from vqjax.types import ArraySpec, UsageError

_TRAIN = {"seen": ("train",), "all": ("train", "train_held_out")}
_EVAL = {"seen": "test", "held_out": "held_out"}
_CAPTIONS = {"en": "caption", "zh": "caption_zh"}
_CHOICES = {
    "image_size": (32, 64),
    "language": LANGUAGES,
    "pairs": tuple(_TRAIN),
    "eval_pairs": tuple(_EVAL),
}


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
            priors wants it; "all" trains on these, too, as a tokenizer may.
        eval_pairs: "seen" evaluates on captions that are in no training split, of seen pairs;
            "held_out" on captions that name a held-out pair (new ones if `pairs` is "seen").
        augment: transforms of "image"; captions know nothing of them.
        data_dir: where they are, or are prepared; None: TFDS_DATA_DIR, else ~/tensorflow_datasets,
            else the user's cache.
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

    @functools.cached_property
    def _source(self) -> TFDS:
        name = f"shapes/{self.image_size}px"
        home, _ = prepare_embedded(name, self.data_dir)
        return TFDS(
            name,
            split="+".join(_TRAIN[self.pairs]),
            eval_split=_EVAL[self.eval_pairs],
            caption_key=_CAPTIONS[self.language],
            caption_bytes=CAPTION_BYTES,
            data_dir=home,
            augment=self.augment,
        )

    def _open(self, part: str) -> Split:
        return self._source._open(part)

    def check(self) -> None:
        """See `Source.check`; prepares the pictures where they are not yet."""
        self._source.check()

    def example_spec(self) -> dict[str, ArraySpec]:
        """See `Source.example_spec`; known without the files."""
        specs = {
            "image": ArraySpec((self.image_size, self.image_size, 3), "uint8"),
            "label": ArraySpec((), "int32"),
            "caption": ArraySpec((CAPTION_BYTES,), "uint8"),
        }
        return finished_spec(specs, self.augment)

    def num_train(self) -> int:
        """See `Source.num_train`."""
        return sum(NUM_EXAMPLES[split] for split in _TRAIN[self.pairs])

    def num_eval(self) -> int:
        """See `Source.num_eval`."""
        return NUM_EXAMPLES[_EVAL[self.eval_pairs]]

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
