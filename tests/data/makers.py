"""Data sets made on the spot: prepared TFDS directories and folders of pictures."""

import json
import pathlib

import numpy as np


def pictures(num: int, side: int = 8, channels: int = 3, seed: int = 0) -> np.ndarray:
    """uint8[num, side, side, channels], all different."""
    shape = (num, side, side, channels)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def recordings(num: int, seed: int = 0, longest: int = 900) -> list[np.ndarray]:
    """`num` clips int16[n] of noise, of `longest` samples and of fewer, all different."""
    random = np.random.default_rng(seed)
    lengths = [longest, *random.integers(1, longest, num - 1)]
    return [random.integers(-9_000, 9_000, n).astype(np.int16) for n in lengths]


def write_tfds(
    home: pathlib.Path, splits: dict[str, dict[str, np.ndarray]], shards: int, image_shape=None
) -> None:
    """Writes the prepared data set "tiny" 1.0.0; `splits` hold "image" and perhaps "label"."""
    from vqjax.data.tf_data import tensorflow_datasets

    tfds = tensorflow_datasets()
    first = next(iter(splits.values()))
    shape = image_shape or first["image"].shape[1:]
    features = {"image": tfds.features.Image(shape=shape), "caption": tfds.features.Text()}
    if "label" in first:
        features["label"] = tfds.features.ClassLabel(num_classes=10)
    captions = {
        split: [f"number {row}" for row in range(len(arrays["image"]))]
        for split, arrays in splits.items()
    }
    splits = {split: {**arrays, "caption": captions[split]} for split, arrays in splits.items()}
    write_prepared(home, features, splits, shards)


def write_prepared(home: pathlib.Path, features: dict, splits: dict, shards: int) -> None:
    """Writes the prepared data set "tiny" 1.0.0.

    Args:
        home: where data sets lie.
        features: {name: TFDS's feature}.
        splits: {split: {name: one value per example}}.
        shards: files of each split.
    """
    from vqjax.data.tf_data import tensorflow, tensorflow_datasets

    tf, tfds = tensorflow(), tensorflow_datasets()
    directory = home / "tiny" / "1.0.0"
    directory.mkdir(parents=True)
    features = tfds.features.FeaturesDict(features)
    features.save_config(directory)
    infos = []
    for split, arrays in splits.items():
        parts = np.array_split(np.arange(len(next(iter(arrays.values())))), shards)
        size = 0
        for i, part in enumerate(parts):
            path = directory / f"tiny-{split}.tfrecord-{i:05d}-of-{shards:05d}"
            with tf.io.TFRecordWriter(str(path)) as writer:
                for row in part:
                    example = {name: array[row] for name, array in arrays.items()}
                    record = features.serialize_example(features.encode_example(example))
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


def write_tfds_audio(home: pathlib.Path, splits: dict, shards: int, **settings) -> None:
    """Writes the prepared data set "tiny" 1.0.0 of sound at 8 kHz; `settings` of its feature.

    Args:
        home: where data sets lie.
        splits: {split: {"audio": clips, "audio/filename": texts, "label": whole numbers}}.
        shards: files of each split.
        settings: of TFDS's Audio feature.
    """
    from vqjax.data.tf_data import tensorflow_datasets

    tfds = tensorflow_datasets()
    features = {
        "audio": tfds.features.Audio(**{"sample_rate": 8_000, **settings}),
        "audio/filename": tfds.features.Text(),
        "label": tfds.features.ClassLabel(num_classes=10),
    }
    write_prepared(home, features, splits, shards)


def write_folder(root: pathlib.Path, images: np.ndarray, classes: int = 3) -> None:
    """Writes pictures as PNG files into class folders c0, c1, ..."""
    from PIL import Image

    for i, image in enumerate(images):
        path = root / f"c{i % classes}" / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def write_sound_folder(root: pathlib.Path, clips: list[np.ndarray], classes: int = 3) -> None:
    """Writes clips of 8 kHz into class folders c0, c1, ...: WAV, FLAC and MP3, WAV at 16 kHz, AIFF
    in stereo, in turn.
    """
    import soundfile

    from vqjax.media.audio import resample

    kinds = ("WAV", "FLAC", "MP3", "WAV", "AIFF")
    for i, clip in enumerate(clips):
        kind = kinds[i % 5]
        path = root / f"c{i % classes}" / f"{i:03d}.{kind.lower()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        twice = i % 5 == 3
        clip = resample(clip, 8_000, 16_000) if twice else clip
        clip = np.stack([clip, clip // 2], 1) if kind == "AIFF" else clip
        soundfile.write(path, clip, 16_000 if twice else 8_000, format=kind)


def write_pairs(root: pathlib.Path, images: np.ndarray, clips: list[np.ndarray]) -> None:
    """Writes pictures and clips as in `write_folder` and `write_sound_folder`, into image/ and
    sound/, and a table of them and of words. Of three rows one has no clip, of four one has no
    words, of seven one has no picture.
    """
    write_folder(root / "image", images)
    write_sound_folder(root / "sound", clips)
    pictures, sounds = (
        sorted(path.relative_to(root).as_posix() for path in (root / kind).rglob("*.*"))
        for kind in ("image", "sound")
    )
    lines = ["image,audio,text"]
    for i, (picture, sound) in enumerate(zip(pictures, sounds, strict=True)):
        cells = picture if i % 7 else "", sound if i % 3 else "", f"word {i}" if i % 4 else ""
        lines.append(",".join(cells))
    (root / "pairs.csv").write_text("\n".join(lines))
