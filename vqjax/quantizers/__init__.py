"""The bottleneck: continuous vectors in, codes and indices out. One file per idea."""

from vqjax.quantizers.bsq import BSQ
from vqjax.quantizers.codebook import KMeans, Revival, Watch
from vqjax.quantizers.cosine import CosineVectorQuantizer
from vqjax.quantizers.ema import EMAVectorQuantizer
from vqjax.quantizers.estimators import RotationTrick, StraightThrough
from vqjax.quantizers.fsq import FSQ
from vqjax.quantizers.gumbel import GumbelQuantizer
from vqjax.quantizers.ibq import IBQ
from vqjax.quantizers.lfq import LFQ
from vqjax.quantizers.multihead import MultiHead
from vqjax.quantizers.multiscale import MultiScaleResidual
from vqjax.quantizers.product import Product
from vqjax.quantizers.residual import Residual
from vqjax.quantizers.simvq import SimVQ
from vqjax.quantizers.vq import VectorQuantizer

__all__ = [
    "BSQ",
    "FSQ",
    "IBQ",
    "LFQ",
    "CosineVectorQuantizer",
    "EMAVectorQuantizer",
    "GumbelQuantizer",
    "KMeans",
    "MultiHead",
    "MultiScaleResidual",
    "Product",
    "Residual",
    "Revival",
    "RotationTrick",
    "SimVQ",
    "StraightThrough",
    "VectorQuantizer",
    "Watch",
]
