"""Integers that a task reads from the data: one out of range is named, with its example.

Inside a program such a number would pass for a valid one: a label out of range makes a target of
zeros. So they are checked on the host: those of a whole split, where the source has them at hand,
before anything is trained, and those of each batch.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from vqjax.types import Batch, Bound, DataError

BLOCK = 1 << 14  # examples checked at once
PARTS = {"train": "training", "eval": "eval"}


def check_at_hand(task: Any, data: Any) -> None:
    """Checks the numbers that are known without reading examples.

    Args:
        task: `bounds` has, by array of a batch, the range of its numbers.
        data: a source; `at_hand` returns the numbers that it knows.

    Raises:
        DataError: one is out of range.
    """
    for part in PARTS:
        _check_part(task, data, part)


def within_bounds(task: Any, data: Any, part: str, batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yields `batches` of `part`, "train" or "eval", each checked before.

    Raises:
        DataError: as in `check_at_hand`; at the first batch of a split that is then in memory, also
            for examples of later ones.
    """
    bounds = _bounds(task)
    for number, batch in enumerate(batches):
        for name, bound in bounds.items():
            if name in batch:
                _check(part, name, bound, batch[name], batch.get("example_id"))
        if number == 0:
            _check_part(task, data, part)
        yield batch


def _bounds(task: Any) -> Mapping[str, Bound]:
    return getattr(task, "bounds", {})


def _check_part(task: Any, data: Any, part: str) -> None:
    if not hasattr(data, "at_hand"):
        return
    for name, bound in _bounds(task).items():
        values = data.at_hand(part, name)
        if values is not None:
            _check(part, name, bound, values, None)


def _check(part: str, name: str, bound: Bound, values: Any, ids: Any) -> None:
    for first in range(0, len(values), BLOCK):
        block = np.asarray(values[first : first + BLOCK])
        block = block.reshape(len(block), -1)
        bad = (block < bound.low) | (block >= bound.high)
        if np.issubdtype(block.dtype, np.inexact):
            bad |= block != np.floor(block)  # NaN, too
        if bound.none is not None:
            bad &= block != bound.none
        if bad.any():
            row = int(np.argmax(bad.any(axis=1)))
            example = first + row if ids is None else int(ids[first + row])
            none = "" if bound.none is None else f", or {bound.none} for none"
            raise DataError(
                f"{PARTS[part]} example {example:,}: {name} {block[row, np.argmax(bad[row])]}: "
                f"wanted {bound.low} to {bound.high - 1}{none} ({bound.setting})"
            )
