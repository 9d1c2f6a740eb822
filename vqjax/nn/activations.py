"""Activations by name, so that an experiment holds a word and not a function."""

from collections.abc import Callable

import jax

from vqjax.types import UsageError, did_you_mean

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "tanh": jax.nn.tanh,
}


def activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """The function of that name.

    Raises:
        UsageError: no such name.
    """
    if name not in ACTIVATIONS:
        raise UsageError(f"activation={name!r}: {did_you_mean(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]
