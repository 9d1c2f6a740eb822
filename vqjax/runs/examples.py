"""Examples as callers hand them over: what does not fit a run is refused with what to do."""

from typing import Any

import numpy as np

from vqjax import arguments
from vqjax.types import UsageError

LARGE = 1 << 28  # bytes
ROUNDING = 1e-3  # that much beyond [-1, 1] is the caller's rounding


def checked_examples(
    images: Any,
    shape: tuple[int, ...],
    dtype: str | None,
    *,
    any_size: bool = False,
    name: str = "images",
) -> np.ndarray:
    """`images` [B, *S, C] as a run's networks take them: uint8, or finite float32 in [-1, 1].

    Args:
        images: whatever was handed over.
        shape: (*S, C) that the run was trained on.
        dtype: that it was trained on, "uint8" or "float32"; None: either will do.
        any_size: whether other *S may do.
        name: of the argument.

    Raises:
        UsageError: another rank, dtype, number of channels, size or range.
    """
    size = ", ".join(map(str, shape))
    wanted = (
        f"[B, {size}]{' (other sizes may do)' if any_size else ''}, {dtype or 'uint8 or float'}"
    )
    found = arguments.array(name, images, wanted)
    if found.ndim != len(shape) + 1:
        raise UsageError(f"{name}: {_rank_advice(found, images, shape)}; wanted {wanted}")
    if found.shape[-1] != shape[-1]:
        spread = f": np.repeat(x, {shape[-1]}, -1) makes them" if found.shape[-1] == 1 else ""
        raise UsageError(
            f"{name}: {found.shape[-1]} channels in {list(found.shape)}, the run was trained on "
            f"{shape[-1]}{spread}; wanted {wanted}"
        )
    if not any_size and found.shape[1:] != tuple(shape):
        raise UsageError(f"{name}: {list(found.shape)}, wanted {wanted}")
    if found.nbytes > LARGE:  # may be a view that repeats one value
        arguments.check_room(f"{name} {list(found.shape)}", found.nbytes)
    if found.dtype == np.uint8 and dtype != "float32":
        return found
    if dtype == "uint8" or found.dtype.kind != "f":
        kinds = {"uint8": "uint8, 0 to 255", "float32": "float32 in [-1, 1]"}
        trained = f": the run was trained on {kinds[dtype]}" if dtype else ", or float in [-1, 1]"
        raise UsageError(f"{name}: {found.dtype} values, wanted {dtype or 'uint8'}{trained}")
    _check_range(name, found)
    return found.astype(np.float32)


def checked_finite(name: str, values: np.ndarray, most: float, wanted: str) -> None:
    """Refuses, with UsageError, floats that are not finite or beyond [-most, most]."""
    if not values.size:
        return
    low, high = float(values.min()), float(values.max())  # NaN where there is one
    if not -most <= low <= high <= most:
        raise UsageError(f"{name}: values are {low:.4g} to {high:.4g}: wanted {wanted}")


def _check_range(name: str, found: np.ndarray) -> None:
    wanted = "-1 to 1, and no NaN (of 0 to 255: x / 127.5 - 1; of overshoot: np.clip)"
    checked_finite(name, found, 1.0 + ROUNDING, wanted)


def _rank_advice(found: np.ndarray, images: Any, shape: tuple[int, ...]) -> str:
    """What is wrong with the axes, and what puts it right."""
    axes, channels = found.ndim, shape[-1]
    one = "x" if hasattr(images, "ndim") else "np.asarray(x)"
    x = "np.stack(x)" if axes == len(shape) and one != "x" else one
    has = f"an array of {axes} axes {list(found.shape)}"
    if axes == len(shape) and found.shape[-1] == channels:
        return f"{has}, one example without a batch axis: pass {one}[None]"
    spread = f"{x}[..., None]" if channels == 1 else f"np.repeat({x}[..., None], {channels}, -1)"
    if axes == len(shape):
        return f"{has}, without a channel axis: pass {spread}"
    if axes == len(shape) - 1:
        spread = f"{one}[None, ..., None]"
        spread = spread if channels == 1 else f"np.repeat({spread}, {channels}, -1)"
        return f"{has}, one example without batch and channel axes: pass {spread}"
    return has
