"""A normal distribution per latent instead of a code: the variational autoencoder."""

import math

import chex
import flax.struct
import jax
import jax.numpy as jnp

from vqjax.config.annotations import check_fields
from vqjax.ops.numerics import at_least_float32, sum_per_example
from vqjax.quantizers.base import Quantizer
from vqjax.quantizers.codebook import check_sizes
from vqjax.types import Quantized, UsageError

LOG_VARIANCE = (-30.0, 20.0)  # clipped to this; outside no gradient flows to it
ACTIVE = 0.01  # variance of its mean over examples above which a latent counts as active


@flax.struct.dataclass
class Draw:
    """One latent variable drawn for every example, and what that cost.

    Attributes:
        z: [B, *S, D].
        log_ratio: float[B], log p(z) - log q(z | x) in nats.
        kl: float[B], KL(q(z | x) || p) in nats, exact.
    """

    z: jax.Array
    log_ratio: jax.Array
    kl: jax.Array


class Gaussian(Quantizer):
    """q(z | x) = N(mean, variance), one of each per latent, against p(z) = N(0, I).

    From the encoder come 2 D channels: D means, then D logarithms of variances, clipped to
    [-30, 20]. In training z = mean + deviation * noise, so that the gradient reaches both (arXiv
    1312.6114, eq. 10); in evaluation z is the mean.

    Loss `kl`: KL(q || p) = sum (mean^2 + variance - log variance - 1) / 2 (appendix B) in nats per
    example: the sum over all latents of an example, the mean over the batch. Its weight is beta;
    1, with a likelihood of weight 1 (`vqjax.losses.likelihood`), makes the total the negative
    evidence lower bound, and a schedule anneals it. Active latents are those whose mean varies
    over the batch by more than 0.01 (arXiv 1509.00519, section 5).

    With `free_bits` the loss is the sum over channels of max(free_bits, KL of the channel), the
    KL of a channel being the sum over its positions and the mean over the (micro)batch (arXiv
    1606.04934, "free bits"): a channel whose KL is below is not pressed further. The KL itself
    is then logged as `kl_exact`.

    Attributes:
        codebook_dim: D.
        free_bits: nats per channel and example that cost nothing, >= 0.
    """

    codebook_dim: int
    free_bits: float = 0.0

    loss_weights = {"kl": 1.0}
    codebook_size = 0
    has_prior = True

    def __post_init__(self) -> None:
        check_fields(self)
        check_sizes(codebook_dim=self.codebook_dim)
        super().__post_init__()

    @property
    def input_dim(self) -> int:
        """Channels of its input: 2 D."""
        return 2 * self.codebook_dim

    def __call__(self, z: jax.Array, *, train: bool, step: jax.Array) -> Quantized:
        """Draws from z [B, *S, 2 D]; see `Quantized`."""
        if not 0.0 <= self.free_bits < math.inf:
            raise UsageError(f"quantizer.free_bits={self.free_bits}: wanted at least 0")
        mean, log_variance = self.split(z)
        drawn = mean
        if train:
            noise = jax.random.normal(self.make_rng("quantizer"), mean.shape, mean.dtype)
            drawn = mean + jnp.exp(0.5 * log_variance) * noise  # eq. 10
        count = max(len(z), 1)  # an empty batch is zero, not NaN
        kl = _divergence(mean, log_variance)  # [B, *S, D]
        channels = kl.sum(axis=tuple(range(kl.ndim - 1))) / count  # [D]
        metrics = {"active_latents": _active(mean)}
        if self.free_bits:
            metrics["kl_exact"] = channels.sum()
        return Quantized(
            z_q=drawn,
            indices=(),
            losses={"kl": jnp.maximum(channels, self.free_bits).sum()},
            metrics=metrics,
        )

    def split(self, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        """z [B, *S, 2 D] -> mean and log variance [B, *S, D], in at least float32."""
        chex.assert_axis_dimension(z, -1, self.input_dim)
        mean, log_variance = jnp.split(at_least_float32(z), 2, axis=-1)  # [B, *S, D] each
        return mean, jnp.clip(log_variance, *LOG_VARIANCE)

    def draw(self, z: jax.Array, noise: jax.Array) -> Draw:
        """Draws with the noise passed in. Needs no parameters: callable unbound.

        Args:
            z: [B, *S, 2 D], the quantizer's input.
            noise: [B, *S, D], standard normal.
        """
        mean, log_variance = self.split(z)
        chex.assert_equal_shape([mean, noise])
        drawn = mean + jnp.exp(0.5 * log_variance) * noise
        # log N(z; 0, 1) - log N(z; mean, variance): the terms log(2 pi) / 2 cancel.
        log_ratio = 0.5 * (noise**2 + log_variance - drawn**2)
        kl = _divergence(mean, log_variance)
        return Draw(z=drawn, log_ratio=sum_per_example(log_ratio), kl=sum_per_example(kl))

    def prior(self, key: jax.Array, grid: tuple[int, ...]) -> jax.Array:
        """The latents of one example drawn from N(0, I), float32[*grid, D]. Callable unbound."""
        return jax.random.normal(key, (*grid, self.codebook_dim), jnp.float32)


def _divergence(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """KL(N(mean, variance) || N(0, 1)) of each latent, in nats."""
    # expm1: near variance 1, exp(v) - v - 1 would lose all its digits.
    return 0.5 * (mean**2 + jnp.expm1(log_variance) - log_variance)


def _active(mean: jax.Array) -> jax.Array:
    """How many latents of an example are active in this batch [B, *S, D], as a float."""
    if not len(mean):
        return jnp.zeros((), mean.dtype)
    return jnp.sum(jnp.var(mean, axis=0) > ACTIVE).astype(mean.dtype)
