"""The one place where TensorFlow comes in: it reads and decodes on the host, and computes nothing.

TensorFlow is imported at the first call, quietly, and never sees an accelerator.
"""

import atexit
import collections
import contextlib
import functools
import logging
import os
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import tqdm

from vqjax.data import augment as augmentation
from vqjax.data.arrays import finished_spec
from vqjax.data.several import Several, pick
from vqjax.data.source import Visits
from vqjax.extras import pip_install
from vqjax.types import ArraySpec, DataError, UsageError

_ENDLESS = np.iinfo(np.int64).max
_DECODE_BATCH = 64  # examples handed from TensorFlow to Python at once
# The release that also goes with protobuf 5, as on Colab.
_COMPATIBLE = "tensorflow-metadata==1.17.3"
_REMEMBERED = 64  # newest batches, searched for the example that cannot be decoded


@functools.cache
def tensorflow() -> ModuleType:
    """Returns TensorFlow, without accelerators; UsageError where it is not installed."""
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # unused here, announced at each start
    with _log_level("3"):
        try:
            import tensorflow as tf
        except Exception as error:  # packages that do not fit it raise what they like
            raise UsageError(
                "this data source reads through TensorFlow, which cannot be imported "
                f"({_message(error)}): {pip_install('data')}"
            ) from error
    for kind in ("GPU", "TPU"):
        try:
            tf.config.set_visible_devices([], kind)
        except RuntimeError as error:
            raise UsageError(
                f"TensorFlow was used before vqjax.data in this process and holds a {kind}: call "
                f"tf.config.set_visible_devices([], {kind!r}) first"
            ) from error
    return tf


@functools.cache
def tensorflow_datasets() -> ModuleType:
    """Returns TFDS; UsageError, with what helps, where it cannot be imported."""
    try:
        import tensorflow_datasets as tfds
    except Exception as error:  # packages that do not fit it raise what they like
        if isinstance(error, ModuleNotFoundError) and error.name:
            package = error.name.split(".")[0]
            extra = package in ("tensorflow_datasets", "tensorflow")
            remedy = pip_install("data") if extra else f"pip install {package}"
        else:
            remedy = f"its packages do not fit each other: pip install --no-deps {_COMPATIBLE}"
        raise UsageError(
            "this data source reads through TFDS, which cannot be imported "
            f"({_message(error)}): {remedy}"
        ) from error
    return tfds


def _message(error: Exception) -> str:
    line = first_line(error)
    return line if isinstance(error, ImportError) else f"{type(error).__name__}: {line}"


@contextlib.contextmanager
def _log_level(level: str) -> Iterator[None]:
    """Sets what TensorFlow logs while it is imported; a level of the user's own stays.

    Errors reach the user as exceptions; TensorFlow would log each with a traceback besides.
    """
    name = "TF_CPP_MIN_LOG_LEVEL"
    old = os.environ.get(name)
    if old not in (None, "1"):  # importing JAX sets 1
        yield
        return
    os.environ[name] = level
    try:
        yield
    finally:
        if old is None:
            del os.environ[name]
        else:
            os.environ[name] = old


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences TFDS's warnings about its own deprecations."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


class _Calls:
    """Python functions called by a tf.data pipeline; keeps their DataErrors for the consumer."""

    def __init__(self) -> None:
        self.errors: list[DataError] = []

    def tensors(self, function: Callable[..., Any], inputs: list, specs: list) -> list:
        """Calls `function` on the values of `inputs`; `specs`: (dtype name, shape) of results."""
        tf = tensorflow()

        def call(*values):
            try:
                return function(*values)
            except DataError as error:
                self.errors.append(error)
                raise

        results = tf.numpy_function(call, inputs, [tf.dtypes.as_dtype(d) for d, _ in specs])
        for result, (_, shape) in zip(results, specs, strict=True):
            result.set_shape(shape)
        return results

    def transformed(
        self,
        arrays: Mapping[str, Any],
        transforms: tuple[augmentation.Transform, ...],
        seed: int | None,
        position: Any,
    ) -> dict[str, Any]:
        """Returns the arrays of one example after `transforms`."""
        names = sorted({name for each in transforms for name in augmentation.names_of(each)})
        if not names:
            return dict(arrays)

        def transform(position, *values):
            one = {name: value[None] for name, value in zip(names, values, strict=True)}
            changed = augmentation.apply_to(transforms, one, seed, position[None])
            return [changed[name][0] for name in names]

        specs = {n: ArraySpec(tuple(arrays[n].shape), arrays[n].dtype.name) for n in names}
        specs = augmentation.specs_after(transforms, specs)
        types = [(specs[name].dtype, specs[name].shape) for name in names]
        changed = self.tensors(transform, [position, *(arrays[name] for name in names)], types)
        return {**arrays, **dict(zip(names, changed, strict=True))}


