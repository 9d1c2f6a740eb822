"""Token after token, in one compiled loop that knows no model."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Step = Callable[[Any, jax.Array, jax.Array], tuple[Any, jax.Array]]
Choose = Callable[[jax.Array, jax.Array], jax.Array]


def sample_in_order(
    state: Any,
    logits: jax.Array,
    step: Step,
    *,
    length: int,
    keys: jax.Array,
    choose: Choose,
    combine: Callable[[jax.Array, jax.Array], jax.Array] = lambda logits, done: logits,
    known: tuple[jax.Array, jax.Array] | None = None,
) -> jax.Array:
    """Draws `length` tokens for each of B examples.

    Token t of an example is a function of its key and of t: batch size and devices do not matter.

    Args:
        state: before the first token.
        logits: of the first token, [B', V].
        step: (state, token int32[B'], position) -> (state, logits of the token after it [B', V]).
        length: T.
        keys: one per example, key[B].
        choose: (logits [B, V], keys [B]) -> int32[B].
        combine: (logits [B', V], share of tokens done) -> [B, V]; where B' is a multiple of B, as
            with guidance, `step` gets the tokens B' / B times.
        known: tokens int32[B, T] and bool[B, T], True where they stay.

    Returns:
        int32[B, T].
    """
    copies = len(logits) // len(keys)  # B' / B

    def pick(logits: jax.Array, position: jax.Array) -> jax.Array:
        own_keys = jax.vmap(lambda key: jax.random.fold_in(key, position))(keys)  # key[B]
        logits = combine(logits, position / max(length - 1, 1))  # [B', V] -> [B, V]
        token = choose(logits, own_keys)  # [B]
        if known is None:
            return token
        token_known, stays = (jax.lax.dynamic_index_in_dim(a, position, 1, False) for a in known)
        return jnp.where(stays, token_known, token)  # [B]

    def body(position: jax.Array, carry: tuple) -> tuple:
        state, logits, tokens = carry  # ..., [B', V], [B, T]
        token = pick(logits, position)  # [B]
        tokens = jax.lax.dynamic_update_index_in_dim(tokens, token, position, 1)  # [B, T]
        state, logits = step(state, jnp.tile(token, copies), position)  # ..., [B', V]
        return state, logits, tokens

    tokens = jnp.zeros((len(keys), length), jnp.int32)
    _, logits, tokens = jax.lax.fori_loop(0, length - 1, body, (state, logits, tokens))
    last = jnp.int32(length - 1)
    return jax.lax.dynamic_update_index_in_dim(tokens, pick(logits, last), last, 1)
