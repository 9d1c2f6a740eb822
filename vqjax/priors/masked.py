"""What priors of masked tokens share: the network, and the bound that it gives."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax.nn.attention import INIT
from vqjax.priors.base import EDITS, TransformerPrior, count_of
from vqjax.sampling import Guidance
from vqjax.types import Tree


class MaskedPrior(TransformerPrior):
    """Base of priors that learn masked tokens from the others. They have the fields of `MaskGIT`,
    without `label_smoothing` and `decoding`.
    """

    is_bound = True
    edits = frozenset(EDITS)

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

    def share_keys(self, count: int, example_ids: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """A number in [0, 1) for each of `count` examples, float32[B], and a key for what of it is
        masked, key[B]: by its id, 0 to B - 1 where there are none. From the rng stream "mask".
        """
        example_ids = jnp.arange(count) if example_ids is None else example_ids
        key = self.make_rng("mask")
        split = jax.vmap(lambda example_id: jax.random.split(jax.random.fold_in(key, example_id)))
        keys = split(example_ids)  # key[B, 2]
        share = jax.vmap(lambda k: jax.random.uniform(k, dtype=jnp.float32))(keys[:, 0])  # [B]
        return share, keys[:, 1]

    def log_p_masked(
        self, tokens: jax.Array, cond: Tree | None, number: jax.Array, keys: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """log p of every id [B, T, V] where `number` [B] of the T tokens are masked, drawn by keys
        [B], and which these are, bool [B, T].
        """
        draw = jax.vmap(lambda k: jax.random.uniform(k, tokens.shape[1:], jnp.float32))
        noise = draw(keys)  # [B, T]
        rank = jnp.argsort(jnp.argsort(noise, axis=1), axis=1)  # [B, T], each row a permutation
        masked = rank < number[:, None]  # [B, T]
        inputs = jnp.where(masked, self.mask_token, tokens)  # [B, T]
        return jax.nn.log_softmax(self(inputs, cond)), masked

    def bound(
        self, tokens: jax.Array, cond: Tree | None, share: jax.Array, keys: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Nats of the tokens, [B, T], 0 where they are not masked, and which are masked, float
        [B, T]. Their sum over an example is, in the mean over share uniform in [0, 1), an upper
        bound on -log p(tokens), that of drawing them in a random order (arXiv 2110.02037, eq. 3).
        """
        length = tokens.shape[1]
        number = jnp.minimum(1.0 + jnp.floor(share * length), length)  # uniform in 1 to T
        log_p, masked = self.log_p_masked(tokens, cond, number, keys)
        nats = nats_of(log_p, tokens) * length / number[:, None]  # [B, T]; eq. 3
        return jnp.where(masked, nats, 0.0), masked.astype(jnp.float32)

    def network_for(
        self, params: Tree, keys: jax.Array, cond: Tree | None, guidance: Guidance
    ) -> tuple:
        """The network as samplers call it, tokens [B, T] -> logits [B', T, V], and what combines
        these. Unbound.
        """
        cond, combine = self.with_guidance(cond, len(keys), guidance)
        copies = 1 if cond is None else count_of(cond, 0) // len(keys)  # B' / B, 2 with guidance

        def network(tokens: jax.Array) -> jax.Array:
            tokens = jnp.tile(tokens, (copies, 1))  # [B', T]
            return self.apply({"params": params}, tokens, cond)  # [B', T, V]

        return network, combine


def nats_of(log_p: jax.Array, tokens: jax.Array) -> jax.Array:
    """-log p [B, T] of the tokens [B, T], by log p of every id [B, T, V]."""
    return -jnp.take_along_axis(log_p, tokens[..., None], axis=-1)[..., 0]
