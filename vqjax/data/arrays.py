"""Examples in memory; needs no TensorFlow. Small prepared splits end up here, too."""

import abc
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from vqjax.config.annotations import check_fields
from vqjax.data import augment as augmentation
from vqjax.data.ranges import check_ranges
from vqjax.data.several import Several, pick
from vqjax.data.source import Split, SplitSource, Visits
from vqjax.types import ArraySpec, DataError, UsageError, VqjaxError

__all__ = ["Arrays", "ArraySource"]

KEEP_BYTES = 1 << 30  # results of fixed transforms up to this size are kept in memory


class ArraySplit:
    """A split that is, or will be, wholly in memory.

    Args:
        num: examples.
        specs: of one example's arrays after the transforms that are done once.
        load: called once, at the first batch: {name: array[num, ...]} as `specs` says, or several
            values of some examples.
        transforms: what is done at each visit.
        rows: int64[num], the row of each example where the arrays hold more than this split.
    """

    def __init__(
        self,
        num: int,
        specs: Mapping[str, ArraySpec],
        load: Callable[[], Mapping[str, np.ndarray | Several]],
        transforms: tuple[augmentation.Transform, ...],
        rows: np.ndarray | None = None,
    ):
        self.num = num
        self._specs = dict(specs)
        self._load = load
        self._transforms = transforms
        self._rows = rows

    @functools.cached_property
    def _arrays(self) -> Mapping[str, np.ndarray | Several]:
        return self._load()

    def at_hand(self, name: str) -> np.ndarray | None:
        """See `SplitSource.at_hand`."""
        array = self._arrays.get(name) if "_arrays" in self.__dict__ else None
        if not isinstance(array, np.ndarray):
            return None
        return array if self._rows is None else array[self._rows]

    def spec(self) -> dict[str, ArraySpec]:
        """See `Split.spec`."""
        return finished_spec(self._specs, self._transforms)

    def batches(self, visits: Visits) -> Iterator[dict[str, np.ndarray]]:
        """See `Split.batches`."""
        self.spec()  # raises here what would otherwise be raised at the first batch
        return self._batches(visits)

    def _batches(self, visits: Visits) -> Iterator[dict[str, np.ndarray]]:
        for step in visits.steps():
            visit = visits.at(step)
            rows = visit.indices if self._rows is None else self._rows[visit.indices]
            batch = {
                name: pick(array, rows, visits.seed, visit.positions)
                for name, array in self._arrays.items()
            }
            batch = augmentation.apply_to(self._transforms, batch, visits.seed, visit.positions)
            if "example_id" not in batch:
                batch["example_id"] = visit.indices
            if visit.mask is not None:
                batch["mask"] = visit.mask
            yield batch


def open_arrays(
    specs: Mapping[str, ArraySpec],
    num: int,
    load: Callable[[], Mapping[str, np.ndarray]],
    augment: tuple[augmentation.Transform, ...],
) -> ArraySplit:
    """Returns a split of `num` examples that `load` returns at the first batch; transforms without
    anything random are done once, where memory has room for their results.

    Args:
        specs: of one example's arrays, before any transform.
        num: examples.
        load: returns {name: array[num, ...]}, of these dtypes or others.
        augment: transforms of "image", or of the arrays that they name.
    """
    fixed, each_visit = augmentation.divide(augment)
    if fixed:
        after = augmentation.specs_after(fixed, specs)
        changed = {name for transform in fixed for name in augmentation.names_of(transform)}
        if num * sum(_bytes_of(after[name]) for name in changed) > KEEP_BYTES:
            fixed, each_visit = (), augment
        else:
            specs = after

    def finished() -> dict[str, np.ndarray]:
        arrays = dict(load())
        arrays = augmentation.apply_to(fixed, arrays, None, np.empty(0))
        return {name: a.astype(specs[name].dtype, copy=False) for name, a in arrays.items()}

    return ArraySplit(num, specs, finished, each_visit)


def _bytes_of(spec: ArraySpec) -> int:
    return int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize


def finished_spec(
    specs: Mapping[str, ArraySpec], transforms: tuple[augmentation.Transform, ...]
) -> dict[str, ArraySpec]:
    """Returns the spec of a batch's example: transformed, with its id, of one known shape."""
    result = augmentation.specs_after(transforms, specs)
    if any(None in spec.shape for spec in result.values()):
        raise DataError(
            "the pictures differ in size: put Resize((height, width)) or Resize(n), RandomCrop(n) "
            "into augment"
        )
    if "mask" in result:
        raise UsageError("an array 'mask' would hide which examples pad a batch: name it otherwise")
    result.setdefault("example_id", ArraySpec((), "int64"))
    return result


