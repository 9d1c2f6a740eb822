"""Samplers: they take functions and know no model."""

from vqjax.sampling.autoregressive import sample_in_order as sample_in_order
from vqjax.sampling.choice import Choice as Choice
from vqjax.sampling.guidance import Guidance as Guidance
from vqjax.sampling.parallel import Parallel as Parallel
from vqjax.sampling.parallel import sample_in_parallel as sample_in_parallel

__all__ = ["Choice", "Guidance", "Parallel", "sample_in_order", "sample_in_parallel"]
