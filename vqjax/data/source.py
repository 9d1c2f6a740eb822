"""What every source of batches has in common: the protocol, and the law of the data order.

The law: the batch of step n is a pure function of (seed, n), on any number of hosts. Positions in
the endless sequence of training examples are counted from zero:

    position = step * batch_size + row in the batch
    epoch, rank = divmod(position, num_train)
    index = permutation(seed, epoch)[rank]

so batches may straddle epochs, nothing is dropped, every epoch shows each example exactly once, and
resuming needs only the step number. Randomness comes from a 64-bit hash written out here, never
from a library's generator: the order outlives changes of numpy and TensorFlow.
"""

import abc
import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

from vqjax.types import ArraySpec, DataError

__all__ = ["Source"]

_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio, the increment of splitmix64
_MASK = (1 << 64) - 1


class Source(Protocol):
    """Where batches come from; a frozen dataclass whose constructor does no I/O.

    A batch is {"image": uint8[b, H, W, C], "label": int32[b], "example_id": int64[b], ...} with
    b = len(rows): the rows of the global batch that this host needs. `example_id` is the
    example's index in its split.
    """

    def train(
        self, batch_size: int, seed: int, start_step: int, rows: np.ndarray
    ) -> Iterator[dict[str, np.ndarray]]:
        """Returns the endless batches of steps `start_step`, `start_step + 1`, ...

        Args:
            batch_size: examples per step over all hosts.
            seed: of order and augmentation.
            start_step: finished steps.
            rows: int[b], of the global batch, each in [0, batch_size).
        """

    def eval(self, batch_size: int, rows: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        """Returns the eval split once, in fixed order; `mask: bool[b]` is False on padding."""

    def example_spec(self) -> dict[str, ArraySpec]:
        """Returns shape and dtype of one example's arrays, as they are in a batch."""

    def num_train(self) -> int:
        """Returns the number of training examples."""

    def num_eval(self) -> int:
        """Returns the number of examples in the eval split."""

    def check(self) -> None:
        """Raises DataError, in the one line that a user needs, if batches cannot be read."""

    def notes(self) -> list[str]:
        """Returns lines worth printing at the start of a run."""


class Visit(NamedTuple):
    """Which examples make one host's rows of one batch."""

    positions: np.ndarray  # int64[b], counted over all epochs
    indices: np.ndarray  # int64[b], in the split
    mask: np.ndarray | None  # bool[b] in evaluation, None in training


def hash64(*words: int | np.ndarray) -> np.ndarray:
    """Hashes integers to uint64 bits, broadcasting arrays (splitmix64's finalizer, chained)."""
    state = np.zeros((1,), np.uint64)
    with np.errstate(over="ignore"):
        for word in words:
            if isinstance(word, int):
                word = np.uint64(word & _MASK)
            state = (state ^ np.asarray(word).astype(np.uint64)) + np.uint64(_GOLDEN)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return state


@functools.lru_cache(maxsize=4)  # this epoch's and the next one's, for training and a test
def permutation(seed: int, epoch: int, num: int) -> np.ndarray:
    """Returns the order of `num` examples in `epoch`: int64[num], the same on every host."""
    order = np.argsort(hash64(seed, epoch, num, np.arange(num)), kind="stable")
    order.flags.writeable = False
    return order


@dataclasses.dataclass(frozen=True)
class Visits:
    """The plan of one pass: what `at(step)` visits for step in range(start, stop).

    A split reads whatever examples `at` names, and draws what is random by their positions and
    `seed`: a subclass may visit others than those of the law.

    Attributes:
        num: examples in the split.
        batch_size: examples per step over all hosts.
        rows: int64[b], this host's rows of the global batch.
        seed: of the order; None: evaluation, in file order, once, the last batch padded with
            repetitions of the last example.
        start: the first step.
    """

    num: int
    batch_size: int
    rows: np.ndarray
    seed: int | None
    start: int = 0

    def __post_init__(self) -> None:
        rows = np.asarray(self.rows)
        if rows.ndim != 1 or rows.size == 0 or not np.issubdtype(rows.dtype, np.integer):
            raise ValueError(f"rows must be a non-empty int[b], got {rows.dtype}{rows.shape}")
        if rows.min() < 0 or rows.max() >= self.batch_size:
            raise ValueError(
                f"rows lie in [0, batch_size={self.batch_size}), got {rows.min()}..{rows.max()}"
            )
        object.__setattr__(self, "rows", rows.astype(np.int64))

    @property
    def stop(self) -> int | None:
        """One past the last step; None: endless."""
        return -(-self.num // self.batch_size) if self.seed is None else None

    def steps(self) -> Iterator[int]:
        """Returns the steps of this pass."""
        return itertools.count(self.start) if self.stop is None else range(self.start, self.stop)

    def at(self, step: int) -> Visit:
        """Returns what step `step` visits."""
        positions = step * self.batch_size + self.rows
        if self.seed is None:
            return Visit(positions, np.minimum(positions, self.num - 1), positions < self.num)
        epochs, ranks = np.divmod(positions, self.num)
        indices = np.empty_like(ranks)
        for epoch in np.unique(epochs):
            same = epochs == epoch
            indices[same] = permutation(self.seed, int(epoch), self.num)[ranks[same]]
        return Visit(positions, indices, None)


class Split(Protocol):
    """One split whose examples can be read by index."""

    num: int

    def spec(self) -> dict[str, ArraySpec]:
        """Returns shape and dtype of one example's arrays, as they are in a batch."""

    def at_hand(self, name: str) -> np.ndarray | None:
        """See `SplitSource.at_hand`."""

    def batches(self, visits: Visits) -> Iterator[dict[str, np.ndarray]]:
        """Returns one batch per step of `visits`."""


class SplitSource(abc.ABC):
    """The protocol in terms of two splits; subclasses say how one is opened.

    Splits are opened once per object: a frozen dataclass keeps them beside its fields.
    """

    @abc.abstractmethod
    def _open(self, part: str) -> Split:
        """Returns the split for `part`, "train" or "eval"."""

    @functools.cached_property
    def _train(self) -> Split:
        return self._open("train")

    @functools.cached_property
    def _eval(self) -> Split:
        return self._open("eval")

    def _part(self, part: str) -> Split:
        return self._train if part == "train" else self._eval

    def train(
        self, batch_size: int, seed: int, start_step: int, rows: np.ndarray
    ) -> Iterator[dict[str, np.ndarray]]:
        """See `Source.train`."""
        split = self._train
        if split.num == 0:
            raise DataError(f"{self} has no training examples")
        return self.visited("train", Visits(split.num, batch_size, rows, seed, start_step))

    def eval(self, batch_size: int, rows: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        """See `Source.eval`."""
        return self.visited("eval", Visits(self._eval.num, batch_size, rows, None))

    def in_order(
        self, part: str, batch_size: int, start_step: int = 0
    ) -> Iterator[dict[str, np.ndarray]]:
        """Returns the examples of `part`, "train" or "eval", once, by index, as evaluation would
        see them: with nothing random. `mask: bool[b]` is False on padding.
        """
        num, rows = self._part(part).num, np.arange(batch_size)
        return self.visited(part, Visits(num, batch_size, rows, None, start_step))

    def visited(self, part: str, visits: Visits) -> Iterator[dict[str, np.ndarray]]:
        """Returns the batches of `visits`, which may be of any examples of `part`, "train" or
        "eval", in any order; see `Visits`.
        """
        return self._part(part).batches(visits)

    def at_hand(self, part: str, name: str) -> np.ndarray | None:
        """Returns the array `name` of all examples of `part`, "train" or "eval", by index: where it
        can be had now without reading or decoding examples, and holds one value of each; else None.
        """
        return self._part(part).at_hand(name)

    def example_spec(self) -> dict[str, ArraySpec]:
        """See `Source.example_spec`."""
        return self._train.spec()

    def num_train(self) -> int:
        """See `Source.num_train`."""
        return self._train.num

    def num_eval(self) -> int:
        """See `Source.num_eval`."""
        return self._eval.num

    def check(self) -> None:
        """See `Source.check`."""
        train, evaluation = self._train.spec(), self._eval.spec()
        for split, what in ((self._train, "training"), (self._eval, "eval")):
            if split.num == 0:
                raise DataError(
                    f"{self} has no {what} examples, at least one is needed: "
                    "name another split or a larger share, or add examples"
                )
        if train != evaluation:
            raise DataError(
                f"training and eval examples differ: {_describe(train)} and {_describe(evaluation)}"
            )

    def notes(self) -> list[str]:
        """See `Source.notes`."""
        return []


def _describe(spec: dict[str, ArraySpec]) -> str:
    return ", ".join(f"{k} {v.dtype}{list(v.shape)}" for k, v in sorted(spec.items()))
