"""Scale after scale: all tokens of one at a time, from those of the scales before it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vqjax.sampling.autoregressive import Choose

Step = Callable[[Any, int, jax.Array | None], tuple[Any, jax.Array]]


def sample_scales(
    state: Any,
    step: Step,
    *,
    sizes: tuple[int, ...],
    keys: jax.Array,
    choose: Choose,
    combine: Callable[[jax.Array, jax.Array], jax.Array] = lambda logits, done: logits,
) -> jax.Array:
    """Draws the tokens of every scale for each of B examples.

    Token t of an example is a function of its key and of t, counted over all scales.

    Args:
        state: before the first scale.
        step: (state, number of a scale, tokens of the scale before it int32[B', t_(k - 1)], or None
            at first) -> (state, logits of its tokens [B', t_k, V]).
        sizes: t_k, tokens of each scale.
        keys: one per example, key[B].
        choose: (logits [N, V], keys [N]) -> int32[N].
        combine: (logits [B', t, V], share of scales done) -> [B, t, V]; where B' is a multiple of
            B, as with guidance, `step` gets the tokens B' / B times.

    Returns:
        int32[B, T], T the sum of `sizes`.
    """
    drawn: list[jax.Array] = []
    tokens, first = None, 0
    for number, size in enumerate(sizes):
        state, logits = step(state, number, tokens)
        copies = len(logits) // len(keys)  # B' / B
        logits = combine(logits, jnp.float32(number / max(len(sizes) - 1, 1)))  # [B, t, V]
        fold = jax.vmap(jax.random.fold_in, (None, 0))
        own = jax.vmap(fold, (0, None))(keys, first + jnp.arange(size))  # key[B, t]
        flat = choose(logits.reshape(-1, logits.shape[-1]), own.reshape(-1))  # [B t]
        drawn.append(flat.reshape(len(keys), size))
        tokens, first = jnp.tile(drawn[-1], (copies, 1)), first + size
    return jnp.concatenate(drawn, axis=1)
