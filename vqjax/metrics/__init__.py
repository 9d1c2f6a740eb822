"""Numbers over a whole split, exact under a ragged last batch.

Metrics are `State`s: `of(...)` works on the device on one batch, `merge` adds states on the
host in float64, `compute` gives the numbers by name. See `vqjax.metrics.state`.

Floor 4, imports floor 0 and `ops`. Most important file: `state.py`.
"""

from vqjax.metrics.classification import Classification as Classification
from vqjax.metrics.codebook import CodebookCounts as CodebookCounts
from vqjax.metrics.frechet import FeatureMoments as FeatureMoments
from vqjax.metrics.frechet import frechet_distance as frechet_distance
from vqjax.metrics.likelihood import NegativeBound as NegativeBound
from vqjax.metrics.mean import ExampleMean as ExampleMean
from vqjax.metrics.pixels import AbsoluteError as AbsoluteError
from vqjax.metrics.pixels import SquaredError as SquaredError
from vqjax.metrics.precision_recall import precision_recall as precision_recall
from vqjax.metrics.sharpness import HighFrequency as HighFrequency
from vqjax.metrics.ssim import StructuralSimilarity as StructuralSimilarity
from vqjax.metrics.state import State as State
from vqjax.metrics.state import total as total

__all__ = sorted(n for n, v in globals().items() if callable(v) and not n.startswith("_"))
