"""No bottleneck but the number of channels: the plain autoencoder."""

import chex
import jax

from vqjax.config.annotations import check_fields
from vqjax.ops.codes import at_least_float32
from vqjax.quantizers.base import Quantizer
from vqjax.quantizers.codebook import check_sizes
from vqjax.types import Quantized


class Identity(Quantizer):
    """Lets the vectors pass as they are; nothing is discrete and nothing is lost.

    With it a `Tokenizer` is an autoencoder, the ground that quantizers are measured against: what
    the same networks reach with D real numbers per position.

    Attributes:
        codebook_dim: D, channels of the latents.
    """

    codebook_dim: int

    codebook_size = 0

    def __post_init__(self) -> None:
        check_fields(self)
        check_sizes(codebook_dim=self.codebook_dim)
        super().__post_init__()

    def __call__(self, z: jax.Array, *, train: bool, step: jax.Array) -> Quantized:
        """Passes z [B, *S, D] on, in at least float32; see `Quantized`."""
        chex.assert_axis_dimension(z, -1, self.codebook_dim)
        return Quantized(z_q=at_least_float32(z), indices=(), losses={}, metrics={})
