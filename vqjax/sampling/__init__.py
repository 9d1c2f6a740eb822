"""Samplers: they take functions and know no model.

Floor 4, imports floor 0 and `ops`. Most important file: `autoregressive.py`.
"""

from vqjax.sampling.absorbing import sample_absorbing as sample_absorbing
from vqjax.sampling.autoregressive import sample_in_order as sample_in_order
from vqjax.sampling.codebooks import sample_codebooks as sample_codebooks
from vqjax.sampling.flow import flow_log_prob as flow_log_prob
from vqjax.sampling.flow import to_noise as to_noise
from vqjax.sampling.guidance import Guidance as Guidance
from vqjax.sampling.guidance import Interval as Interval
from vqjax.sampling.guidance import StreamGuidance as StreamGuidance
from vqjax.sampling.guidance import branches_of as branches_of
from vqjax.sampling.guidance import with_null as with_null
from vqjax.sampling.masked_decoding import MaskedDecoding as MaskedDecoding
from vqjax.sampling.masked_decoding import sample_masked as sample_masked
from vqjax.sampling.scales import sample_scales as sample_scales
from vqjax.sampling.solvers import Ancestral as Ancestral
from vqjax.sampling.solvers import DPMSolver as DPMSolver
from vqjax.sampling.solvers import Euler as Euler
from vqjax.sampling.solvers import Heun as Heun
from vqjax.sampling.token_sampling import TokenSampling as TokenSampling

__all__ = [
    "Ancestral",
    "DPMSolver",
    "Euler",
    "Guidance",
    "Heun",
    "MaskedDecoding",
    "TokenSampling",
    "flow_log_prob",
    "sample_absorbing",
    "sample_codebooks",
    "sample_in_order",
    "sample_masked",
    "sample_scales",
    "to_noise",
]

EARLIER = {  # names until version 0.3
    "Choice": TokenSampling,
    "Parallel": MaskedDecoding,
    "sample_in_parallel": sample_masked,
}


def __getattr__(name: str) -> object:
    if name not in EARLIER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return EARLIER[name]
