"""Losses: frozen objects from arrays to unweighted scalars."""

from vqjax.losses.adversarial import Hinge, NonSaturating
from vqjax.losses.likelihood import BernoulliLikelihood, GaussianLikelihood, LogisticLikelihood
from vqjax.losses.perceptual import LPIPS
from vqjax.losses.reconstruction import L1, L2, BinaryCrossEntropy

__all__ = [
    "L1",
    "L2",
    "LPIPS",
    "BernoulliLikelihood",
    "BinaryCrossEntropy",
    "GaussianLikelihood",
    "Hinge",
    "LogisticLikelihood",
    "NonSaturating",
]
