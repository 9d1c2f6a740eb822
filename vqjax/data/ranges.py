"""Whether arrays in memory hold what pictures are: uint8, or floats in [-1, 1]."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from vqjax.types import DataError

IMAGE = "image"
MOST = 1.5  # magnitude of floats; what lies between 1 and this may be ringing of a resize
SCANNED = 1 << 32  # bytes of one array; of a larger one evenly spaced rows are checked
_BLOCK = 1 << 24  # bytes checked at once
_VALID = "wanted uint8, or floats in [-1, 1]"


class _Range(NamedTuple):
    """Least and largest finite value of an array; the first row with NaN or infinity, or None."""

    low: float
    high: float
    nonfinite: int | None


def check_ranges(arrays: Mapping[str, np.ndarray], part: str) -> list[str]:
    """Checks the values of one split's arrays.

    Args:
        arrays: {name: [N, ...]}; those with three and more axes may be what a tokenizer takes.
        part: "train_arrays" or "eval_arrays", for messages.

    Returns:
        Lines about what looks like another range.

    Raises:
        DataError: "image" is of a dtype or in a range that no picture has, or holds NaN.
    """
    notes = []
    for name, array in arrays.items():
        where = f"Arrays: {part}[{name!r}]"
        is_float = array.dtype.name.startswith(("float", "bfloat"))
        if name == IMAGE and not is_float and array.dtype != np.uint8:
            remedy = "x.astype(np.uint8) * 255" if array.dtype == bool else "x.astype(np.uint8)"
            raise DataError(f"{where} is {array.dtype}: {_VALID}; of 0 to 255 make {remedy}")
        if name != IMAGE and not is_float or not array.size:
            continue
        values = _range(array)
        if is_float and values.nonfinite is not None:
            line = f"{where} holds NaN or infinity, first in row {values.nonfinite}"
            if name == IMAGE:
                raise DataError(f"{line}: {_VALID}")
            notes.append(line)
        text = f"{where} is {array.dtype} from {values.low:.6g} to {values.high:.6g}"
        if name == IMAGE and is_float and max(-values.low, values.high) > MOST:
            raise DataError(f"{text}: {_VALID}; {_remedy(values)}")
        notes += _unusual(name, array, values, text)
    return notes


def _unusual(name: str, array: np.ndarray, values: _Range, text: str) -> list[str]:
    """Lines about a range that is unusual, if it is."""
    if array.dtype == np.uint8:
        return [f"{text}: 255 is white; was x * 255 meant?"] if values.high == 1 else []
    if array.ndim < 3:
        return []
    if max(-values.low, values.high) > 1:
        return [f"{text}: a tokenizer takes [-1, 1], and what it makes is clipped to that"]
    if name == IMAGE and values.low >= 0 and values.high > 0.5:
        return [f"{text}: a tokenizer takes [-1, 1]; was 2 * x - 1 meant?"]
    return []


def _remedy(values: _Range) -> str:
    if values.low >= 0 and values.high <= 255:
        return "of 0 to 255 make x / 127.5 - 1, or x.astype(np.uint8)"
    return "scale it, or name it otherwise than 'image' if it is no picture"


def _range(array: np.ndarray) -> _Range:
    low, high, nonfinite = np.inf, -np.inf, None
    for first, block in _blocks(array):
        least, most = block.min(), block.max()
        if not (np.isfinite(least) and np.isfinite(most)):  # NaN is what they are where one is
            finite = np.isfinite(block)
            if nonfinite is None:
                whole = finite.reshape(len(block), -1).all(axis=1)
                nonfinite = first + int(np.argmin(whole))
            if not finite.any():
                continue
            least, most = block[finite].min(), block[finite].max()
        low, high = min(low, least), max(high, most)
    return _Range(float(low), float(high), nonfinite)


def _blocks(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Rows of `array` with the number of their first."""
    rows = max(1, _BLOCK * len(array) // array.nbytes)
    firsts = range(0, len(array), rows)
    for first in firsts[:: max(1, array.nbytes // SCANNED)]:
        block = array[first : first + rows]
        yield first, block if block.dtype.kind in "fu" else block.astype(np.float32)
