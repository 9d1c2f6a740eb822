"""What a tokenizer's losses of x_hat against x come to.

A loss is called with (x, x_hat, logits), and with its arrays if it owns files
(`vqjax.config.find_owners`).
"""

from collections.abc import Sequence
from typing import Any

import jax

from vqjax.types import Tree, UsageError

LOSSES = "task.losses"  # below it, by place, stand the arrays of losses in `frozen`


def check_losses(losses: Sequence[Any], shape: tuple[int, ...], output: str) -> None:
    """Refuses, with UsageError, losses that cannot judge examples of `shape` (*S, C).

    Args:
        output: of the tokenizer, what its logits are.
    """
    for loss in losses:
        if loss.needs_logits and output != "sigmoid":
            raise UsageError(
                f"the loss {loss.name!r} reads the decoder's output as logits: "
                f"set task.tokenizer.output='sigmoid' (it is {output!r})"
            )
        if hasattr(loss, "check"):
            loss.check(shape)


def compare(
    losses: Sequence[Any],
    frozen: Tree,
    x: jax.Array,
    x_hat: jax.Array,
    logits: jax.Array,
    active: Sequence[str],
) -> dict[str, jax.Array]:
    """The losses that are `active`, unweighted scalars by name; the others are not worked out."""
    values = {}
    for place, loss in enumerate(losses):
        if loss.name in active:
            arrays = (frozen[f"{LOSSES}.{place}"],) if hasattr(loss, "read_frozen") else ()
            values[loss.name] = loss(x, x_hat, logits, *arrays)
    return values


def distances(
    losses: Sequence[Any], frozen: Tree, x: jax.Array, x_hat: jax.Array
) -> dict[str, jax.Array]:
    """float[B] by name, of losses that have a `distance` of each pair and its arrays in `frozen`;
    x and x_hat [B, *S, C] in [-1, 1].
    """
    return {
        loss.name: loss.distance(frozen[f"{LOSSES}.{place}"], x, x_hat)
        for place, loss in enumerate(losses)
        if hasattr(loss, "distance") and f"{LOSSES}.{place}" in frozen
    }
