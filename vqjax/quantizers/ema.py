"""Vector quantization whose codes are running means of the vectors they stand for."""

import jax
import jax.numpy as jnp

from vqjax.quantizers.codebook import KMeans, Revival, declare_ledger, mean_square
from vqjax.quantizers.nearest import NearestCode
from vqjax.types import Tree


class EMAVectorQuantizer(NearestCode):
    """Every vector becomes its nearest code; codes are averages (arXiv 1711.00937, appendix A.1).

    N_k <- g N_k + (1 - g) n_k;  m_k <- g m_k + (1 - g) sum of z at k;  e_k = m_k / N_k  (eq. 6-8)
    with g the field `decay`. Only the loss `commitment` remains, and it pulls the encoder alone.
    The codebook is no parameter: no optimizer, weight decay or clipping touches it. A good first
    choice. Codes start at k-means centres, else standard normal. Attributes: see `NearestCode`.

    `vqjax train` does all that follows. A loop of your own sets the first codes, collects
    `statistics` in every training call, and moves the codes once per step (docs/quantizers.md has
    the whole program, for any quantizer):

        _, codebook = quantizer.init_codebook({}, codebook, z, key)  # before step 0; z [B, *S, D]
        out, mutated = quantizer.apply({"codebook": codebook}, z, train=True, step=step,
                                       rngs={"quantizer": key}, mutable=["statistics"])
        _, codebook = quantizer.update({}, codebook, mutated["statistics"], key, step)
    """

    start: KMeans | None = KMeans()
    revival: Revival | None = Revival()

    loss_weights = {"commitment": 0.25}
    stored_in = "codebook"

    def setup(self) -> None:
        declare_ledger(self)
        shape = (self.codebook_size, self.codebook_dim)
        # Drawn inside the lambda: an rng stream exists only while the variables are made.
        self.stored = self.variable(
            "codebook",
            "codes",
            lambda: jax.random.normal(self.make_rng("params"), shape, jnp.float32),
        )

    def codebook(self) -> jax.Array:
        return self.stored.value

    def losses(self, z: jax.Array, codes: jax.Array) -> dict[str, jax.Array]:
        return {"commitment": mean_square(z - codes)}

    def summed(self, flat: jax.Array) -> jax.Array:
        return flat

    def moved(
        self, codes: jax.Array, old: Tree, codebook: Tree, statistics: Tree, decay: jax.Array
    ) -> jax.Array:
        # m_k is e_k N_k, so it is not stored. Before the first update N_k is an equal share.
        share = statistics["seen"] / self.codebook_size
        weight = jnp.where(jnp.sum(old["counts"]) == 0, share, old["counts"])[:, None]  # [K, 1]
        sums = decay * weight * codes + (1 - decay) * statistics["sums"]  # m_k [K, D], eq. 7
        # A code that nobody has picked for very long stays where it is, rather than become 0 / 0.
        counts = codebook["counts"][:, None]  # N_k [K, 1], eq. 6
        alive = counts > 1e-20
        return jnp.where(alive, sums / jnp.where(alive, counts, 1.0), codes)  # e_k [K, D], eq. 8
