"""Causal layers over pieces of a signal: what a layer keeps from one piece to the next.

A layer asks for the past of its input. In training, and wherever a signal is whole, there is none:
zeros. Applied with `mutable=["stream"]`, the collection "stream" holds the past of every layer, as
the call before left it; all zeros before the first.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

STREAM = "stream"


def is_streaming(module: nn.Module) -> bool:
    """Whether the module's input is a piece, with others before it."""
    return module.is_mutable_collection(STREAM) and not module.is_initializing()


def kept(module: nn.Module, name: str, shape: tuple[int, ...], dtype: jnp.dtype) -> nn.Variable:
    """The variable `name` that lasts from piece to piece, at first zeros."""
    return module.variable(STREAM, name, jnp.zeros, shape, dtype)


def with_past(module: nn.Module, x: jax.Array, count: int, name: str = "past") -> jax.Array:
    """x [B, T, ..] with the `count` positions before it: [B, count + T, ..]."""
    shape = (x.shape[0], count, *x.shape[2:])
    if not is_streaming(module):
        return jnp.concatenate([jnp.zeros(shape, x.dtype), x], axis=1)
    variable = kept(module, name, shape, x.dtype)
    x = jnp.concatenate([variable.value, x], axis=1)  # [B, count + T, ..]
    variable.value = x[:, x.shape[1] - count :]
    return x
