"""Numbers over a whole split, exact under a ragged last batch.

Every metric is a `State`: `of(...)` works on the device on one batch, `merge` adds states on the
host in float64, `compute` gives the numbers by name. See `vqjax.metrics.state`.
"""

from vqjax.metrics.classification import Classification
from vqjax.metrics.codebook import CodebookCounts
from vqjax.metrics.likelihood import NegativeBound
from vqjax.metrics.pixels import AbsoluteError, SquaredError
from vqjax.metrics.sharpness import HighFrequency
from vqjax.metrics.ssim import StructuralSimilarity
from vqjax.metrics.state import State, total

__all__ = [
    "AbsoluteError",
    "Classification",
    "CodebookCounts",
    "HighFrequency",
    "NegativeBound",
    "SquaredError",
    "State",
    "StructuralSimilarity",
    "total",
]
