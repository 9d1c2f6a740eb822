"""Losses: frozen objects from arrays to unweighted scalars.

Floor 4, imports floor 0, `features` and `ops`. Most important file: `reconstruction.py`.
"""

from vqjax.losses.adversarial import Hinge as Hinge
from vqjax.losses.adversarial import LeastSquares as LeastSquares
from vqjax.losses.adversarial import NonSaturating as NonSaturating
from vqjax.losses.adversarial import Relativistic as Relativistic
from vqjax.losses.likelihood import BernoulliLikelihood as BernoulliLikelihood
from vqjax.losses.likelihood import GaussianLikelihood as GaussianLikelihood
from vqjax.losses.likelihood import LogisticLikelihood as LogisticLikelihood
from vqjax.losses.penalties import gradient_penalty as gradient_penalty
from vqjax.losses.perceptual import LPIPS as LPIPS
from vqjax.losses.reconstruction import L1 as L1
from vqjax.losses.reconstruction import L2 as L2
from vqjax.losses.reconstruction import BinaryCrossEntropy as BinaryCrossEntropy
from vqjax.losses.spectral import MultiScaleMel as MultiScaleMel
from vqjax.losses.spectral import MultiScaleSTFT as MultiScaleSTFT
from vqjax.losses.waveform import SDR as SDR
from vqjax.losses.waveform import SISDR as SISDR

__all__ = sorted(n for n, v in globals().items() if callable(v) and not n.startswith("_"))
