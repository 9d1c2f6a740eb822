"""A data set that TFDS has prepared: its features, and the records of its splits."""

import functools
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from vqjax.data.prepared import find_prepared, not_prepared
from vqjax.data.records import RecordIndex, Shard, index_records
from vqjax.data.tf_data import first_line, quiet, tensorflow_datasets
from vqjax.types import DataError, UsageError, did_you_mean

_FEATURES_FILE = "features.json"
_FEATURE_CLASS = re.compile(r"tensorflow_datasets\.core\.features(\.\w+)+")


def _check_features(directory: str) -> None:
    """Refuses, with DataError, features that are not TFDS's own: it would import their modules."""
    from etils import epath

    path = epath.Path(directory) / _FEATURES_FILE
    for name in _feature_classes(json.loads(path.read_text())):
        if not isinstance(name, str) or not _FEATURE_CLASS.fullmatch(name):
            raise DataError(
                f"{path} names the class {name!r}, whose module would be imported; "
                "only features of TFDS itself are read"
            )


def _feature_classes(tree: Any) -> Iterator[Any]:
    """Yields every class that a features.json names, in any of the forms that TFDS reads."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        if not isinstance(node, dict):
            continue
        for key, value in node.items():
            if isinstance(value, dict | list):
                waiting.append(value)
            elif key in ("pythonClassName", "python_class_name", "type"):
                if key != "type" or "content" in node:  # as older versions of TFDS wrote it
                    yield value
            elif key in ("json", "content") and isinstance(value, str):  # JSON within JSON
                try:
                    waiting.append(json.loads(value))
                except ValueError:  # TFDS cannot read it as JSON either
                    continue


def open_builder(name: str, data_dir: str | None) -> Any:
    """Returns TFDS's builder of the prepared data set `name`.

    Raises:
        DataError: it is not prepared, its metadata is damaged, or it has features of others.
    """
    directory = find_prepared(name, data_dir)
    if directory is None:
        raise not_prepared(name, data_dir)
    tfds = tensorflow_datasets()

    try:
        _check_features(directory)
        with quiet():
            return tfds.builder_from_directory(directory)
    except DataError:
        raise
    except Exception as error:  # TFDS names no class for damaged metadata
        raise DataError(
            f"the data set in {directory} cannot be opened: {first_line(error)}"
        ) from error


def shards_of(builder: Any, name: str, split: str) -> list[Shard]:
    """Returns where the records of `split`, in TFDS's language, lie.

    Raises:
        DataError: there is no such split, or its files are no TFRecords.
        UsageError: a slice of it ends before it begins.
    """
    tfds = tensorflow_datasets()

    info = builder.info
    try:
        instructions = info.splits[split].file_instructions
        parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(info.splits)
    except (KeyError, ValueError, AssertionError) as error:
        raise DataError(_no_split(name, split, error, info.splits)) from error
    if info.file_format is None or info.file_format.value != "tfrecord":
        raise DataError(f"data set {name!r} is stored as {info.file_format}; only tfrecord is read")
    for part in parts:  # TFDS takes a negative number of these, and -1 for all that follow
        if part.to is not None and part.to < (part.from_ or 0):
            raise UsageError(
                f"split {split!r} of {name!r} has a slice that ends before it begins: "
                f"{part.splitname}[{part.from_}:{part.to}]"
            )
    return [
        Shard(
            os.fspath(shard.filename),
            shard.skip,
            shard.examples_in_shard - shard.skip if shard.take == -1 else shard.take,
            shard.examples_in_shard,
        )
        for shard in instructions
    ]


def _no_split(name: str, split: str, error: Exception, splits: Iterable[str]) -> str:
    """Returns the line about a split that TFDS refuses: its own reason where the split is there."""
    line = f"data set {name!r} has no split {split!r}: "
    base = re.split(r"[\[(]", split)[0]
    if base not in splits:
        return line + did_you_mean(base, splits)
    reason = str(error).strip().splitlines()[-1][:200]  # the first only says where to read more
    return line + f"{reason} A part is written {base}[:100] or {base}[50%:]"


def is_whole_number(feature: Any) -> bool:
    """Whether a feature is one whole number, such as a class."""
    # Text and nested features have no np_dtype that numpy knows as a number.
    dtype = getattr(feature, "np_dtype", None)
    return getattr(feature, "shape", None) == () and np.issubdtype(dtype, np.integer)


def is_text(feature: Any) -> bool:
    """Whether a feature is one text."""
    return getattr(feature, "shape", None) == () and feature.np_dtype == np.object_


class LazyIndex:
    """The record table of `shards`, made at the first read."""

    def __init__(self, shards: list[Shard]):
        self._shards = shards

    @functools.cached_property
    def _index(self) -> RecordIndex:
        return index_records(self._shards)

    def read(self, indices: np.ndarray) -> list[bytes]:
        return self._index.read(indices)

    def where(self, index: int) -> str:
        return self._index.where(index)