class ArraySource(SplitSource):
    """Base of sources whose splits fit in memory: a subclass, a frozen dataclass, says by `load`
    what is in them, and all else follows.

    A field `augment`, where it has one, holds transforms of "image", or of the arrays they name.
    """

    @abc.abstractmethod
    def load(self, part: str) -> dict[str, np.ndarray]:
        """The arrays of `part`, "train" or "eval": {"image": uint8[N, H, W, C] or float in [-1, 1],
        "label": int[N], ...}, any names and ranks, N the same for all. Called once for each.
        """

    def _open(self, part: str) -> Split:
        try:
            arrays = self.load(part)
        except VqjaxError:
            raise
        except Exception as error:  # whatever reading a file raises that is not as it should be
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"{self}: {part} cannot be loaded: {reason[:200]}") from error
        augment = getattr(self, "augment", ())
        check_arrays(f"{type(self).__name__}.load({part!r})", arrays, augment)
        return _split_of(arrays, augment)


@dataclasses.dataclass(frozen=True, eq=False)
class Arrays(SplitSource):
    """Examples in memory: {"image": uint8[N, H, W, C], "label": int[N], ...}, any names and ranks.

    Pictures are uint8, or floats in [-1, 1]; `check` refuses others, and NaN among them.

    Attributes:
        train_arrays: arrays that agree in their first axis, by name.
        eval_arrays: likewise, for evaluation.
        augment: transforms of "image", or of the arrays that they name.
    """

    train_arrays: Mapping[str, Any]
    eval_arrays: Mapping[str, Any]
    augment: tuple[augmentation.Transform, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        for part in ("train_arrays", "eval_arrays"):
            arrays = getattr(self, part)
            check_arrays(f"Arrays: {part}", arrays, self.augment)

    def __repr__(self) -> str:
        def text(arrays: Mapping[str, Any]) -> str:
            return ", ".join(f"{k}: {a.dtype}{list(a.shape)}" for k, a in arrays.items())

        return f"Arrays({{{text(self.train_arrays)}}}, {{{text(self.eval_arrays)}}})"

    def _open(self, part: str) -> Split:
        arrays = self.train_arrays if part == "train" else self.eval_arrays
        return _split_of(arrays, self.augment)

    def check(self) -> None:
        """See `Source.check`; also requires the arrays, which no run's JSON holds, and refuses
        values that no picture has.
        """
        _as_numpy(self.train_arrays)
        _as_numpy(self.eval_arrays)
        super().check()
        self.notes()

    def at_hand(self, part: str, name: str) -> np.ndarray | None:
        """See `SplitSource.at_hand`; as they were passed, before any change of dtype."""
        arrays = self.train_arrays if part == "train" else self.eval_arrays
        return _as_numpy({name: arrays[name]})[name] if name in arrays else None

    @functools.cached_property
    def _notes(self) -> list[str]:
        parts = {"train_arrays": self.train_arrays, "eval_arrays": self.eval_arrays}
        return [line for p, arrays in parts.items() for line in check_ranges(_as_numpy(arrays), p)]

    def notes(self) -> list[str]:
        """See `Source.notes`: values that look like those of another range."""
        return list(self._notes)


def check_arrays(what: str, arrays: Any, augment: tuple[augmentation.Transform, ...]) -> None:
    """Refuses, with UsageError, all but arrays by name that agree in their first axis, and arrays
    that lack one for `augment`.
    """
    if not isinstance(arrays, Mapping) or not arrays:
        raise UsageError(f"{what} must map names to arrays, got {arrays!r:.100}")
    for name, array in arrays.items():
        if not hasattr(array, "shape") or not hasattr(array, "dtype") or not array.shape:
            raise UsageError(f"{what}[{name!r}] is no array with a first axis")
    lengths = {name: array.shape[0] for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise UsageError(f"{what} differ in their first axis: {lengths}")
    for name in (name for transform in augment for name in augmentation.names_of(transform)):
        if name not in arrays:
            raise UsageError(f"{what}: augment transforms {name!r}, there is {', '.join(arrays)}")


def _split_of(arrays: Mapping[str, Any], augment: tuple[augmentation.Transform, ...]) -> ArraySplit:
    num = next(iter(arrays.values())).shape[0]
    specs = {name: _spec(name, array) for name, array in arrays.items()}
    return open_arrays(specs, num, lambda: _as_numpy(arrays), augment)


def _spec(name: str, array: Any) -> ArraySpec:
    dtype = np.dtype(array.dtype)
    if name == "label" and np.issubdtype(dtype, np.integer):
        dtype = np.dtype(np.int32)
    return ArraySpec(tuple(array.shape[1:]), dtype.name)


def _as_numpy(arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if not all(isinstance(a, np.ndarray) or hasattr(a, "__array__") for a in arrays.values()):
        raise DataError(
            "this run was trained from arrays in memory, which no record keeps: pass them again, "
            "as in vqjax.load(RUN, data=Arrays(...))"
        )
    return {name: np.asarray(array) for name, array in arrays.items()}
