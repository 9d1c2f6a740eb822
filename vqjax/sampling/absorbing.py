"""Masked tokens come back at random times, all by themselves (arXiv 2406.07524)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def sample_absorbing(
    network: Callable[[jax.Array], jax.Array],
    *,
    length: int,
    mask_token: int,
    keys: jax.Array,
    steps: int,
    choose: Callable[[jax.Array, jax.Array], jax.Array],
    combine: Callable[[jax.Array, jax.Array], jax.Array] = lambda logits, done: logits,
    known: tuple[jax.Array, jax.Array] | None = None,
) -> jax.Array:
    """Draws `length` tokens for each of B examples.

    In step k of n the time goes from t = 1 - k / n to s = 1 - (k + 1) / n, and every masked token
    comes back with probability (t - s) / t (eq. 6), drawn from what the network says; it stays.

    Args:
        network: tokens int32[B, T] -> logits [B', T, V]; with guidance B' is 2 B.
        length: T.
        mask_token: the id of a masked token.
        keys: one per example, key[B].
        steps: n.
        choose: (logits [B T, V], keys [B T]) -> int32[B T].
        combine: guidance, (logits [B', T, V], 0 in the first step to 1 in the last) -> [B, T, V].
        known: tokens int32[B, T] and bool[B, T], True where they stay.

    Returns:
        int32[B, T].
    """
    batch = len(keys)
    initial = jnp.full((batch, length), mask_token, jnp.int32)
    initial = initial if known is None else jnp.where(known[1], known[0], initial)  # [B, T]

    def body(step: jax.Array, tokens: jax.Array) -> jax.Array:
        own_keys = jax.vmap(lambda key: jax.random.fold_in(key, step))(keys)  # key[B]
        subkeys = jax.vmap(lambda key: jax.random.split(key, length + 1))(own_keys)  # key[B, T + 1]
        logits = combine(network(tokens), step / max(steps - 1, 1))  # [B, T, V]
        flat = logits.reshape(-1, logits.shape[-1])  # [B T, V]
        new = choose(flat, subkeys[:, :length].reshape(-1)).reshape(batch, length)  # [B, T]
        draw = jax.vmap(lambda key: jax.random.uniform(key, (length,), jnp.float32))
        comes_back = draw(subkeys[:, length]) < 1.0 / (steps - step)  # [B, T]; (t - s) / t, eq. 6
        return jnp.where((tokens == mask_token) & comes_back, new, tokens)

    return jax.lax.fori_loop(0, steps, body, initial)
