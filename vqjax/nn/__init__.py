"""Linen layers that know no task.

Floor 2, imports floor 0 and `ops`. Most important file: `transformer.py`, which also shows how a
file is written here.
"""

from vqjax.nn.activations import activation
from vqjax.nn.attention import SelfAttention
from vqjax.nn.blocks import Middle, ResBlock, Stage
from vqjax.nn.conv import Conv, DepthwiseConv, Downsample, TransposedConv, Upsample
from vqjax.nn.convnext import ConvNeXtBlock
from vqjax.nn.norm import BatchNorm, GroupNorm

__all__ = [
    "BatchNorm",
    "Conv",
    "ConvNeXtBlock",
    "DepthwiseConv",
    "Downsample",
    "GroupNorm",
    "Middle",
    "ResBlock",
    "SelfAttention",
    "Stage",
    "TransposedConv",
    "Upsample",
    "activation",
]
