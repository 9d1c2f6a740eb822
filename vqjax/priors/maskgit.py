"""MaskGIT: every masked token from those that are not masked."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.config.annotations import check_fields
from vqjax.priors.masked import MaskedPrior, nats_of
from vqjax.sampling import Guidance, MaskedDecoding, TokenSampling, sample_masked
from vqjax.sampling.masked_decoding import masked_share
from vqjax.types import Level, Tree, UsageError


class MaskGIT(MaskedPrior):
    """Learns masked tokens from the others, in both directions (arXiv 2202.04200, eq. 1).

    Training masks ceil(gamma(r) T) of T tokens, r uniform in [0, 1], gamma of `decoding`'s
    schedule. Evaluation masks a number of them uniform in 1 to T and weighs each by T over that
    number: the mean over draws is an upper bound on -log p(tokens), that of drawing them in a
    random order (arXiv 2110.02037, eq. 3). Any levels: see `TokenOrder`.

    Attributes:
        width: channels; `layers`, `heads`, `kv_heads`, `qk_norm`, `remat`: see `Transformer`.
        condition: see `vqjax.priors.conditions`; None: unconditional.
        dropout: of embeddings, and of each residual branch.
        label_smoothing: share of a training target's probability spread over the ids of its level.
        decoding: steps of sampling.
        positions: "grid", rotary over the axes of the tokens' grid; or "sequence".
        levels: of the tokenizer; filled in by the task.
        dtype: to compute in; None: the experiment's `compute_dtype`. Logits are float32 at least.
    """

    width: int
    layers: int
    heads: int
    kv_heads: int | None = None
    condition: nn.Module | None = None
    qk_norm: bool = False
    dropout: float = 0.1
    label_smoothing: float = 0.1
    decoding: MaskedDecoding = MaskedDecoding()
    positions: str = "grid"
    remat: bool | str = False
    levels: tuple[Level, ...] = ()
    dtype: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0.0 <= self.label_smoothing < 1.0:
            raise UsageError(
                f"prior.label_smoothing={self.label_smoothing}: wanted 0 or more, below 1"
            )
        super().__post_init__()

    @property
    def evaluations(self) -> int:
        """See `Prior.evaluations`."""
        return self.decoding.steps

    def objective(
        self, tokens: jax.Array, cond: Tree | None = None, example_ids: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """-log p of the tokens, in nats [B, T], and their weights [B, T]: 1 where masked, else 0.

        Draws from the rng stream "mask", for each example by its id. In training, which means that
        there is a stream "dropout", nats are smoothed; otherwise they are scaled by T over the
        number of masked ones, so that the weighted sum over an example is the bound.
        """
        share, keys = self.share_keys(len(tokens), example_ids)
        if not self.has_rng("dropout"):
            return self.bound(tokens, cond, share, keys)
        number = jnp.ceil(masked_share(self.decoding.schedule, share) * tokens.shape[1])  # [B]
        log_p, masked = self.log_p_masked(tokens, cond, jnp.maximum(number, 1.0), keys)
        nats = nats_of(log_p, tokens)  # [B, T]; eq. 1
        if self.label_smoothing:
            finite = jnp.where(log_p > jnp.finfo(log_p.dtype).min / 2, log_p, 0.0)  # [B, T, V]
            sizes = jnp.asarray([v.codebook_size for v in self.levels])[self.order.level_at]  # [T]
            uniform = -jnp.sum(finite, axis=-1) / sizes[None]  # [B, T]
            nats = (1.0 - self.label_smoothing) * nats + self.label_smoothing * uniform
        return nats, masked.astype(jnp.float32)

    def sample(
        self,
        params: Tree,
        keys: jax.Array,
        cond: Tree | None = None,
        *,
        sampling: TokenSampling,
        guidance: Guidance,
        known: tuple[jax.Array, jax.Array] | None = None,
    ) -> jax.Array:
        """Draws tokens, ids int32[B, T]; see `OrderedPrior.sample`. Called unbound."""
        network, combine = self.network_for(params, keys, cond, guidance)
        return sample_masked(
            network,
            length=self.order.length,
            mask_token=self.mask_token,
            keys=keys,
            how=self.decoding,
            choose=sampling,
            combine=combine,
            known=known,
        )
