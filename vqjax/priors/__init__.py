"""Models of tokens: what draws new ones, which a tokenizer then decodes.

Floor 5, imports floor 0, `nn`, `ops` and `sampling`. Most important file: `gpt.py`, on `base.py`.
"""

from vqjax.priors.absorbing import AbsorbingDiffusion as AbsorbingDiffusion
from vqjax.priors.codebook_gpt import CodebookGPT as CodebookGPT
from vqjax.priors.conditions import ClassLabel as ClassLabel
from vqjax.priors.conditions import Several as Several
from vqjax.priors.conditions import Text as Text
from vqjax.priors.conditions import Tokens as Tokens
from vqjax.priors.gpt import GPT as GPT
from vqjax.priors.joint import JointPrior as JointPrior
from vqjax.priors.maskgit import MaskGIT as MaskGIT
from vqjax.priors.next_scale import NextScale as NextScale
from vqjax.priors.pixelcnn import PixelCNN as PixelCNN

__all__ = sorted(n for n, v in globals().items() if callable(v) and not n.startswith("_"))
