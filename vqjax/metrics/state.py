"""What every metric is: sums that add up.

A state is made on the device from one batch (`of`, pure, jittable; `mask` says which examples
count) and holds nothing but sums, so `merge` is addition: associative, and equal to one pass over
all batches at once. Addition happens on the host, floats in float64 and counts in int64, so that
neither the number of batches nor padding moves a digit that is printed.
"""

from collections.abc import Iterable
from typing import TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from vqjax.ops.numerics import at_least_float32
from vqjax.types import UsageError

S = TypeVar("S", bound="State")


def _add(a: jax.Array | np.ndarray, b: jax.Array | np.ndarray) -> np.ndarray:
    a, b = np.asarray(a), np.asarray(b)
    wide = np.float64 if np.issubdtype(a.dtype, np.floating) else np.int64
    return np.asarray(a.astype(wide) + b.astype(wide))


@flax.struct.dataclass
class State:
    """Sums over examples; the base of all metrics.

    Subclasses add array fields, `empty(...)`, of no examples, `of(...)` and `compute`.
    """

    def merge(self: S, other: S) -> S:
        """The state of both together, on the host: float64 and int64 numpy arrays."""
        return jax.tree.map(_add, self, other)

    def compute(self) -> dict[str, float]:
        """The numbers by name; NaN where nothing was counted."""
        raise NotImplementedError(type(self).__name__)


def total(states: Iterable[S], empty: S) -> S:
    """Merges all `states`, starting from `empty`."""
    for state in states:
        empty = empty.merge(state)
    return empty


def counted(values: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Sums `values` [B, ...] over the examples that count.

    Args:
        values: float[B, ...].
        mask: bool[B], True for examples that count; None: all of them.

    Returns:
        The sum (in at least float32) and the number of values that went into it (int32).

    Raises:
        UsageError: more values than an int32 counts.
    """
    if values.size >= 2**31:
        raise UsageError(
            f"{values.size:,} values in an evaluation's batch are more than can be counted: lower "
            "eval_batch_size"
        )
    values = at_least_float32(values)
    per_example = values.size // max(len(values), 1)
    if mask is None:
        return values.sum(), jnp.asarray(values.size, jnp.int32)
    # `where`, not a product: padding may hold anything, NaN included.
    keep = mask.reshape(-1, *[1] * (values.ndim - 1))  # [B, 1, ..]
    return jnp.where(keep, values, 0.0).sum(), mask.astype(jnp.int32).sum() * per_example


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> float:
    """Their quotient as a float; NaN where the denominator is zero."""
    return float(numerator) / float(denominator) if float(denominator) else float("nan")


def unit_range(x: jax.Array) -> jax.Array:
    """[-1, 1] to [0, 1], what lies outside clipped; float32 at least."""
    x = at_least_float32(x)
    return (jnp.clip(x, -1.0, 1.0) + 1.0) / 2.0
