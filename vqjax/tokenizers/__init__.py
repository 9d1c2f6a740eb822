"""Encoder, quantizer and decoder as one: what turns data into tokens and back.

Floor 5, imports floor 0, `nn` and `ops`. Most important file: `tokenizer.py`.
"""

from vqjax.tokenizers.conv import ConvDecoder as ConvDecoder
from vqjax.tokenizers.conv import ConvEncoder as ConvEncoder
from vqjax.tokenizers.frames import FrameDecoder as FrameDecoder
from vqjax.tokenizers.frames import FrameEncoder as FrameEncoder
from vqjax.tokenizers.log_mel import LogMelEncoder as LogMelEncoder
from vqjax.tokenizers.mel_head import MelHead as MelHead
from vqjax.tokenizers.mlp import MLPDecoder as MLPDecoder
from vqjax.tokenizers.mlp import MLPEncoder as MLPEncoder
from vqjax.tokenizers.shared import SharedTokenizer as SharedTokenizer
from vqjax.tokenizers.shared import TextEncoder as TextEncoder
from vqjax.tokenizers.tokenizer import Tokenizer as Tokenizer

__all__ = sorted(n for n, v in globals().items() if callable(v) and not n.startswith("_"))
