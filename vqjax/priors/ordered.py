"""Priors that draw token after token, each from those before it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vqjax.priors.base import Prior
from vqjax.sampling import Choice, Guidance, sample_in_order
from vqjax.types import Tree


class OrderedPrior(Prior):
    """Base. Subclasses have `__call__(tokens, given) -> logits [B, T, V]` and `decoder`."""

    edits = frozenset({"outpaint below"})  # it sees no token that comes after

    def decoder(
        self, params: Tree, given: jax.Array | None, batch: int
    ) -> tuple[Any, jax.Array, Callable]:
        """The same network, token by token. Called unbound.

        Args:
            params: of this module.
            given: what `condition` takes, of `batch` examples.
            batch: B.

        Returns:
            The state before the first token, that token's logits [B, V], and
            `step(state, token int32[B], place) -> (state, logits [B, V])`: the logits of the token
            after `place`, given the one there.
        """
        raise NotImplementedError

    def objective(
        self, tokens: jax.Array, given: jax.Array | None = None, places: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """-log p of every token given those before it, in nats [B, T], and how much each counts.

        Draws nothing, so `places` do not matter.
        """
        del places
        log_p = jax.nn.log_softmax(self(tokens, given))
        nats = -jnp.take_along_axis(log_p, tokens[..., None], axis=-1)[..., 0]
        return nats, jnp.ones_like(nats)

    def sample(
        self,
        params: Tree,
        keys: jax.Array,
        given: jax.Array | None = None,
        *,
        choice: Choice,
        guidance: Guidance,
        known: tuple[jax.Array, jax.Array] | None = None,
    ) -> jax.Array:
        """Draws tokens, ids int32[B, T]. Called unbound.

        Args:
            params: of this module.
            keys: key[B]; an example depends on its own alone.
            given: what `condition` takes, of B examples; None: nothing.
            choice: how one token is chosen.
            guidance: away from what needs no condition.
            known: ids int32[B, T] and bool[B, T], True where they stay.
        """
        given, combine = self.conditioned(given, len(keys), guidance)
        count = len(keys) if given is None else len(given)
        state, logits, step = self.decoder(params, given, count)
        return sample_in_order(
            state,
            logits,
            step,
            length=self.order.length,
            keys=keys,
            choose=choice,
            combine=combine,
            known=known,
        )
