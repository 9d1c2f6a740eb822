"""Numbers over a whole split, exact under a ragged last batch.

Metrics are `State`s: `of(...)` works on the device on one batch, `merge` adds states on the
host in float64, `compute` gives the numbers by name. See `vqjax.metrics.state`.
"""

from vqjax.metrics.classification import Classification
from vqjax.metrics.codebook import CodebookCounts
from vqjax.metrics.frechet import FeatureMoments, frechet_distance
from vqjax.metrics.likelihood import NegativeBound
from vqjax.metrics.mean import ExampleMean
from vqjax.metrics.pixels import AbsoluteError, SquaredError
from vqjax.metrics.precision_recall import precision_recall
from vqjax.metrics.sharpness import HighFrequency
from vqjax.metrics.ssim import StructuralSimilarity
from vqjax.metrics.state import State, total

__all__ = [
    "AbsoluteError",
    "Classification",
    "CodebookCounts",
    "ExampleMean",
    "FeatureMoments",
    "HighFrequency",
    "NegativeBound",
    "SquaredError",
    "State",
    "StructuralSimilarity",
    "frechet_distance",
    "precision_recall",
    "total",
]
