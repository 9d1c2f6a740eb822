"""Vector quantization with a codebook trained by gradient."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.lax import stop_gradient

from vqjax.ops import codes as ops
from vqjax.quantizers.codebook import (
    KMeans,
    Revival,
    check_codebook,
    decay_at,
    find_dead,
    record,
    usage_metrics,
)
from vqjax.types import Quantized, Tree


def _uniform(key: jax.Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, -1.0 / shape[0], 1.0 / shape[0])


class VectorQuantizer(nn.Module):
    """Every vector becomes its nearest code; codes follow by gradient (arXiv 1711.00937, eq. 3).

    losses: `commitment` |z - sg(e)|^2 pulls the encoder, `codebook` |sg(z) - e|^2 pulls the
    codes, both as means over all elements; the paper's beta is the weight of `commitment`.
    Pick it where the optimizer should own the codebook; `EMAVectorQuantizer` usually needs less
    care.

    Attributes:
        codebook_size: K.
        codebook_dim: D.
        start: how the codebook starts before step 0; None: U(-1/K, 1/K).
        revival: what happens to dead codes; None: nothing.
        decay: of the average counts by which `revival` judges.
    """

    codebook_size: int
    codebook_dim: int
    start: KMeans | None = None
    revival: Revival | None = None
    decay: float = 0.99

    loss_weights = {"commitment": 0.25, "codebook": 1.0}
    num_codebooks = 1

    def setup(self) -> None:
        check_codebook(self)
        self.codes = self.param("codes", _uniform, (self.codebook_size, self.codebook_dim))
        self.counts = self.variable("codebook", "counts", jnp.zeros, (self.codebook_size,))
        self.revived = self.variable("codebook", "revived", jnp.zeros, (), jnp.int32)

    def __call__(self, z: jax.Array, *, train: bool, step: jax.Array) -> Quantized:
        """Quantizes z [B, *S, D]; see `Quantized`."""
        chex.assert_axis_dimension(z, -1, self.codebook_dim)
        exact = ops.at_least_float32(z)
        flat = stop_gradient(exact).reshape(-1, self.codebook_dim)  # [N, D]
        indices = ops.nearest(flat, stop_gradient(self.codes))  # [N]
        codes = ops.take(self.codes, indices).reshape(exact.shape)  # [B, *S, D]
        metrics = usage_metrics(indices, self.codebook_size)
        if train:
            record(self, flat, indices, self.codebook_size)
            metrics["codebook_revived"] = self.revived.value
        return Quantized(
            z_q=ops.straight_through(exact, codes),
            indices=(indices.reshape(z.shape[:-1]),),
            losses={
                "commitment": _mean_square(exact - stop_gradient(codes)),
                "codebook": _mean_square(stop_gradient(exact) - codes),
            },
            metrics=metrics,
        )

    def lookup(self, indices: tuple[jax.Array, ...]) -> jax.Array:
        """Codes [B, *S, D] of indices (int32[B, *S],)."""
        return self.codes[indices[0]]

    def begin(self, params: Tree, codebook: Tree, z: jax.Array, rng: jax.Array) -> tuple:
        """Sets the codebook from encodings z [N, D], before step 0. Called unbound."""
        codes = ops.kmeans(z, self.codebook_size, self.start.iterations, rng)
        return {**params, "codes": codes.astype(params["codes"].dtype)}, codebook

    def update(
        self, params: Tree, codebook: Tree, statistics: Tree, rng: jax.Array, step: jax.Array
    ) -> tuple[Tree, Tree]:
        """Counts, and revives dead codes, once per step after the optimizer. Called unbound."""
        seen = statistics["seen"]
        decay = decay_at(self.decay, step)
        counts = jnp.where(
            jnp.sum(codebook["counts"]) > 0,
            decay * codebook["counts"] + (1 - decay) * statistics["counts"],
            jnp.full_like(codebook["counts"], seen / self.codebook_size),  # the first step
        )
        revived = codebook["revived"]
        codes = params["codes"]
        if self.revival is not None:
            index, dead = find_dead(counts, self.revival, seen)
            share = self.revival.share * seen / self.codebook_size
            new = jnp.where(dead[:, None], statistics["candidates"], codes[index])
            codes = codes.at[index].set(new.astype(codes.dtype))
            counts = counts.at[index].set(jnp.where(dead, share, counts[index]))
            revived = revived + jnp.sum(dead, dtype=revived.dtype)
        return {**params, "codes": codes}, {"counts": counts, "revived": revived}


def _mean_square(x: jax.Array) -> jax.Array:
    return jnp.sum(x**2) / max(x.size, 1)  # an empty batch is zero, not NaN
