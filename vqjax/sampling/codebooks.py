"""Several tokens at every step, one of each codebook, in one compiled loop that knows no model."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Step = Callable[[Any, jax.Array, jax.Array], tuple[Any, jax.Array]]
Choose = Callable[[jax.Array, jax.Array], jax.Array]
Known = tuple[jax.Array, jax.Array]


def sample_codebooks(
    state: Any,
    logits: jax.Array,
    step: Step,
    *,
    frame_at: np.ndarray,
    keys: jax.Array,
    choose: Choose,
    combine: Callable[[jax.Array, jax.Array], jax.Array] = lambda logits, done: logits,
    known: Known | None = None,
    ended: int | None = None,
) -> jax.Array:
    """Draws the tokens of S steps, one of each of Q codebooks, for each of B examples.

    A token is a function of its example's key, its step and its codebook: batch size and devices do
    not matter.

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
    frames = jnp.asarray(frame_at, jnp.int32)  # [S, Q]
    count, copies = len(frame_at), len(logits) // len(keys)  # S, B' / B
    last_known = _last_known(known, frames, ended, len(keys))  # [B]

    def pick(logits: jax.Array, number: jax.Array, end: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Codes [B, Q] of a step, and the frame in which each example ends [B], if it is known."""
        logits = combine(logits, number / max(count - 1, 1))  # [B', Q, V] -> [B, Q, V]
        logits = _not_yet(logits, frames[number, 0] <= last_known, ended)
        codes = _choose_each(choose, logits, keys, number)
        if known is not None:
            old, stays = (jax.lax.dynamic_index_in_dim(a, number, 1, False) for a in known)
            codes = jnp.where(stays, old, codes)  # [B, Q]
        codes, end = _after_end(codes, frames[number], end, ended)
        return jnp.where(frames[number][None] >= 0, codes, 0), end

    def body(number: jax.Array, carry: tuple) -> tuple:
        state, logits, codes, end = carry  # ..., [B', Q, V], [B, S, Q], [B]
        new, end = pick(logits, number, end)  # [B, Q], [B]
        codes = jax.lax.dynamic_update_index_in_dim(codes, new, number, 1)
        state, logits = step(state, jnp.tile(new, (copies, 1)), number)
        return state, logits, codes, end

    codes = jnp.zeros((len(keys), *frame_at.shape), jnp.int32)
    carry = (state, logits, codes, jnp.full((len(keys),), np.iinfo(np.int32).max, jnp.int32))
    _, logits, codes, end = jax.lax.fori_loop(0, count - 1, body, carry)
    new, _ = pick(logits, jnp.int32(count - 1), end)
    return codes.at[:, -1].set(new)


def _choose_each(choose: Choose, logits: jax.Array, keys: jax.Array, number: jax.Array) -> Any:
    """A code of each codebook, from logits [B, Q, V]: int32[B, Q]."""
    codebooks, size = logits.shape[1:]
    own_keys = jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)  # key[B]
    own_keys = jax.vmap(lambda key: jax.random.split(key, codebooks))(own_keys)  # key[B, Q]
    return choose(logits.reshape(-1, size), own_keys.reshape(-1)).reshape(-1, codebooks)


def _last_known(known: Known | None, frames: jax.Array, ended: int | None, batch: int) -> jax.Array:
    """The last frame [B] with a known code that is not the end; -1: there is none."""
    if known is None or ended is None:
        return jnp.full((batch,), -1, jnp.int32)
    stays = known[1] & (known[0] != ended)  # [B, S, Q]
    return jnp.max(jnp.where(stays, frames[None], -1), axis=(1, 2))


def _not_yet(logits: jax.Array, examples: jax.Array, ended: int | None) -> jax.Array:
    """Logits [B, Q, V] by which the `examples`, bool[B], do not end."""
    if ended is None:
        return logits
    is_end = (jnp.arange(logits.shape[-1]) == ended)[None, None]  # [1, 1, V]
    return jnp.where(examples[:, None, None] & is_end, jnp.finfo(logits.dtype).min, logits)


def _after_end(
    codes: jax.Array, frame: jax.Array, end: jax.Array, ended: int | None
) -> tuple[jax.Array, jax.Array]:
    """Codes [B, Q] of the frames int[Q], `ended` from the frame `end` [B] on, and that frame."""
    if ended is None:
        return codes, end
    ends = (codes[:, 0] == ended) & (frame[0] >= 0)  # [B]
    end = jnp.where(ends, jnp.minimum(end, frame[0]), end)
    return jnp.where(frame[None] >= end[:, None], ended, codes), end
