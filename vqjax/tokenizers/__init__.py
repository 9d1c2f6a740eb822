"""Encoder, quantizer and decoder as one: what turns data into tokens and back."""

from vqjax.tokenizers.conv import ConvDecoder, ConvEncoder
from vqjax.tokenizers.tokenizer import Tokenizer

__all__ = ["ConvDecoder", "ConvEncoder", "Tokenizer"]
