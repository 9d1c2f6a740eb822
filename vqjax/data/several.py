"""Arrays that hold several values for an example, of which a batch has one."""

import dataclasses

import numpy as np

from vqjax.data.source import hash64


@dataclasses.dataclass(frozen=True)
class Several:
    """One or more values per example, those of one in a row.

    Attributes:
        values: [m, *S].
        starts: int64[n], where those of an example begin.
        counts: int64[n], how many it has, at least 1.
    """

    values: np.ndarray
    starts: np.ndarray
    counts: np.ndarray

    def at(self, rows: np.ndarray, seed: int | None, positions: np.ndarray) -> np.ndarray:
        """Returns one value of each of the examples `rows`, int64[b]: [b, *S].

        It is drawn anew at each visit, by `seed` and `positions` (int64[b]) alone; a `seed` of None
        means evaluation, which has the first.
        """
        indices = self.starts[rows]
        if seed is not None:
            # The first word keeps these bits apart from those of order and augmentation.
            draws = hash64(3, seed, positions) % self.counts[rows].astype(np.uint64)
            indices = indices + draws.astype(np.int64)
        return self.values[indices]


def pick(
    array: "np.ndarray | Several", rows: np.ndarray, seed: int | None, positions: np.ndarray
) -> np.ndarray:
    """Returns what a batch has of `array`, for the examples `rows`; see `Several.at`."""
    return array.at(rows, seed, positions) if isinstance(array, Several) else array[rows]


def subset(array: "np.ndarray | Several", rows: np.ndarray) -> "np.ndarray | Several":
    """Returns `array` of the examples `rows` alone."""
    if isinstance(array, Several):
        return dataclasses.replace(array, starts=array.starts[rows], counts=array.counts[rows])
    return array[rows]


def spread(array: "np.ndarray | Several", rows: np.ndarray, num: int) -> "np.ndarray | Several":
    """Returns `array` [n, ...] with its examples at `rows` of `num`; the others are never read."""
    if isinstance(array, Several):
        starts, counts = (spread(a, rows, num) for a in (array.starts, array.counts))
        return dataclasses.replace(array, starts=starts, counts=counts)
    result = np.zeros((num, *array.shape[1:]), array.dtype)
    result[rows] = array
    return result
