"""The bottleneck: continuous vectors in, codes and indices out. A file and a line per idea.

Floor 4, imports floor 0, `nn` and `ops`. Most important file: `nearest.py`.
"""

from vqjax.quantizers.base import Quantizer as Quantizer
from vqjax.quantizers.bsq import BSQ as BSQ
from vqjax.quantizers.codebook import KMeans as KMeans
from vqjax.quantizers.codebook import Revival as Revival
from vqjax.quantizers.codebook import Watch as Watch
from vqjax.quantizers.cosine import CosineVectorQuantizer as CosineVectorQuantizer
from vqjax.quantizers.ema import EMAVectorQuantizer as EMAVectorQuantizer
from vqjax.quantizers.estimators import RotationTrick as RotationTrick
from vqjax.quantizers.estimators import StraightThrough as StraightThrough
from vqjax.quantizers.fsq import FSQ as FSQ
from vqjax.quantizers.gaussian import Gaussian as Gaussian
from vqjax.quantizers.gumbel import GumbelQuantizer as GumbelQuantizer
from vqjax.quantizers.hierarchical import Hierarchical as Hierarchical
from vqjax.quantizers.ibq import IBQ as IBQ
from vqjax.quantizers.identity import Identity as Identity
from vqjax.quantizers.lfq import LFQ as LFQ
from vqjax.quantizers.multihead import MultiHead as MultiHead
from vqjax.quantizers.multiscale import MultiScaleResidual as MultiScaleResidual
from vqjax.quantizers.product import Product as Product
from vqjax.quantizers.residual import Residual as Residual
from vqjax.quantizers.simvq import SimVQ as SimVQ
from vqjax.quantizers.vq import VectorQuantizer as VectorQuantizer

__all__ = sorted(n for n, v in globals().items() if callable(v) and not n.startswith("_"))
