"""Vector quantization by direction alone, in few dimensions."""

from typing import Any

import jax
import jax.numpy as jnp

from vqjax.ops.rotation import unit
from vqjax.quantizers.codebook import KMeans, declare_ledger
from vqjax.quantizers.nearest import NearestCode


def _directions(key: jax.Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> jax.Array:
    return unit(jax.random.normal(key, shape, dtype))


class CosineVectorQuantizer(NearestCode):
    """Vectors and codes lie on the unit sphere; the nearest has the largest cosine.

    z^ = z / |z|, e^_k = e_k / |e_k|, k = argmax z^ . e^_k (arXiv 2110.04627, section 3.2). Losses
    as those of `VectorQuantizer`, between z^ and e^. No code wins by its length, and with a small
    codebook_dim (4 to 32; the tokenizer's projections factorise the latents) thousands of codes
    stay in use: pick it for large learned codebooks. Attributes: see `NearestCode`.
    """

    start: KMeans | None = KMeans()

    def setup(self) -> None:
        declare_ledger(self)
        self.codes = self.param("codes", _directions, (self.codebook_size, self.codebook_dim))

    def prepare(self, z: jax.Array) -> jax.Array:
        return unit(z)

    def codebook(self) -> jax.Array:
        # Fused into what follows, it would be rounded differently from program to program.
        return jax.lax.optimization_barrier(unit(self.codes))
