"""`NearestCode`: what quantizers have in common that pick the nearest of K stored codes."""

import chex
import jax
from jax.lax import stop_gradient

from vqjax.config.annotations import check_fields
from vqjax.ops import codes as ops
from vqjax.quantizers.codebook import (
    Discrete,
    KMeans,
    Revival,
    Watch,
    check_sizes,
    count_picks,
    decay_at,
    mean_square,
    observe,
    revive,
)
from vqjax.quantizers.estimators import Estimator, StraightThrough
from vqjax.types import Quantized, Tree, UsageError


class NearestCode(Discrete):
    """Base: z [B, *S, D] becomes its nearest code (arXiv 1711.00937, eq. 1).

    In a module and a training loop of one's own, `init_codebook` sets the first codes, a training
    call takes `rngs={"quantizer": key}` and `mutable=["statistics"]`, and `update` is called once
    per step with what was collected. docs/quantizers.md has a whole program.

    A subclass declares its codes in `setup`, and by `declare_ledger` its usage counts; `stored_in`
    says where `init_codebook` and `update` find the codes.

    Attributes:
        codebook_size: K.
        codebook_dim: D.
        estimator: how the encoder gets its gradient.
        start: how codes are initialised before step 0; None: as the subclass draws them.
        revival: what happens to dead codes; None: nothing.
        decay: of the EMA of usage counts (and of codes that are averages), per step, after a
            warm-up (`decay_at`).
        watch: when codes count as alive.
    """

    codebook_size: int
    codebook_dim: int
    estimator: Estimator = StraightThrough()
    start: KMeans | None = None
    revival: Revival | None = None
    decay: float = 0.99
    watch: Watch = Watch()

    loss_weights = {"commitment": 0.25, "codebook": 1.0}
    stored_in = "params"  # or "codebook": the collection that holds `codes`

    def __post_init__(self) -> None:
        check_fields(self)
        check_sizes(codebook_size=self.codebook_size, codebook_dim=self.codebook_dim)
        if not 0.0 <= self.decay < 1.0:
            raise UsageError(f"quantizer.decay={self.decay}: wanted 0 <= decay < 1")
        super().__post_init__()

    @property
    def remedies(self) -> tuple[str, ...]:
        """Settings that keep more codes alive, those that are not in use yet."""
        init = () if self.start else ("quantizer.start='KMeans()'",)
        revival = () if self.revival else ("quantizer.revival='Revival()'",)
        return (*init, *revival) or ("a smaller codebook_size", "a smaller codebook_dim")

    def prepare(self, z: jax.Array) -> jax.Array:
        """z [..., D], at least float32 -> what is compared with codes. Needs no variables."""
        return z

    def codebook(self) -> jax.Array:
        """The codes [K, D] that vectors are compared with and become."""
        return self.codes

    def losses(self, z: jax.Array, codes: jax.Array) -> dict[str, jax.Array]:
        """Loss terms of prepared vectors and their codes, both [B, *S, D]; means over elements."""
        return {
            "commitment": mean_square(z - stop_gradient(codes)),  # eq. 3, third term
            "codebook": mean_square(stop_gradient(z) - codes),  # eq. 3, second term
        }

    def __call__(self, z: jax.Array, *, train: bool, step: jax.Array) -> Quantized:
        """Quantizes z [B, *S, D]; see `Quantized`."""
        chex.assert_axis_dimension(z, -1, self.codebook_dim)
        z = self.prepare(ops.at_least_float32(z))
        flat = stop_gradient(z).reshape(-1, self.codebook_dim)  # [N, D]
        codebook = self.codebook()  # [K, D]
        indices = ops.nearest(flat, stop_gradient(codebook))  # [N]
        codes = ops.take(codebook, indices).reshape(z.shape)  # [B, *S, D]
        metrics = observe(
            self,
            indices,
            train=train,
            candidates=None if self.revival is None else flat,
            summed=self.summed(flat),
        )
        return Quantized(
            z_q=self.estimator(z, codes),
            indices=(indices.reshape(z.shape[:-1]),),  # [B, *S]
            losses=self.losses(z, codes),
            metrics=metrics,
        )

    def summed(self, flat: jax.Array) -> jax.Array | None:
        """The vectors [N, D] of which `update` needs the sum for each code, or None."""
        return None

    def lookup(self, indices: tuple[jax.Array, ...]) -> jax.Array:
        """Codes [B, *S, D] of indices (int32[B, *S],)."""
        return ops.take(self.codebook(), indices[0])  # [B, *S, D]

    def init_codebook(self, params: Tree, codebook: Tree, z: jax.Array, rng: jax.Array) -> tuple:
        """Sets the codes from encodings z [B, *S, D], before step 0. Called unbound."""
        flat = self.prepare(ops.at_least_float32(z)).reshape(-1, self.codebook_dim)  # [N, D]
        codes = ops.kmeans(flat, self.codebook_size, self.start.iterations, rng)  # [K, D]
        return self._with_codes(params, codebook, codes)

    def update(
        self, params: Tree, codebook: Tree, statistics: Tree, rng: jax.Array, step: jax.Array
    ) -> tuple[Tree, Tree]:
        """Updates usage counts and codes that are averages, and revives dead ones. Unbound."""
        decay = decay_at(self.decay, step)
        old = codebook
        codebook = count_picks(codebook, statistics, self.watch, decay)
        codes = self.moved(self._codes(params, codebook), old, codebook, statistics, decay)
        if self.revival is not None:
            codes, codebook = revive(codes, codebook, statistics, self.revival)
        return self._with_codes(params, codebook, codes)

    def moved(
        self, codes: jax.Array, old: Tree, codebook: Tree, statistics: Tree, decay: jax.Array
    ) -> jax.Array:
        """The codes after this step: as they are, where an optimizer moves them."""
        return codes

    def _codes(self, params: Tree, codebook: Tree) -> jax.Array:
        return (params if self.stored_in == "params" else codebook)["codes"]

    def _with_codes(self, params: Tree, codebook: Tree, codes: jax.Array) -> tuple[Tree, Tree]:
        tree = params if self.stored_in == "params" else codebook
        tree = {**tree, "codes": codes.astype(tree["codes"].dtype)}
        return (tree, codebook) if self.stored_in == "params" else (params, tree)
