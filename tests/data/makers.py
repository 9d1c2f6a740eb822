"""Data sets made on the spot: prepared TFDS directories and folders of pictures."""

import json
import pathlib

import numpy as np


def pictures(num: int, side: int = 8, channels: int = 3, seed: int = 0) -> np.ndarray:
    """uint8[num, side, side, channels], all different."""
    shape = (num, side, side, channels)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def write_tfds(
    home: pathlib.Path, splits: dict[str, dict[str, np.ndarray]], shards: int, image_shape=None
) -> None:
    """Writes the prepared data set "tiny" 1.0.0; `splits` hold "image" and perhaps "label"."""
    from vqjax.data.tf_data import tensorflow

    tf = tensorflow()
    import tensorflow_datasets as tfds

    directory = home / "tiny" / "1.0.0"
    directory.mkdir(parents=True)
    first = next(iter(splits.values()))
    shape = image_shape or first["image"].shape[1:]
    features = {"image": tfds.features.Image(shape=shape), "caption": tfds.features.Text()}
    if "label" in first:
        features["label"] = tfds.features.ClassLabel(num_classes=10)
    features = tfds.features.FeaturesDict(features)
    features.save_config(directory)
    infos = []
    for split, arrays in splits.items():
        parts = np.array_split(np.arange(len(arrays["image"])), shards)
        size = 0
        for i, part in enumerate(parts):
            path = directory / f"tiny-{split}.tfrecord-{i:05d}-of-{shards:05d}"
            with tf.io.TFRecordWriter(str(path)) as writer:
                for row in part:
                    example = {name: array[row] for name, array in arrays.items()}
                    example = features.encode_example({**example, "caption": f"number {row}"})
                    record = features.serialize_example(example)
                    size += len(record)
                    writer.write(record)
        infos.append(
            {
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "name": split,
                "numBytes": str(size),
                "shardLengths": [str(len(part)) for part in parts],
            }
        )
    info = {"fileFormat": "tfrecord", "name": "tiny", "version": "1.0.0", "splits": infos}
    (directory / "dataset_info.json").write_text(json.dumps(info))


def write_folder(root: pathlib.Path, images: np.ndarray, classes: int = 3) -> None:
    """Writes pictures as PNG files into class folders c0, c1, ..."""
    from PIL import Image

    for i, image in enumerate(images):
        path = root / f"c{i % classes}" / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
