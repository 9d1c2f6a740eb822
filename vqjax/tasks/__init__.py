"""What one batch means: which networks see it, which losses it gives, what is learnt from it.

Floor 6, imports floor 0, `discriminators`, `losses`, `ops`, `priors`, `quantizers` and `sampling`.
Most important file: `tokenizer.py`.
"""

from vqjax.tasks.adaptive import AdaptiveWeight
from vqjax.tasks.base import Task, normalize
from vqjax.tasks.classifier import ClassifierTask
from vqjax.tasks.diffusion import DiffusionTask
from vqjax.tasks.gan import GANTask
from vqjax.tasks.joint import JointTask
from vqjax.tasks.modalities import ImageModality, SoundModality, TextModality
from vqjax.tasks.prior import PriorTask
from vqjax.tasks.shared_codes import SharedCodesTask
from vqjax.tasks.sound import SoundTokenizerTask
from vqjax.tasks.streams import TextStream, TokenStream
from vqjax.tasks.text import TextTask
from vqjax.tasks.token_gan import TokenGANTask
from vqjax.tasks.tokenizer import TokenizerTask

__all__ = [
    "AdaptiveWeight",
    "ClassifierTask",
    "DiffusionTask",
    "GANTask",
    "ImageModality",
    "JointTask",
    "PriorTask",
    "SharedCodesTask",
    "SoundModality",
    "SoundTokenizerTask",
    "Task",
    "TextModality",
    "TextStream",
    "TextTask",
    "TokenGANTask",
    "TokenStream",
    "TokenizerTask",
    "normalize",
]
