"""Any image data set that TFDS has prepared. Only `vqjax prepare` downloads."""

import dataclasses
import functools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from vqjax.config.annotations import check_fields
from vqjax.data import augment as augmentation
from vqjax.data.arrays import ArraySplit
from vqjax.data.prepared import find_prepared, not_prepared
from vqjax.data.records import RecordIndex, Shard, index_records
from vqjax.data.source import Split, SplitSource
from vqjax.data.texts import tensor_to_bytes
from vqjax.data.tf_data import (
    StreamSplit,
    decode_once,
    first_line,
    quiet,
    tensorflow,
    tensorflow_datasets,
)
from vqjax.types import ArraySpec, DataError, UsageError, did_you_mean

__all__ = ["TFDS"]

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


@dataclasses.dataclass(frozen=True)
class TFDS(SplitSource):
    """A prepared TFDS data set; its pictures as "image", its classes as "label", and on demand its
    texts as "caption".

    A split whose decoded size is at most `cache_bytes` is decoded once and kept in memory; of a
    larger one each host reads its own records at every visit.

    Attributes:
        name: "mnist", "voc/2007", "mnist:3.0.1", ...
        split: training split in TFDS's language: "train", "train[:90%]", "train+test", ...
        eval_split: likewise, for evaluation.
        image_key: feature of the pictures, uint8 [H, W, C].
        label_key: feature of the classes, a whole number; None: "label" where there is such a one.
        caption_key: feature of the captions, a text.
        caption_bytes: length of "caption", uint8 [caption_bytes]: UTF-8 with zeros behind it, cut
            after the last whole character that fits; 0: no captions.
        data_dir: where it is prepared; None: TFDS_DATA_DIR, else ~/tensorflow_datasets.
        augment: transforms of "image".
        cache_bytes: largest decoded split that is kept in memory.
    """

    name: str
    split: str = "train"
    eval_split: str = "test"
    image_key: str = "image"
    label_key: str | None = None
    caption_key: str = "caption"
    caption_bytes: int = 0
    data_dir: str | None = None
    augment: tuple[augmentation.Transform, ...] = ()
    cache_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("caption_bytes", "cache_bytes"):
            if getattr(self, name) < 0:
                raise UsageError(f"TFDS: {name} is 0 or more, got {getattr(self, name)!r}")

    @functools.cached_property
    def _builder(self) -> Any:
        directory = find_prepared(self.name, self.data_dir)
        if directory is None:
            raise not_prepared(self.name, self.data_dir)
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

    def _keys(self) -> dict[str, str]:
        """Returns {name in the batch: feature}; DataError if a feature is not what it must be."""
        features = self._builder.info.features
        if not hasattr(features, "keys") or self.image_key not in features:
            hint = did_you_mean(self.image_key, getattr(features, "keys", list)())
            raise DataError(f"data set {self.name!r} has no feature {self.image_key!r}: {hint}")
        image = features[self.image_key]
        if len(image.shape or ()) != 3 or image.shape[-1] is None or image.np_dtype != np.uint8:
            raise DataError(
                f"feature {self.image_key!r} of {self.name!r} is {image}, not uint8 [H, W, C]"
            )
        keys = {"image": self.image_key}
        label = self.label_key or "label"
        if label in features and _is_whole_number(features[label]):
            keys["label"] = label
        elif self.label_key is not None:
            raise DataError(
                f"data set {self.name!r} has no whole number in {label!r}: "
                + did_you_mean(label, (k for k in features if _is_whole_number(features[k])))
            )
        if self.caption_bytes:
            keys["caption"] = self.caption_key
            if self.caption_key not in features or not _is_text(features[self.caption_key]):
                raise DataError(
                    f"data set {self.name!r} has no text in {self.caption_key!r}: "
                    + did_you_mean(self.caption_key, (k for k in features if _is_text(features[k])))
                )
        return keys

    def _shards(self, split: str) -> list[Shard]:
        tfds = tensorflow_datasets()

        info = self._builder.info
        try:
            instructions = info.splits[split].file_instructions
            parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(info.splits)
        except (KeyError, ValueError, AssertionError) as error:
            raise DataError(_no_split(self.name, split, error, info.splits)) from error
        if info.file_format is None or info.file_format.value != "tfrecord":
            raise DataError(
                f"data set {self.name!r} is stored as {info.file_format}; only tfrecord is read"
            )
        for part in parts:  # TFDS takes a negative number of these, and -1 for all that follow
            if part.to is not None and part.to < (part.from_ or 0):
                raise UsageError(
                    f"split {split!r} of {self.name!r} has a slice that ends before it begins: "
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

    def _open(self, part: str) -> Split:
        split = self.split if part == "train" else self.eval_split
        keys, shards = self._keys(), self._shards(split)
        features = self._builder.info.features
        num = sum(shard.take for shard in shards)
        raw = {"image": ArraySpec(tuple(features[self.image_key].shape), "uint8")}
        if "label" in keys:
            raw["label"] = ArraySpec((), "int32")
        if "caption" in keys:
            raw["caption"] = ArraySpec((self.caption_bytes,), "uint8")
        fixed, each_visit = augmentation.divide(self.augment)
        shape = augmentation.shape_after(fixed, raw["image"].shape)
        what = f"split {split!r} of {self.name!r}"
        records = _Records(features, keys, fixed, self.caption_bytes, what)
        if None in shape or num * np.prod(shape, dtype=np.int64) > self.cache_bytes:
            index = _LazyIndex(shards)
            return StreamSplit(
                num, raw, index.read, records.decode, self.augment, what, where=index.where
            )
        specs = {**raw, "image": ArraySpec(shape, "uint8")}
        return ArraySplit(num, specs, lambda: records.load(shards, num, specs), each_visit)

    def check(self) -> None:
        """See `Source.check`."""
        super().check()
        tensorflow()


def _no_split(name: str, split: str, error: Exception, splits: Iterable[str]) -> str:
    """Returns the line about a split that TFDS refuses: its own reason where the split is there."""
    line = f"data set {name!r} has no split {split!r}: "
    base = re.split(r"[\[(]", split)[0]
    if base not in splits:
        return line + did_you_mean(base, splits)
    reason = str(error).strip().splitlines()[-1][:200]  # the first only says where to read more
    return line + f"{reason} A part is written {base}[:100] or {base}[50%:]"


def _is_whole_number(feature: Any) -> bool:
    # Text and nested features have no np_dtype that numpy knows as a number.
    dtype = getattr(feature, "np_dtype", None)
    return getattr(feature, "shape", None) == () and np.issubdtype(dtype, np.integer)


def _is_text(feature: Any) -> bool:
    return getattr(feature, "shape", None) == () and feature.np_dtype == np.object_


class _LazyIndex:
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


@dataclasses.dataclass(frozen=True)
class _Records:
    """How the records of a data set become examples.

    Attributes:
        features: of the builder.
        keys: {name in the batch: feature}.
        fixed: transforms done once per example.
        caption_bytes: length of "caption".
        what: names what is read, for messages.
    """

    features: Any
    keys: dict[str, str]
    fixed: tuple[augmentation.Transform, ...]
    caption_bytes: int
    what: str

    def decode(self, record: Any, calls: Any) -> dict[str, Any]:
        """Decodes a record tensor to {name: tensor}, untransformed."""
        del calls
        tfds = tensorflow_datasets()

        partial = tfds.decode.PartialDecoding(dict.fromkeys(self.keys.values(), True))
        features = partial.extract_features(self.features).deserialize_example(record)
        arrays = {name: features[key] for name, key in self.keys.items()}
        if "caption" in arrays:
            arrays["caption"] = tensor_to_bytes(arrays["caption"], self.caption_bytes)
        return arrays

    def load(
        self, shards: list[Shard], num: int, specs: Mapping[str, ArraySpec]
    ) -> dict[str, np.ndarray]:
        """Decodes all examples of `shards`, in file order, fixed transforms included.

        Raises:
            DataError: a shard cannot be read, or is damaged; the line names it.
        """
        try:
            return self._load(shards, num, specs, self.what)
        except DataError:  # TensorFlow does not say in which file
            for shard in shards:
                self._load([shard], shard.take, specs, f"{self.what}: {shard.path}")
            raise

    def _load(
        self, shards: list[Shard], num: int, specs: Mapping[str, ArraySpec], what: str
    ) -> dict[str, np.ndarray]:
        tf = tensorflow()

        def records() -> Any:
            bounds = np.array([(shard.skip, shard.take) for shard in shards], np.int64)
            paths = [shard.path for shard in shards]
            table = tf.data.Dataset.from_tensor_slices((paths, bounds))
            return table.flat_map(
                lambda path, bound: tf.data.TFRecordDataset(path).skip(bound[0]).take(bound[1])
            )

        def decode(record: Any, calls: Any) -> dict[str, Any]:
            return calls.transformed(self.decode(record, calls), self.fixed, None, tf.constant(0))

        arrays = {k: (s.dtype, s.shape) for k, s in specs.items()}
        return decode_once(records, num, decode, arrays, what)
