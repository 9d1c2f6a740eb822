"""Priors that draw token after token, each from those before it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vqjax.priors.base import Prior, count_of
from vqjax.sampling import Guidance, TokenSampling, sample_in_order
from vqjax.types import Tree


class OrderedPrior(Prior):
    """Base. Subclasses have `__call__(tokens, cond) -> logits [B, T, V]` and `decoder`."""

    edits = frozenset({"outpaint below"})  # it sees no token that comes after

    def decoder(
        self, params: Tree, cond: Tree | None, batch: int
    ) -> tuple[Any, jax.Array, Callable]:
        """The same network, token by token. Called unbound.

        Args:
            params: of this module.
            cond: what `condition` takes, of `batch` examples.
            batch: B.

        Returns:
            The state before the first token, that token's logits [B, V], and
            `step(state, token int32[B], position) -> (state, logits [B, V])`: the logits of the
            token after `position`, from the one there.
        """
        raise NotImplementedError

    def objective(
        self, tokens: jax.Array, cond: Tree | None = None, example_ids: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """-log p of every token from those before it, in nats [B, T], and how much each counts.

        Draws nothing, so `example_ids` do not matter.
        """
        del example_ids
        log_p = jax.nn.log_softmax(self(tokens, cond))  # [B, T, V]
        nats = -jnp.take_along_axis(log_p, tokens[..., None], axis=-1)[..., 0]  # [B, T]
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
        """Draws tokens, ids int32[B, T]. Called unbound.

        Args:
            params: of this module.
            keys: key[B]; an example depends on its own key alone.
            cond: what `condition` takes, of B examples; None: unconditional.
            sampling: how one token is drawn.
            guidance: classifier-free.
            known: ids int32[B, T] and bool[B, T], True where they stay.
        """
        cond, combine = self.with_guidance(cond, len(keys), guidance)
        count = count_of(cond, len(keys))  # B', with guidance 2 B
        state, logits, step = self.decoder(params, cond, count)  # logits [B', V]
        return sample_in_order(
            state,
            logits,
            step,
            length=self.order.length,
            keys=keys,
            choose=sampling,
            combine=combine,
            known=known,
        )
