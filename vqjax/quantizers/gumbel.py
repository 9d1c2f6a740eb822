"""A categorical bottleneck, sampled and differentiated by the Gumbel-softmax."""

import chex
import jax
import jax.numpy as jnp

from vqjax.config.annotations import check_fields
from vqjax.ops import codes as ops
from vqjax.ops.schedules import Schedule, as_schedule
from vqjax.quantizers.codebook import Discrete, Watch, check_sizes, declare_ledger, observe
from vqjax.types import Quantized, UsageError


class GumbelQuantizer(Discrete):
    """The encoder gives logits over the codes; one is drawn (arXiv 1611.01144; 2102.12092).

    Training: y = softmax((l + g) / tau), g standard Gumbel noise (eq. 2), and z_q = sum_k y_k e_k,
    or the code of the largest y with that sum's gradient. Evaluation: the code of the largest
    logit. The loss `prior` is KL(softmax(l) | uniform) = log K - H, exact, the mean over tokens in
    nats: weighed by the number of tokens it makes a likelihood per example the negative ELBO of a
    VAE with K categories, sampled through the relaxation. Probabilities are N x K by definition, so
    K is bounded by memory. Pick it for its probabilities, or to reproduce DALL-E's; lower the
    temperature as training goes on.

    Attributes:
        codebook_size: K; the input is logits [B, *S, K].
        codebook_dim: D.
        temperature: tau > 0, a number or a schedule, such as Cosine(1.0, steps=10_000, final=0.06).
        hard: whether training passes on one code, as evaluation does, or the mixture.
        watch: when codes count as alive.
    """

    codebook_size: int
    codebook_dim: int
    temperature: float | Schedule = 1.0
    hard: bool = True
    watch: Watch = Watch()

    loss_weights = {"prior": 1e-3}
    remedies = ("a higher task.loss_weights.prior", "a higher quantizer.temperature for longer")

    def __post_init__(self) -> None:
        check_fields(self)
        check_sizes(codebook_size=self.codebook_size, codebook_dim=self.codebook_dim)
        tau = as_schedule(self.temperature)
        lowest = min(getattr(tau, "value", 1.0), getattr(tau, "final", 1.0))
        if lowest <= 0.0 or tau.start > 0:
            raise UsageError(f"quantizer.temperature={self.temperature}: wanted > 0 at every step")
        super().__post_init__()

    @property
    def input_dim(self) -> int:
        """K: the tokenizer projects to logits."""
        return self.codebook_size

    def setup(self) -> None:
        declare_ledger(self)
        shape = (self.codebook_size, self.codebook_dim)
        self.codes = self.param("codes", jax.nn.initializers.normal(1.0), shape, jnp.float32)

    def __call__(self, z: jax.Array, *, train: bool, step: jax.Array) -> Quantized:
        """Quantizes logits z [B, *S, K]; see `Quantized`."""
        chex.assert_axis_dimension(z, -1, self.codebook_size)
        logits = ops.at_least_float32(z)
        log_p = jax.nn.log_softmax(logits)  # [B, *S, K]
        kl = jnp.sum(jnp.exp(log_p) * log_p, axis=-1) + jnp.log(
            float(self.codebook_size)
        )  # [B, *S]
        if train:
            noise = jax.random.gumbel(self.make_rng("quantizer"), logits.shape, logits.dtype)
            tau = as_schedule(self.temperature)(step)
            y = jax.nn.softmax((logits + noise) / tau)  # [B, *S, K], eq. 2
            indices = jnp.argmax(y, axis=-1).astype(jnp.int32)  # [B, *S]
            z_q = jnp.matmul(y, self.codes, precision=jax.lax.Precision.HIGHEST)  # [B, *S, D]
            if self.hard:
                z_q = ops.straight_through(z_q, ops.take(self.codes, indices))
        else:
            indices = jnp.argmax(logits, axis=-1).astype(jnp.int32)  # [B, *S]
            z_q = ops.take(self.codes, indices)  # [B, *S, D]
        return Quantized(
            z_q=z_q,
            indices=(indices,),
            losses={"prior": jnp.sum(kl) / float(max(kl.size, 1))},
            metrics=observe(self, indices.reshape(-1), train=train),
        )

    def lookup(self, indices: tuple[jax.Array, ...]) -> jax.Array:
        """Codes [B, *S, D] of indices (int32[B, *S],)."""
        return ops.take(self.codes, indices[0])  # [B, *S, D]
