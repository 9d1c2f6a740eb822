"""Vector quantization with a frozen codebook behind one linear map."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import Precision

from vqjax.config.annotations import check_fields
from vqjax.quantizers.codebook import declare_ledger
from vqjax.quantizers.nearest import NearestCode
from vqjax.types import UsageError


def _identity(key: jax.Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> jax.Array:
    return jnp.eye(*shape, dtype=dtype)


class SimVQ(NearestCode):
    """Codes are C W: C random and fixed, W [D, D] trained (arXiv 2411.02038).

    A gradient to W moves the whole codebook, not just the codes that were picked, so none is left
    behind. Losses as those of `VectorQuantizer`, with e = C W. Pick it for large codebooks
    without revival, in few dimensions: what one linear map can do to fit them is little where the
    encodings fill a small part of the space. C starts as N(0, 1/D) and W as the identity.
    Attributes: see `NearestCode`; `revival` is refused, for the codes have no places of their own.
    """

    stored_in = "codebook"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.revival is not None:
            raise UsageError("SimVQ has no revival: its codes move together")
        super().__post_init__()

    @property
    def remedies(self) -> tuple[str, ...]:
        init = () if self.start else ("quantizer.start='KMeans()'",)
        return ("a smaller codebook_dim", *init, "a lower learning rate")

    def setup(self) -> None:
        declare_ledger(self)
        shape, scale = (self.codebook_size, self.codebook_dim), self.codebook_dim**-0.5
        # Drawn inside the lambda: an rng stream exists only while the variables are made.
        self.stored = self.variable(
            "codebook",
            "codes",
            lambda: scale * jax.random.normal(self.make_rng("params"), shape, jnp.float32),
        )
        self.kernel = self.param("kernel", _identity, (self.codebook_dim, self.codebook_dim))

    def codebook(self) -> jax.Array:
        return jnp.matmul(self.stored.value, self.kernel, precision=Precision.HIGHEST)  # C W [K, D]
