"""Multi-head quantization: several lookups per position in one codebook."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.config.annotations import check_fields
from vqjax.quantizers.codebook import check_sizes
from vqjax.quantizers.combined import Combined
from vqjax.types import Quantized, Tree


class MultiHead(Combined):
    """Channels are cut into heads that share one codebook: a product quantizer with tied codes.

    heads * log2 K bits per position, one level of indices per head; `Product` gives every group a
    codebook of its own. The codebook sees `heads` times as many vectors. Pick it where groups of
    channels are of one kind.

    Attributes:
        template: the quantizer of a head; D of the whole is `heads` times its codebook_dim.
        heads: Q.
    """

    template: nn.Module
    heads: int

    def __post_init__(self) -> None:
        check_fields(self)
        check_sizes(heads=self.heads)
        super().__post_init__()

    @property
    def codebook_dim(self) -> int:
        return self.heads * self.template.codebook_dim

    @property
    def input_dim(self) -> int:
        return self.heads * self.template.input_dim

    @property
    def num_codebooks(self) -> int:
        return self.heads

    def setup(self) -> None:
        self.parts = self._copies(1)

    def __call__(self, z: jax.Array, *, train: bool, step: jax.Array) -> Quantized:
        """Quantizes z [B, *S, D]; see `Quantized`. Metrics are those of the shared codebook."""
        split = z.reshape(*z.shape[:-1], self.heads, z.shape[-1] // self.heads)  # [B, *S, Q, d]
        out = self.parts[0](split, train=train, step=step)  # z_q [B, *S, Q, d], indices [B, *S, Q]
        return out.replace(
            z_q=out.z_q.reshape(*z.shape[:-1], self.codebook_dim),  # [B, *S, D]
            indices=tuple(out.indices[0][..., head] for head in range(self.heads)),
        )

    def lookup(self, indices: tuple[jax.Array, ...]) -> jax.Array:
        """Codes [B, *S, D] of indices int32[B, *S], one array per head."""
        codes = self.parts[0].lookup((jnp.stack(indices, axis=-1),))  # [B, *S, Q, d]
        return codes.reshape(*codes.shape[:-2], self.codebook_dim)  # [B, *S, D]

    def init_codebook(self, params: Tree, codebook: Tree, z: jax.Array, rng: jax.Array) -> tuple:
        """Starts the codebook from the heads of z. Called unbound."""
        split = z.reshape(*z.shape[:-1], self.heads, z.shape[-1] // self.heads)  # [B, *S, Q, d]
        return self._init_part("parts_0", params, codebook, split, rng)
