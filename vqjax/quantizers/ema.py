"""Vector quantization whose codes are running means of the vectors they stand for."""

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


class EMAVectorQuantizer(nn.Module):
    """Every vector becomes its nearest code; codes are averages (arXiv 1711.00937, appendix A.1).

    N_k <- g N_k + (1 - g) n_k;  m_k <- g m_k + (1 - g) sum of z at k;  e_k = m_k / N_k  (eq. 6-8)
    with decay g. Only the loss `commitment` remains, and it pulls the encoder alone. The codebook
    is no parameter: no optimizer, weight decay or clipping touches it. A good first choice.

    Attributes:
        codebook_size: K.
        codebook_dim: D.
        decay: g, per step, reached after a warm-up (`decay_at`).
        start: how the codebook starts before step 0; None: standard normal.
        revival: what happens to dead codes; None: nothing.
    """

    codebook_size: int
    codebook_dim: int
    decay: float = 0.99
    start: KMeans | None = KMeans()
    revival: Revival | None = Revival()

    loss_weights = {"commitment": 0.25}
    num_codebooks = 1

    def setup(self) -> None:
        check_codebook(self)
        shape = (self.codebook_size, self.codebook_dim)
        # Drawn inside the lambda: an rng stream exists only while the variables are made.
        self.codes = self.variable(
            "codebook", "codes", lambda: jax.random.normal(self.make_rng("params"), shape)
        )
        self.sums = self.variable("codebook", "sums", jnp.zeros, shape)
        self.counts = self.variable("codebook", "counts", jnp.zeros, shape[:1])
        self.revived = self.variable("codebook", "revived", jnp.zeros, (), jnp.int32)

    def __call__(self, z: jax.Array, *, train: bool, step: jax.Array) -> Quantized:
        """Quantizes z [B, *S, D]; see `Quantized`."""
        chex.assert_axis_dimension(z, -1, self.codebook_dim)
        exact = ops.at_least_float32(z)
        flat = stop_gradient(exact).reshape(-1, self.codebook_dim)  # [N, D]
        indices = ops.nearest(flat, self.codes.value)  # [N]
        codes = self.codes.value[indices].reshape(exact.shape)  # [B, *S, D]
        metrics = usage_metrics(indices, self.codebook_size)
        if train:
            record(self, flat, indices, self.codebook_size)
            metrics["codebook_revived"] = self.revived.value
        return Quantized(
            z_q=ops.straight_through(exact, codes),
            indices=(indices.reshape(z.shape[:-1]),),
            losses={"commitment": jnp.sum((exact - codes) ** 2) / max(exact.size, 1)},
            metrics=metrics,
        )

    def lookup(self, indices: tuple[jax.Array, ...]) -> jax.Array:
        """Codes [B, *S, D] of indices (int32[B, *S],)."""
        return self.codes.value[indices[0]]

    def begin(self, params: Tree, codebook: Tree, z: jax.Array, rng: jax.Array) -> tuple:
        """Sets the codebook from encodings z [N, D], before step 0. Called unbound."""
        codes = ops.kmeans(z, self.codebook_size, self.start.iterations, rng)
        return params, {**codebook, "codes": codes.astype(codebook["codes"].dtype)}

    def update(
        self, params: Tree, codebook: Tree, statistics: Tree, rng: jax.Array, step: jax.Array
    ) -> tuple[Tree, Tree]:
        """Moves the averages and revives dead codes, once per step. Called unbound."""
        seen = statistics["seen"]
        old = codebook["counts"]
        # Before the first update every code weighs an equal share of the batch at where it is.
        first = jnp.sum(old) == 0
        old = jnp.where(first, seen / self.codebook_size, old)
        old_sums = jnp.where(first, codebook["codes"] * old[:, None], codebook["sums"])
        decay = decay_at(self.decay, step)
        counts = decay * old + (1 - decay) * statistics["counts"]
        sums = decay * old_sums + (1 - decay) * statistics["sums"]
        # A code that nobody has picked for very long stays where it is, rather than become 0 / 0.
        alive = counts > 1e-20
        codes = jnp.where(
            alive[:, None], sums / jnp.where(alive, counts, 1.0)[:, None], codebook["codes"]
        )
        revived = codebook["revived"]
        if self.revival is not None:
            index, dead = find_dead(counts, self.revival, seen)
            share = self.revival.share * seen / self.codebook_size
            codes = codes.at[index].set(
                jnp.where(dead[:, None], statistics["candidates"], codes[index])
            )
            counts = counts.at[index].set(jnp.where(dead, share, counts[index]))
            sums = sums.at[index].set(jnp.where(dead[:, None], codes[index] * share, sums[index]))
            revived = revived + jnp.sum(dead, dtype=revived.dtype)
        return params, {"codes": codes, "sums": sums, "counts": counts, "revived": revived}
