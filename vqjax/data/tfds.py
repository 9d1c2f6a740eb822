"""Any image data set that TFDS has prepared. Only `vqjax prepare` downloads."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from vqjax.config.annotations import check_fields
from vqjax.data import augment as augmentation
from vqjax.data.arrays import ArraySplit
from vqjax.data.records import Shard
from vqjax.data.source import Split, SplitSource
from vqjax.data.texts import tensor_to_bytes
from vqjax.data.tf_data import StreamSplit, decode_once, tensorflow, tensorflow_datasets
from vqjax.data.tfds_builder import (
    LazyIndex,
    is_text,
    is_whole_number,
    open_builder,
    shards_of,
)
from vqjax.types import ArraySpec, DataError, UsageError, did_you_mean

__all__ = ["TFDS"]


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
        return open_builder(self.name, self.data_dir)

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
        if label in features and is_whole_number(features[label]):
            keys["label"] = label
        elif self.label_key is not None:
            raise DataError(
                f"data set {self.name!r} has no whole number in {label!r}: "
                + did_you_mean(label, (k for k in features if is_whole_number(features[k])))
            )
        if self.caption_bytes:
            keys["caption"] = self.caption_key
            if self.caption_key not in features or not is_text(features[self.caption_key]):
                raise DataError(
                    f"data set {self.name!r} has no text in {self.caption_key!r}: "
                    + did_you_mean(self.caption_key, (k for k in features if is_text(features[k])))
                )
        return keys

    def _open(self, part: str) -> Split:
        split = self.split if part == "train" else self.eval_split
        keys, shards = self._keys(), shards_of(self._builder, self.name, split)
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
            index = LazyIndex(shards)
            return StreamSplit(
                num, raw, index.read, records.decode, self.augment, what, where=index.where
            )
        specs = {**raw, "image": ArraySpec(shape, "uint8")}
        return ArraySplit(num, specs, lambda: records.load(shards, num, specs), each_visit)

    def check(self) -> None:
        """See `Source.check`."""
        super().check()
        tensorflow()


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
