"""Encoder, quantizer and decoder as one: what turns data into tokens and back."""

from vqjax.tokenizers.conv import ConvDecoder, ConvEncoder
from vqjax.tokenizers.mlp import MLPDecoder, MLPEncoder
from vqjax.tokenizers.tokenizer import Tokenizer

__all__ = ["ConvDecoder", "ConvEncoder", "MLPDecoder", "MLPEncoder", "Tokenizer"]
