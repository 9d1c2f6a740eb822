"""Vector quantization with a codebook trained by gradient."""

from typing import Any

import jax
import jax.numpy as jnp

from vqjax.quantizers.codebook import declare_ledger
from vqjax.quantizers.nearest import NearestCode


def _uniform(key: jax.Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, -1.0 / shape[0], 1.0 / shape[0])


class VectorQuantizer(NearestCode):
    """Every vector becomes its nearest code; codes follow by gradient (arXiv 1711.00937, eq. 3).

    losses: `commitment` |z - sg(e)|^2 pulls the encoder, `codebook` |sg(z) - e|^2 pulls the
    codes, both as means over all elements; the paper's beta is the weight of `commitment`.
    Pick it where the optimizer should own the codebook; `EMAVectorQuantizer` usually needs less
    care. Codes start as U(-1/K, 1/K). Attributes: see `NearestCode`.
    """

    def setup(self) -> None:
        declare_ledger(self)
        self.codes = self.param("codes", _uniform, (self.codebook_size, self.codebook_dim))
