"""MaskGIT: every masked token from those that are not masked."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax.config.annotations import check_fields
from vqjax.nn.attention import INIT
from vqjax.priors.base import EDITS, TransformerPrior, count_of
from vqjax.sampling import Guidance, MaskedDecoding, TokenSampling, sample_masked
from vqjax.sampling.masked_decoding import masked_share
from vqjax.types import Level, Tree, UsageError


class MaskGIT(TransformerPrior):
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

    is_bound = True
    edits = frozenset(EDITS)

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0.0 <= self.label_smoothing < 1.0:
            raise UsageError(
                f"prior.label_smoothing={self.label_smoothing}: wanted 0 or more, below 1"
            )
        super().__post_init__()

    @property
    def mask_token(self) -> int:
        """The id of a masked token."""
        return self.order.vocabulary

    def setup(self) -> None:
        size = self.order.vocabulary
        self.tokens = nn.Embed(size + 1, self.width, embedding_init=INIT, dtype=self.dtype)
        self.transformer = self.make_transformer(
            causal=False, dropout=self.dropout, remat=self.remat
        )
        zeros = nn.initializers.zeros
        self.head = nn.Dense(size, use_bias=False, kernel_init=zeros, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)
        self.declare_start_vector()

    def __call__(self, tokens: jax.Array, cond: Tree | None = None) -> jax.Array:
        """Logits of every token, masked or not; with dropout if there is its rng stream.

        Args:
            tokens: ids int32[B, T], `mask_token` where they are masked.
            cond: the input of `condition`, such as labels int32[B].

        Returns:
            [B, T, V].
        """
        prefix, mask, context = self.conditioning(cond, len(tokens))  # [B, P, C], [B, P + T]
        x = self.tokens(tokens).astype(prefix.dtype)  # [B, T, C]
        x = jnp.concatenate([prefix, x], axis=1)  # [B, P + T, C]
        x = self.drop(x, deterministic=not self.has_rng("dropout"))
        h = self.transformer(x, jnp.asarray(self.angles()), mask, context)  # [B, P + T, C]
        logits = self.head(h[:, prefix.shape[1] :])  # [B, T, V]
        return self.mask_other_levels(logits, np.arange(tokens.shape[1]))

    def objective(
        self, tokens: jax.Array, cond: Tree | None = None, example_ids: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """-log p of the tokens, in nats [B, T], and their weights [B, T]: 1 where masked, else 0.

        Draws from the rng stream "mask", for each example by its id. In training, which means that
        there is a stream "dropout", nats are smoothed; otherwise they are scaled by T over the
        number of masked ones, so that the weighted sum over an example is the bound.
        """
        batch, length = tokens.shape
        example_ids = jnp.arange(batch) if example_ids is None else example_ids
        key = self.make_rng("mask")
        split = jax.vmap(lambda example_id: jax.random.split(jax.random.fold_in(key, example_id)))
        keys = split(example_ids)  # key[B, 2]
        ratio = jax.vmap(lambda k: jax.random.uniform(k, dtype=jnp.float32))(keys[:, 0])  # [B]
        train = self.has_rng("dropout")
        if train:
            share = masked_share(self.decoding.schedule, ratio)  # [B]
            num_masked = jnp.maximum(jnp.ceil(share * length), 1.0)  # [B]
        else:
            num_masked = jnp.minimum(1.0 + jnp.floor(ratio * length), length)  # uniform in 1 to T
        draw = jax.vmap(lambda k: jax.random.uniform(k, (length,), jnp.float32))
        noise = draw(keys[:, 1])  # [B, T]
        rank = jnp.argsort(jnp.argsort(noise, axis=1), axis=1)  # [B, T], each row a permutation
        masked = rank < num_masked[:, None]  # [B, T]
        inputs = jnp.where(masked, self.mask_token, tokens)  # [B, T]
        log_p = jax.nn.log_softmax(self(inputs, cond))  # [B, T, V]
        nats = -jnp.take_along_axis(log_p, tokens[..., None], axis=-1)[..., 0]  # [B, T]; eq. 1
        if not train:
            nats = nats * length / num_masked[:, None]  # [B, T]; arXiv 2110.02037, eq. 3
            return jnp.where(masked, nats, 0.0), masked.astype(jnp.float32)
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
        cond, combine = self.with_guidance(cond, len(keys), guidance)
        copies = 1 if cond is None else count_of(cond, 0) // len(keys)  # B' / B, 2 with guidance

        def network(tokens: jax.Array) -> jax.Array:
            tokens = jnp.tile(tokens, (copies, 1))  # [B', T]
            return self.apply({"params": params}, tokens, cond)  # [B', T, V]

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
