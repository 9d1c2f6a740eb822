"""Examples that go into runs and come out of them.

What does not fit a run is refused with what to do.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from vqjax import arguments
from vqjax.media.audio import to_int16
from vqjax.training.experiment import Experiment
from vqjax.types import DataError, UsageError

HELD_OUT_BATCH = 256  # examples read at a time
LARGE = 1 << 28  # bytes
ROUNDING = 1e-3  # so far beyond [-1, 1] may be the caller's rounding


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
        images: what the caller passed.
        shape: (*S, C) that the run was trained on.
        dtype: that it was trained on, "uint8" or "float32"; None: either will do.
        any_size: whether other *S may do.
        name: of the argument.

    Raises:
        UsageError: another rank, dtype, number of channels, size or range.
    """
    size = ", ".join(map(str, shape))
    expected = (
        f"[B, {size}]{' (other sizes may do)' if any_size else ''}, {dtype or 'uint8 or float'}"
    )
    array = arguments.array(name, images, expected)
    if array.ndim != len(shape) + 1:
        raise UsageError(f"{name}: {_rank_advice(array, images, shape)}; wanted {expected}")
    if array.shape[-1] != shape[-1]:
        advice = f": np.repeat(x, {shape[-1]}, -1) makes them" if array.shape[-1] == 1 else ""
        raise UsageError(
            f"{name}: {array.shape[-1]} channels in {list(array.shape)}, the run was trained on "
            f"{shape[-1]}{advice}; wanted {expected}"
        )
    if not any_size and array.shape[1:] != tuple(shape):
        raise UsageError(f"{name}: {list(array.shape)}, wanted {expected}")
    if array.nbytes > LARGE:  # may be a view that repeats one value
        arguments.check_room(f"{name} {list(array.shape)}", array.nbytes)
    if array.dtype == np.uint8 and dtype != "float32":
        return array
    if dtype == "uint8" or array.dtype.kind != "f":
        kinds = {"uint8": "uint8, 0 to 255", "float32": "float32 in [-1, 1]"}
        trained = f": the run was trained on {kinds[dtype]}" if dtype else ", or float in [-1, 1]"
        raise UsageError(f"{name}: {array.dtype} values, wanted {dtype or 'uint8'}{trained}")
    _check_range(name, array)
    return array.astype(np.float32)


def checked_finite(name: str, values: np.ndarray, most: float, expected: str) -> None:
    """Refuses, with UsageError, floats that are not finite or beyond [-most, most]."""
    if not values.size:
        return
    low, high = float(values.min()), float(values.max())  # NaN where there is one
    if not -most <= low <= high <= most:
        raise UsageError(f"{name}: values are {low:.4g} to {high:.4g}: wanted {expected}")


def _check_range(name: str, values: np.ndarray) -> None:
    expected = "-1 to 1, and no NaN (of 0 to 255: x / 127.5 - 1; of overshoot: np.clip)"
    checked_finite(name, values, 1.0 + ROUNDING, expected)


def _rank_advice(array: np.ndarray, images: Any, shape: tuple[int, ...]) -> str:
    """What is wrong with the axes, and how to fix it."""
    axes, channels = array.ndim, shape[-1]
    one = "x" if hasattr(images, "ndim") else "np.asarray(x)"
    x = "np.stack(x)" if axes == len(shape) and one != "x" else one
    problem = f"an array of {axes} axes {list(array.shape)}"
    if axes == len(shape) and array.shape[-1] == channels:
        return f"{problem}, one example without a batch axis: pass {one}[None]"
    fix = f"{x}[..., None]" if channels == 1 else f"np.repeat({x}[..., None], {channels}, -1)"
    if axes == len(shape):
        return f"{problem}, without a channel axis: pass {fix}"
    if axes == len(shape) - 1:
        fix = f"{one}[None, ..., None]"
        fix = fix if channels == 1 else f"np.repeat({fix}, {channels}, -1)"
        return f"{problem}, one example without batch and channel axes: pass {fix}"
    return problem


def checked_count(n: Any, shape: Sequence[int], dtype: str) -> int:
    """`n` examples of `shape` and `dtype` to draw.

    Raises:
        UsageError: `n` is no whole number of at least 0, or more than memory has room for.
    """
    n = arguments.whole("n", n, least=0, most=arguments.MOST_COUNT)
    arguments.check_room(f"n={n}", n * math.prod(shape) * np.dtype(dtype).itemsize)
    return n


