"""Several tokens at every step, one of each codebook, in one compiled loop that knows no model."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Step = Callable[[Any, jax.Array, jax.Array], tuple[Any, jax.Array]]


def sample_codebooks(
    state: Any,
    logits: jax.Array,
    step: Step,
    *,
    frame_at: np.ndarray,
    keys: jax.Array,
    choose: Callable[[jax.Array, jax.Array], jax.Array],
    combine: Callable[[jax.Array, jax.Array], jax.Array] = lambda logits, done: logits,
    known: tuple[jax.Array, jax.Array] | None = None,
    ended: int | None = None,
) -> jax.Array:
    """Draws the tokens of S steps, one of each of Q codebooks, for each of B examples.

    The token of codebook q at step s of an example is a function of its key, of s and of q: batch
    size and devices do not matter.

    Args:
        state: before the first step.
        logits: of the first step, [B', Q, V].
        step: (state, codes int32[B', Q], number) -> (state, logits of the step after it).
        frame_at: int[S, Q], the frame of which a step's token is; -1: it has none, and is 0.
        keys: one per example, key[B].
        choose: (logits [B Q, V], keys [B Q]) -> int32[B Q].
        combine: (logits [B', Q, V], share of steps done) -> [B, Q, V]; where B' is a multiple of B,
            as with guidance, `step` gets the codes B' / B times.
        known: codes int32[B, S, Q] and bool[B, S, Q], True where they stay.
        ended: the code by which codebook 0 ends an example: from its frame on, every codebook has
            that code; it is not drawn before a known code of another kind. None: there is none.

    Returns:
        int32[B, S, Q].
    """
    frames, batch = jnp.asarray(frame_at, jnp.int32), len(keys)  # [S, Q]
    (count, codebooks), copies = frame_at.shape, len(logits) // batch  # S, Q, B' / B
    least = jnp.full((batch,), -1, jnp.int32)  # [B], the last frame that an example must have
    if known is not None and ended is not None:
        stay = known[1] & (known[0] != ended)  # [B, S, Q]
        least = jnp.max(jnp.where(stay, frames[None], -1), axis=(1, 2))

    def pick(logits: jax.Array, number: jax.Array, end: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Codes [B, Q] of a step, and the frame in which each example ends [B], as far as known."""
        frame = frames[number]  # [Q]
        own_keys = jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)  # key[B]
        own_keys = jax.vmap(lambda key: jax.random.split(key, codebooks))(own_keys)  # key[B, Q]
        logits = combine(logits, number / max(count - 1, 1))  # [B', Q, V] -> [B, Q, V]
        if ended is not None:
            too_early = (frame[0] <= least)[:, None, None]  # [B, 1, 1]
            is_end = (jnp.arange(logits.shape[-1]) == ended)[None, None]  # [1, 1, V]
            logits = jnp.where(too_early & is_end, jnp.finfo(logits.dtype).min, logits)
        flat = logits.reshape(-1, logits.shape[-1])  # [B Q, V]
        codes = choose(flat, own_keys.reshape(-1)).reshape(batch, codebooks)  # [B, Q]
        if known is not None:
            known_codes, stays = (
                jax.lax.dynamic_index_in_dim(a, number, 1, False) for a in known
            )  # [B, Q] each
            codes = jnp.where(stays, known_codes, codes)
        if ended is not None:
            ends = (codes[:, 0] == ended) & (frame[0] >= 0)  # [B]
            end = jnp.where(ends, jnp.minimum(end, frame[0]), end)
            codes = jnp.where(frame[None] >= end[:, None], ended, codes)
        return jnp.where(frame[None] >= 0, codes, 0), end

    def body(number: jax.Array, carry: tuple) -> tuple:
        state, logits, codes, end = carry  # ..., [B', Q, V], [B, S, Q], [B]
        new, end = pick(logits, number, end)  # [B, Q], [B]
        codes = jax.lax.dynamic_update_index_in_dim(codes, new, number, 1)
        state, logits = step(state, jnp.tile(new, (copies, 1)), number)
        return state, logits, codes, end

    codes = jnp.zeros((batch, count, codebooks), jnp.int32)
    end = jnp.full((batch,), np.iinfo(np.int32).max, jnp.int32)
    carry = (state, logits, codes, end)
    _, logits, codes, end = jax.lax.fori_loop(0, count - 1, body, carry)
    last = jnp.int32(count - 1)
    return jax.lax.dynamic_update_index_in_dim(codes, pick(logits, last, end)[0], last, 1)
