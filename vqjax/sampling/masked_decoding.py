"""Parallel decoding: all masked tokens at once, of which the surest stay (arXiv 2202.04200)."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqjax import arguments

MAX_STEPS = 1_000_000  # more steps than tokens are of no use
SCHEDULES: dict[str, Callable[[Any, Any], Any]] = {  # of (done, numpy or jax.numpy)
    "cosine": lambda done, xp: xp.cos(math.pi / 2 * done),
    "linear": lambda done, xp: 1.0 - done,
    "square": lambda done, xp: 1.0 - done**2,
    "cubic": lambda done, xp: 1.0 - done**3,
}


def masked_share(schedule: str, done: jax.Array) -> jax.Array:
    """The mask ratio gamma(done): from 1 at 0 down to 0 at 1 (arXiv 2202.04200, section 3.2)."""
    return jnp.clip(SCHEDULES[schedule](done, jnp), 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class MaskedDecoding:
    """How many steps, and which tokens each of them keeps.

    Attributes:
        steps: at least 1.
        schedule: of the share that stays masked: "cosine", "linear", "square" or "cubic".
        choice_temperature: scale of the Gumbel noise on confidences, times the share of steps that
            are left: 0 in the last. Without noise examples become alike.
    """

    steps: int = 12
    schedule: str = "cosine"
    choice_temperature: float = 4.5

    def __post_init__(self) -> None:
        arguments.one_of("schedule", self.schedule, tuple(SCHEDULES))
        set_field = functools.partial(object.__setattr__, self)
        set_field("steps", arguments.whole("steps", self.steps, least=1, most=MAX_STEPS))
        heat = arguments.real("choice_temperature", self.choice_temperature, least=0)
        set_field("choice_temperature", heat)


def _gumbel(keys: jax.Array, length: int) -> jax.Array:
    """Gumbel noise [B, T], from one key per example."""
    return jax.vmap(lambda key: jax.random.gumbel(key, (length,), jnp.float32))(keys)


def sample_masked(
    network: Callable[[jax.Array], jax.Array],
    *,
    length: int,
    mask_token: int,
    keys: jax.Array,
    how: MaskedDecoding,
    choose: Callable[[jax.Array, jax.Array], jax.Array],
    combine: Callable[[jax.Array, jax.Array], jax.Array] = lambda logits, progress: logits,
    known: tuple[jax.Array, jax.Array] | None = None,
) -> jax.Array:
    """Draws `length` tokens for each of B examples, in `how.steps` steps.

    A step draws all masked tokens and masks the least confident again: guided log p plus noise.

    Args:
        network: tokens int32[B, T] -> logits [B', T, V]; with guidance B' is 2 B.
        length: T.
        mask_token: the id of a masked token.
        keys: one per example, key[B].
        how: steps, schedule, temperature.
        choose: (logits [B T, V], keys [B T]) -> int32[B T].
        combine: guidance, (logits [B', T, V], 0 in the first step to 1 in the last) -> [B, T, V].
        known: tokens int32[B, T] and bool[B, T], True where they stay.

    Returns:
        int32[B, T].
    """
    batch = len(keys)
    is_known = jnp.zeros((batch, length), bool) if known is None else known[1]
    initial = jnp.full((batch, length), mask_token, jnp.int32)
    initial = initial if known is None else jnp.where(is_known, known[0], initial)  # [B, T]
    unknown = jnp.sum(~is_known, axis=1)  # [B]

    # By NumPy: on accelerators a cosine of exactly 1/2 is sometimes rounded up, sometimes down.
    shares = SCHEDULES[how.schedule](np.arange(1, how.steps + 1) / how.steps, np)
    shares = jnp.asarray(np.clip(shares, 0.0, 1.0), jnp.float32)  # [steps]

    def body(step: jax.Array, tokens: jax.Array) -> jax.Array:
        masked, done = tokens == mask_token, (step + 1) / how.steps  # [B, T], []
        own_keys = jax.vmap(lambda key: jax.random.fold_in(key, step))(keys)  # key[B]
        logits = network(tokens)  # [B', T, V]
        logits = combine(logits, step / max(how.steps - 1, 1))  # [B, T, V]
        subkeys = jax.vmap(lambda key: jax.random.split(key, length + 1))(own_keys)  # key[B, T + 1]
        flat = logits.reshape(-1, logits.shape[-1])  # [B T, V]
        new = choose(flat, subkeys[:, :length].reshape(-1))  # [B T]
        new = jnp.where(masked, new.reshape(batch, length), tokens)  # [B, T]
        log_p = jax.nn.log_softmax(logits)  # [B, T, V]
        confidence = jnp.take_along_axis(log_p, new[..., None], axis=-1)[..., 0]  # [B, T]
        gumbel = _gumbel(subkeys[:, length], length)  # [B, T]
        confidence = confidence + how.choice_temperature * (1.0 - done) * gumbel
        confidence = jnp.where(masked, confidence, jnp.inf)  # others stay
        num_remask = jnp.floor(unknown * shares[step]).astype(jnp.int32)  # [B]
        left = jnp.sum(masked, axis=1)  # [B]
        num_remask = jnp.minimum(num_remask, jnp.maximum(left - 1, 0))  # at least one more is kept
        rank = jnp.argsort(jnp.argsort(confidence, axis=1), axis=1)  # [B, T], 0: least confident
        remask = (rank < num_remask[:, None]) & (step + 1 < how.steps)  # [B, T]
        return jnp.where(remask, mask_token, new)

    return jax.lax.fori_loop(0, how.steps, body, initial)
