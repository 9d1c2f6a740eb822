"""Binary spherical quantization: signs of a vector on the unit sphere."""

import jax

from vqjax.ops.rotation import unit
from vqjax.quantizers.lfq import SignQuantizer


class BSQ(SignQuantizer):
    """u = z / |z| becomes sign(u) / sqrt(D), a corner on the same sphere (arXiv 2406.07548).

    q is softmax(c . u / temperature), independent by bit: log-odds 2 u_i / (sqrt(D) temperature).
    The error is bounded, so no commitment is needed; the only loss is `entropy`. Pick it where LFQ
    would be, if latents should keep one length: it is easier to train. Attributes: see
    `SignQuantizer`.
    """

    loss_weights = {"entropy": 0.1}

    @property
    def length(self) -> float:
        return self.codebook_dim**-0.5

    def prepare(self, z: jax.Array) -> jax.Array:
        return unit(z)

    def log_odds(self, z: jax.Array) -> jax.Array:
        return 2.0 * self.length * z / self.temperature
