"""The loss terms and further metrics of x_hat against x.

A loss is called with (x, x_hat, logits), and with its arrays if it owns files
(`vqjax.config.find_owners`).
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vqjax.arguments import got
from vqjax.numbers import NUMBERS
from vqjax.types import Tree, UsageError, VqjaxError

LOSSES = "task.losses"  # f"{LOSSES}.{i}" in `frozen`: the arrays of loss i


def check_losses(losses: Sequence[Any], shape: tuple[int, ...], output: str) -> None:
    """Refuses, with UsageError, losses that cannot take examples of `shape` (*S, C).

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


def check_metrics(metrics: Sequence[Any], shape: tuple[int, ...] | None = None) -> None:
    """Refuses, with UsageError, metrics whose names are not free among those of evaluations; and,
    with the `shape` (*S, C) of examples, those that do not give a number for each.
    """
    names = [getattr(metric, "name", None) for metric in metrics]
    for i, name in enumerate(names):
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w*", name):
            raise UsageError(f"metrics.{i}: its name={got(name)}: wanted a word")
        if name in NUMBERS or name in names[:i]:
            raise UsageError(f"metrics.{i}: another number has the name {name!r}")
    if shape is None:
        return
    pair = (jax.ShapeDtypeStruct((2, *shape), jnp.float32),) * 2
    for name, metric in zip(names, metrics, strict=True):
        try:
            value = jax.eval_shape(metric, *pair)
        except VqjaxError:
            raise
        except Exception as error:  # whatever comes of an object that is no metric
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UsageError(
                f"task.metrics: {name!r} cannot take (x, x_hat) of {list(pair[0].shape)}: {line}"
            ) from error
        if getattr(value, "shape", None) != (2,):
            raise UsageError(
                f"task.metrics: {name!r} gives {getattr(value, 'shape', type(value).__name__)} for "
                "two examples: wanted a number for each, [2]"
            )


def compare(
    losses: Sequence[Any],
    frozen: Tree,
    x: jax.Array,
    x_hat: jax.Array,
    logits: jax.Array,
    active: Sequence[str],
) -> dict[str, jax.Array]:
    """The losses that are `active`, unweighted scalars by name; the others are not computed."""
    values = {}
    for i, loss in enumerate(losses):
        if loss.name in active:
            arrays = (frozen[f"{LOSSES}.{i}"],) if hasattr(loss, "read_frozen") else ()
            values[loss.name] = loss(x, x_hat, logits, *arrays)
    return values


def distances(
    losses: Sequence[Any], frozen: Tree, x: jax.Array, x_hat: jax.Array
) -> dict[str, jax.Array]:
    """float[B] by name, of losses that have a `distance` of each pair and its arrays in `frozen`;
    x and x_hat [B, *S, C] in [-1, 1].
    """
    return {
        loss.name: loss.distance(frozen[f"{LOSSES}.{i}"], x, x_hat)
        for i, loss in enumerate(losses)
        if hasattr(loss, "distance") and f"{LOSSES}.{i}" in frozen
    }
