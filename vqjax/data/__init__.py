"""Data sources: where batches come from, one law for all of them (`vqjax.data.source`)."""

from vqjax.data.arrays import Arrays, ArraySource
from vqjax.data.augment import Binarize, CenterCrop, RandomCrop, RandomFlip, RandomShift, Resize
from vqjax.data.captions import BPE, Captions, CaptionsByLabel
from vqjax.data.digits import Digits
from vqjax.data.folder import Folder
from vqjax.data.shapes.source import Shapes
from vqjax.data.source import Source
from vqjax.data.tfds import TFDS
from vqjax.data.token_set import TokenSet

__all__ = [
    "ArraySource",
    "Arrays",
    "BPE",
    "Binarize",
    "Captions",
    "CaptionsByLabel",
    "CenterCrop",
    "Digits",
    "Folder",
    "RandomCrop",
    "RandomFlip",
    "RandomShift",
    "Resize",
    "Shapes",
    "Source",
    "TFDS",
    "TokenSet",
]
