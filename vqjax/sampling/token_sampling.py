"""How one token is drawn from its logits."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from vqjax import arguments


@dataclasses.dataclass(frozen=True)
class TokenSampling:
    """Draws from softmax(logits / temperature), cut to the likeliest tokens by `top_k` and `top_p`.

    Attributes:
        temperature: 0: always the likeliest.
        top_k: how many of the likeliest tokens remain; None: all.
        top_p: the smallest set of likeliest tokens remains whose probability is at least this
            (arXiv 1904.09751, eq. 2); 1: all.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0

    def __post_init__(self) -> None:
        # Set anew: an array without axes is no static argument of a program.
        set_field = functools.partial(object.__setattr__, self)
        set_field("temperature", arguments.real("temperature", self.temperature, least=0))
        if self.top_k is not None:
            set_field("top_k", arguments.whole("top_k", self.top_k, least=1))
        set_field("top_p", arguments.real("top_p", self.top_p, above=0, most=1))

    def filtered(self, logits: jax.Array) -> jax.Array:
        """logits [B, V] over the temperature, > 0; -inf where a token does not remain."""
        lowest = -jnp.inf
        impossible = logits <= jnp.finfo(logits.dtype).min / 2
        logits = jnp.where(impossible, lowest, logits / self.temperature)
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = jax.lax.top_k(logits, self.top_k)[0][:, -1:]  # [B, 1], the least that remains
            logits = jnp.where(logits < least, lowest, logits)
        if self.top_p < 1.0:
            order = jnp.flip(jnp.sort(logits, axis=-1), axis=-1)  # [B, V], the largest first
            p = jax.nn.softmax(order, axis=-1)
            # A token stays while those before it do not yet make top_p: the first one always.
            stays = jnp.cumsum(p, axis=-1) - p < self.top_p  # eq. 2
            least = jnp.min(jnp.where(stays, order, jnp.inf), axis=-1, keepdims=True)  # [B, 1]
            logits = jnp.where(logits < least, lowest, logits)
        return logits

    def __call__(self, logits: jax.Array, keys: jax.Array) -> jax.Array:
        """logits [B, V], one key per example [B] -> int32[B].

        The largest of logits plus Gumbel noise, which is a draw from their softmax.
        """
        if self.temperature == 0.0:
            return jnp.argmax(logits, axis=-1).astype(jnp.int32)  # [B]
        draw = jax.vmap(lambda k: jax.random.gumbel(k, logits.shape[-1:], logits.dtype))
        noise = draw(keys)  # [B, V]
        return jnp.argmax(self.filtered(logits) + noise, axis=-1).astype(jnp.int32)  # [B]
