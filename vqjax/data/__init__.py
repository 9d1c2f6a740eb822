"""Data sources: where batches come from, one law for all of them (`vqjax.data.source`).

Floor 1, imports floor 0. Most important file: `source.py`.
"""

from vqjax.data.arrays import Arrays as Arrays
from vqjax.data.arrays import ArraySource as ArraySource
from vqjax.data.augment import Binarize as Binarize
from vqjax.data.augment import CenterCrop as CenterCrop
from vqjax.data.augment import RandomCrop as RandomCrop
from vqjax.data.augment import RandomFlip as RandomFlip
from vqjax.data.augment import RandomShift as RandomShift
from vqjax.data.augment import Resize as Resize
from vqjax.data.augment_views import RandomResizedCrop as RandomResizedCrop
from vqjax.data.augment_views import RandomRotation as RandomRotation
from vqjax.data.bpe import BPE as BPE
from vqjax.data.bytes_vocabulary import Bytes as Bytes
from vqjax.data.captions import Captions as Captions
from vqjax.data.captions import CaptionsByLabel as CaptionsByLabel
from vqjax.data.columns import ImageColumn as ImageColumn
from vqjax.data.columns import SoundColumn as SoundColumn
from vqjax.data.columns import TextColumn as TextColumn
from vqjax.data.digits import Digits as Digits
from vqjax.data.folder import Folder as Folder
from vqjax.data.labelled_texts import LabelledTexts as LabelledTexts
from vqjax.data.no_data import NoData as NoData
from vqjax.data.paired import Paired as Paired
from vqjax.data.pairs_folder import PairsFolder as PairsFolder
from vqjax.data.shapes.source import Shapes as Shapes
from vqjax.data.sound import Loudness as Loudness
from vqjax.data.sound_folder import SoundFolder as SoundFolder
from vqjax.data.source import Source as Source
from vqjax.data.tfds import TFDS as TFDS
from vqjax.data.tfds_audio import TFDSAudio as TFDSAudio
from vqjax.data.token_set import TokenSet as TokenSet
from vqjax.data.tones import Tones as Tones

__all__ = sorted(n for n, v in globals().items() if callable(v) and not n.startswith("_"))
