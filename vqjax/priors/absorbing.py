"""Absorbing diffusion: tokens that vanish one by one as time goes on, and how they come back."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax import arguments
from vqjax.config.annotations import check_fields
from vqjax.priors.masked import MaskedPrior
from vqjax.sampling import Guidance, TokenSampling, sample_absorbing
from vqjax.types import Level, Tree


class AbsorbingDiffusion(MaskedPrior):
    """Masked discrete diffusion (arXiv 2406.07524): at time t a token is masked with probability t,
    and the network says what the masked ones were.

    Training minimises the bound itself, eq. 11 with alpha_t = 1 - t, nats over t of the masked
    tokens. The integral over t is taken exactly: of T tokens a number uniform in 1 to T is masked,
    and weighs T over that number (arXiv 2110.02037, eq. 3); the examples of a batch draw from equal
    shares of 1 to T. Evaluation is the same estimate, also that of `MaskGIT`, whose training is
    weighted otherwise. The network is not told the time. Any levels: see `TokenOrder`.

    Attributes:
        width: channels; `layers`, `heads`, `kv_heads`, `qk_norm`, `remat`: see `Transformer`.
        condition: see `vqjax.priors.conditions`; None: unconditional.
        dropout: of embeddings, and of each residual branch.
        steps: of sampling, at least 1. In a step from t to s every masked token comes back with
            probability (t - s) / t (eq. 6), whatever it is.
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
    dropout: float = 0.0
    steps: int = 24
    positions: str = "grid"
    remat: bool | str = False
    levels: tuple[Level, ...] = ()
    dtype: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        arguments.whole("prior.steps", self.steps, least=1)
        super().__post_init__()

    @property
    def evaluations(self) -> int:
        """See `Prior.evaluations`."""
        return self.steps

    def objective(
        self, tokens: jax.Array, cond: Tree | None = None, example_ids: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Nats of the tokens [B, T], whose sum over an example is the bound, and their weights
        [B, T], which are 1. See `MaskedPrior.bound`; in training, which means that there is an rng
        stream "dropout", the examples of a batch draw from equal shares.
        """
        share, keys = self.share_keys(len(tokens), example_ids)
        if self.has_rng("dropout"):
            share = (jnp.arange(len(tokens)) + share) / len(tokens)
        nats, _ = self.bound(tokens, cond, share, keys)
        return nats, jnp.ones_like(nats)

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
        return sample_absorbing(
            network,
            length=self.order.length,
            mask_token=self.mask_token,
            keys=keys,
            steps=self.steps,
            choose=sampling,
            combine=combine,
            known=known,
        )
