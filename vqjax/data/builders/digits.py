"""The TFDS builder of scikit-learn's digits. Imported by `vqjax.data.digits` when it is needed."""

import hashlib

import numpy as np
import tensorflow_datasets as tfds

NUM_TRAIN = 1_500
NUM_TEST = 297

_DESCRIPTION = """\
1,797 handwritten digits of 13 people, scanned, reduced to 8x8 pixels of 17 levels (0 to 255 here):
the test part of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak, UCI
Machine Learning Repository, 1998, doi:10.24432/C50P49, licensed CC BY 4.0, as it comes with
scikit-learn. The 297 whose number has the smallest sha256 are the test split.
"""

_CITATION = """\
@misc{alpaydin1998digits,
  author = {Alpaydin, E. and Kaynak, C.},
  title = {Optical Recognition of Handwritten Digits},
  howpublished = {UCI Machine Learning Repository},
  year = {1998},
  doi = {10.24432/C50P49},
  note = {CC BY 4.0}
}
"""


def split_indices() -> tuple[list[int], list[int]]:
    """Returns the numbers of the training and the test examples in scikit-learn's file."""
    numbers = range(NUM_TRAIN + NUM_TEST)
    ranked = sorted(numbers, key=lambda i: hashlib.sha256(str(i).encode()).digest())
    return sorted(ranked[NUM_TEST:]), sorted(ranked[:NUM_TEST])


class Digits(tfds.core.GeneratorBasedBuilder):
    """scikit-learn's digits; nothing is downloaded."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "1,500 and 297 digits."}

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(8, 8, 1)),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage="https://archive.ics.uci.edu/dataset/80",
            citation=_CITATION,
            license="CC BY 4.0",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        train, test = split_indices()
        return {"train": self._generate_examples(train), "test": self._generate_examples(test)}

    def _generate_examples(self, numbers):
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
        for i in numbers:
            yield i, {"image": images[i], "label": int(digits.target[i])}