_live: weakref.WeakSet = weakref.WeakSet()


@atexit.register
def _stop_reading() -> None:
    """Ends read-ahead before Python goes: TensorFlow's threads would call a dead interpreter."""
    for reader in list(_live):
        reader.close()


class _Reader:
    """Iterates over a tf.data pipeline; failures become DataErrors.

    Args:
        dataset: yields mappings of tensors.
        calls: the pipeline's Python functions.
        what: returns what is read, for messages; called after a failure.
    """

    def __init__(self, dataset: Any, calls: _Calls, what: Callable[[], str]):
        self._iterator = dataset.as_numpy_iterator()
        self._calls = calls
        self._what = what
        _live.add(self)

    def close(self) -> None:
        self._iterator = None

    def __iter__(self) -> "_Reader":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        if self._iterator is None:
            raise StopIteration
        try:
            return next(self._iterator)
        except tensorflow().errors.OpError as error:
            self.close()
            if self._calls.errors:
                raise self._calls.errors[0] from None
            raise DataError(f"{self._what()} cannot be read: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Returns the first line of the message of `error`, at most 300 characters of it."""
    lines = str(getattr(error, "message", None) or error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]


class StreamSplit:
    """A split that is read and decoded at each visit.

    Args:
        num: examples.
        specs: of one decoded example's arrays, before any transform.
        fetch: int64[b] indices -> b byte strings.
        decode: (byte string tensor, calls) -> {name: tensor} of one example.
        transforms: all transforms of "image".
        what: names what is read, for messages.
        where: index -> where the example lies, for messages.
        loaded: {name: array[num, ...]}, what needs no reading.
    """

    def __init__(
        self,
        num: int,
        specs: Mapping[str, ArraySpec],
        fetch: Callable[[np.ndarray], list[bytes]],
        decode: Callable[[Any, _Calls], dict[str, Any]],
        transforms: tuple[augmentation.Transform, ...],
        what: str,
        where: Callable[[int], str] = "example {}".format,
        loaded: Mapping[str, np.ndarray | Several] = types.MappingProxyType({}),
    ):
        self.num = num
        self._specs = dict(specs)
        self._fetch = fetch
        self._decode = decode
        self._transforms = transforms
        self._what = what
        self._where = where
        self._loaded = dict(loaded)

    def spec(self) -> dict[str, ArraySpec]:
        """See `Split.spec`."""
        return finished_spec(self._specs, self._transforms)

    def at_hand(self, name: str) -> np.ndarray | None:
        """See `SplitSource.at_hand`."""
        array = self._loaded.get(name)
        return array if isinstance(array, np.ndarray) else None

    def batches(self, visits: Visits) -> Iterator[dict[str, np.ndarray]]:
        """See `Split.batches`; reads ahead as far as tf.data finds useful."""
        spec = self.spec()
        tf = tensorflow()
        calls = _Calls()
        size = len(visits.rows)
        recent: collections.deque[np.ndarray] = collections.deque(maxlen=_REMEMBERED)

        def visit(step):
            positions, indices, mask = visits.at(int(step))
            recent.append(indices)
            items = np.array(self._fetch(indices), object)
            return [positions, indices, np.ones(size, bool) if mask is None else mask, items]

        def read(step):
            results = ["int64", "int64", "bool", "string"]
            return tuple(calls.tensors(visit, [step], [(dtype, (size,)) for dtype in results]))

        def example(position, index, mask, item):
            arrays = self._decode(item, calls)
            arrays = calls.transformed(arrays, self._transforms, visits.seed, position)
            arrays = {
                name: tf.ensure_shape(tf.cast(array, spec[name].dtype), spec[name].shape)
                for name, array in arrays.items()
            }
            return {**arrays, "example_id": index, "mask": mask}

        stop = _ENDLESS if visits.stop is None else visits.stop
        with quiet():
            dataset = (
                tf.data.Dataset.range(visits.start, stop)
                .map(read, num_parallel_calls=2, deterministic=True)
                .unbatch()
                .map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
                .batch(size, drop_remainder=True)
                .prefetch(tf.data.AUTOTUNE)
            )
        return self._finished(_Reader(dataset, calls, lambda: self._culprit(recent)), visits)

    def _finished(
        self, batches: Iterator[dict[str, np.ndarray]], visits: Visits
    ) -> Iterator[dict[str, np.ndarray]]:
        """Adds the loaded arrays; training has no mask."""
        for step, batch in zip(visits.steps(), batches, strict=False):
            positions, indices, mask = visits.at(step)
            for name, array in self._loaded.items():
                batch[name] = pick(array, indices, visits.seed, positions)
            if mask is None:
                del batch["mask"]
            yield batch

    def _culprit(self, recent: Iterable[np.ndarray]) -> str:
        """Returns what cannot be read: one of the `recent` examples that cannot be decoded, the
        newest first.
        """
        tf = tensorflow()
        for index in dict.fromkeys(int(i) for indices in reversed(list(recent)) for i in indices):
            try:
                (item,) = self._fetch(np.array([index]))
                self._decode(tf.constant(item), _Calls())
            except (DataError, tf.errors.OpError):
                return f"{self._what}: {self._where(index)}"
        return self._what


def decode_once(
    items: Callable[[], Any],
    num: int,
    decode: Callable[[Any, _Calls], dict[str, Any]],
    specs: Mapping[str, tuple[str, tuple[int, ...]]],
    what: str,
) -> dict[str, np.ndarray]:
    """Decodes a whole split, in its order and in parallel.

    Args:
        items: returns the tf.data dataset of `num` things to be decoded.
        num: how many there must be.
        decode: (item, calls) -> {name: tensor} of one example.
        specs: {name: (numpy dtype name, shape of one example)}.
        what: names what is read, for messages.

    Returns:
        {name: array [num, *shape]}.

    Raises:
        DataError: if something cannot be decoded, or there are more or fewer than `num`.
    """
    tf = tensorflow()
    calls = _Calls()
    result = {name: np.empty((num, *shape), dtype) for name, (dtype, shape) in specs.items()}
    with quiet():
        dataset = (
            items()
            .map(
                lambda item: decode(item, calls),
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )
            .batch(_DECODE_BATCH)
            .prefetch(2)
        )
    done = 0
    # Shown on a terminal only, and only where this takes a while.
    with tqdm.tqdm(total=num, desc=what, delay=2.0, disable=None, leave=False) as bar:
        for batch in _Reader(dataset, calls, lambda: what):
            size = len(next(iter(batch.values())))
            if done + size <= num:
                for name, array in result.items():
                    array[done : done + size] = batch[name]
            done += size
            bar.update(size)
    if done != num:
        raise DataError(f"{what} is damaged: it holds {done} examples instead of {num}")
    return result


def decode_each(
    items: Callable[[], Any], decode: Callable[[Any], dict[str, Any]], what: str, bar: tqdm.tqdm
) -> Iterator[dict[str, np.ndarray]]:
    """Decodes things of any shapes, in their order and in parallel, and returns one by one.

    Args:
        items: returns the tf.data dataset of things to be decoded.
        decode: item -> {name: tensor}.
        what: names what is read, for messages.
        bar: counts them.

    Raises:
        DataError: if something cannot be decoded.
    """
    tf = tensorflow()
    with quiet():
        dataset = items().map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    for example in _Reader(dataset.prefetch(_DECODE_BATCH), _Calls(), lambda: what):
        bar.update()
        yield example