def held_out(experiment: Experiment, count: int) -> np.ndarray:
    """The first `count` examples of the eval split, or all there are: [n, *S, C].

    Reads no more than these. Floats become float32 clipped to [-1, 1]; training takes values a
    little beyond.

    Raises:
        DataError: the data is not at hand, or has no such examples.
        UsageError: `count` is no whole number of at least 0, or more than memory has room for.
    """
    count = arguments.whole("count", count, least=0)
    data, inputs = experiment.data, experiment.task.inputs
    data.check()
    count = min(count, data.num_eval() if hasattr(data, "num_eval") else arguments.MOST_COUNT)
    spec = data.example_spec().get(inputs)
    if spec is not None:
        item_bytes = int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize
        arguments.check_room(f"count={count}", count * item_bytes)
    size = max(1, min(count, HELD_OUT_BATCH))
    parts, remaining = [], count
    for batch in data.eval(size, np.arange(size)):
        if inputs not in batch:
            raise DataError(f"{experiment.data} holds tokens, not the examples themselves")
        parts.append(batch[inputs][batch["mask"]][:remaining])
        remaining -= len(parts[-1])
        if remaining <= 0:
            break
    if not parts:
        raise DataError(f"the eval split of {type(data).__name__} is empty")
    examples = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if jax.dtypes.issubdtype(examples.dtype, np.floating):
        return np.clip(examples.astype(np.float32), -1, 1)
    return examples


def held_out_clips(experiment: Experiment, count: int) -> list[np.ndarray]:
    """The first `count` clips of sound of the eval split that are not empty, or all there are, each
    whole: int16[n, C]. Of a source that has windows alone, these.

    Raises:
        DataError, UsageError: see `held_out`.
    """
    count = arguments.whole("count", count, least=0)
    data, inputs = experiment.data, experiment.task.inputs
    data.check()
    if not hasattr(data, "clip_lengths"):
        windows = held_out(experiment, count)
        return [x if x.dtype == np.int16 else to_int16(x) for x in windows]
    lengths = data.clip_lengths("eval")
    indices = np.flatnonzero(lengths)[:count]
    if not len(indices):
        raise DataError(f"the eval split of {type(data).__name__} is empty")
    clips = (data.clips("eval", np.array([i]), int(lengths[i]))[inputs] for i in indices)
    return [clip[0] for clip in clips]


def as_trained(x_hat: jax.Array, dtype: str) -> jax.Array:
    """x_hat in about [-1, 1] as a run's examples are: uint8, int16 of sound, or float32 clipped to
    [-1, 1].
    """
    if dtype == "int16":
        return jnp.clip(jnp.rint(x_hat.astype(jnp.float32) * 32768.0), -32768, 32767).astype(dtype)
    x_hat = jnp.clip(x_hat.astype(jnp.float32), -1.0, 1.0)
    return jnp.rint((x_hat + 1.0) * 127.5).astype(jnp.uint8) if dtype == "uint8" else x_hat


def in_parts(
    program: Any, arrays: tuple[np.ndarray, ...], size: int, label: str | None = None
) -> Any:
    """Runs `program` over parts of `size` examples, the last one padded with zeros.

    With `label` there is a progress bar, on a terminal only and only where this takes a while.
    """
    count = len(arrays[0])
    results = []
    bar = {"desc": label, "unit": "batch", "delay": 2.0, "disable": None if label else True}
    for first in tqdm.tqdm(range(0, max(count, 1), size), leave=False, **bar):
        part = []
        for a in arrays:
            piece = a[first : first + size]
            padding = np.zeros((size - len(piece), *a.shape[1:]), a.dtype)
            part.append(np.concatenate([piece, padding]))
        valid = min(size, count - first)
        results.append(jax.tree.map(lambda r, n=valid: np.asarray(r)[:n], program(*part)))
    return jax.tree.map(lambda *r: np.concatenate(r), *results)


def arc(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """Points of noise between a and b, [B, *s, C] each, on the arcs from the one to the other:
    noise of many numbers lies near a sphere, and what is between two points on a line does not.
    """
    axes = tuple(range(1, a.ndim))
    lengths = np.sqrt((a**2).sum(axis=axes) * (b**2).sum(axis=axes))  # [B]
    cosine = np.clip((a * b).sum(axis=axes) / np.maximum(lengths, 1e-12), -1.0, 1.0)
    angle = np.arccos(cosine).reshape(-1, *(1,) * len(axes))
    sine = np.sin(angle)
    near = sine < 1e-4
    sine = np.where(near, 1.0, sine)
    first = np.where(near, 1.0 - share, np.sin((1.0 - share) * angle) / sine)
    last = np.where(near, share, np.sin(share * angle) / sine)
    return (first * a + last * b).astype(np.float32)
