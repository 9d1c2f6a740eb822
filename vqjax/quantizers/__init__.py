"""The bottleneck: continuous vectors in, codes and indices out. One file per idea."""

from vqjax.quantizers.codebook import KMeans, Revival
from vqjax.quantizers.ema import EMAVectorQuantizer
from vqjax.quantizers.vq import VectorQuantizer

__all__ = ["EMAVectorQuantizer", "KMeans", "Revival", "VectorQuantizer"]
