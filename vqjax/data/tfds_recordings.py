"""The recordings of a prepared TFDS data set as clips: in memory, or read at each visit."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tqdm

from vqjax.data import cache
from vqjax.data.records import Shard, stamp
from vqjax.data.sound import FULL_SCALE, FlatClips, Loudness
from vqjax.data.tf_data import decode_each, first_line, tensorflow, tensorflow_datasets
from vqjax.data.tfds_builder import LazyIndex
from vqjax.media.resampling import resample
from vqjax.types import DataError

_KEPT = ("lengths", "gains", "label", "name", "loud", "peak")  # of a table, on disk


@dataclasses.dataclass(frozen=True)
class Recordings:
    """How records become clips.

    Attributes:
        features: of the builder.
        keys: {"audio": its feature, "label": ..., "name": ...}, the last two where there are such.
        scale: the value of full scale.
        rates: of the recordings and of the clips, in Hz.
    """

    features: Any
    keys: Mapping[str, str]
    scale: float
    rates: tuple[int, int]

    def decode(self, record: Any) -> dict[str, Any]:
        """Decodes a record tensor to {name: tensor} of `keys`."""
        tfds = tensorflow_datasets()

        partial = tfds.decode.PartialDecoding(dict.fromkeys(self.keys.values(), True))
        example = partial.extract_features(self.features).deserialize_example(record)
        return {name: example[key] for name, key in self.keys.items()}

    def clip(self, values: np.ndarray, what: str) -> tuple[np.ndarray, bool]:
        """Returns values [n] or [n, C] as int16[m], and whether they exceed full scale.

        Channels are averaged in float64; what exceeds full scale is clipped.

        Raises:
            DataError: there are NaN or infinity among them.
        """
        values = np.asarray(values, np.float64)
        values = (values.mean(axis=1) if values.ndim == 2 else values) * (FULL_SCALE / self.scale)
        largest = float(np.abs(values).max(initial=0))
        if not np.isfinite(largest):
            raise DataError(f"{what} holds NaN or infinity")
        if self.rates[0] != self.rates[1]:
            values = resample(values, *self.rates)
        samples = np.clip(np.rint(values), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
        return samples, largest > FULL_SCALE


@dataclasses.dataclass(frozen=True)
class RecordClips:
    """Clips that are decoded at each visit; see `Clips`.

    Attributes:
        recordings: how.
        index: where all records of the split lie.
        what: names the split, for messages.
        rows: int64[n], the record of each clip.
        lengths: int64[n], its samples.
    """

    recordings: Recordings
    index: LazyIndex
    what: str
    rows: np.ndarray
    lengths: np.ndarray

    def subset(self, rows: np.ndarray) -> "RecordClips":
        """The clips `rows` alone."""
        return dataclasses.replace(self, rows=self.rows[rows], lengths=self.lengths[rows])

    def read(self, index: int, start: int, stop: int) -> np.ndarray:
        """See `Clips.read`."""
        tf, row = tensorflow(), int(self.rows[index])
        (record,) = self.index.read(np.array([row]))
        where = f"{self.what}: {self.index.where(row)}"
        try:
            values = self.recordings.decode(tf.constant(record))["audio"].numpy()
        except tf.errors.OpError as error:
            raise DataError(f"{where} cannot be read: {first_line(error)}") from error
        samples, _ = self.recordings.clip(values, where)
        if len(samples) != self.lengths[index]:
            raise DataError(f"{where} has another length than when it was first read")
        return samples[start:stop]


@dataclasses.dataclass(frozen=True)
class RecordingTable:
    """A decoded split; arrays go with its recordings.

    Attributes:
        clips: the sound.
        gains: float32[n]; None: not asked for.
        label: int64[n]; None: there are none.
        names: likewise, of the files.
        loud: how many recordings exceed full scale.
        peak: the largest magnitude of a sample.
    """

    clips: FlatClips | RecordClips
    gains: np.ndarray | None
    label: np.ndarray | None
    names: tuple[str, ...] | None
    loud: int
    peak: int


def load_recordings(
    recordings: Recordings,
    shards: Sequence[Shard],
    loudness: Loudness | None,
    cache_bytes: int,
    what: str,
) -> RecordingTable:
    """Decodes all recordings of `shards`, in file order.

    Clips of more than `cache_bytes` in all are not kept but decoded at each visit; what else there
    is to know of them is then kept on disk.

    Args:
        recordings: how.
        shards: where.
        loudness: of the gains; None: there are none.
        cache_bytes: see above.
        what: names what is read, for messages.

    Raises:
        DataError: a shard is damaged; the line names it.
    """
    key = [
        *([shard.path, shard.skip, shard.take, *stamp(shard.path)] for shard in shards),
        [dict(recordings.keys), recordings.scale, recordings.rates],
        None if loudness is None else loudness.db,
    ]
    table, samples = cache.load("recordings", key), None
    if table is None or not set(table) <= set(_KEPT) or table["lengths"].sum() * 2 <= cache_bytes:
        table, samples = _decoded(recordings, shards, loudness, cache_bytes, what)
        if samples is None:
            cache.store("recordings", key, table)
    lengths = table["lengths"]
    if samples is None:
        rows = np.arange(len(lengths))
        clips = RecordClips(recordings, LazyIndex(list(shards)), what, rows, lengths)
    else:
        clips = FlatClips(samples, np.cumsum(lengths) - lengths, lengths)
    return RecordingTable(
        clips,
        table.get("gains"),
        table.get("label"),
        tuple(table["name"].tolist()) if "name" in table else None,
        int(table["loud"]),
        int(table["peak"]),
    )


def _decoded(
    recordings: Recordings,
    shards: Sequence[Shard],
    loudness: Loudness | None,
    cache_bytes: int,
    what: str,
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Returns the arrays `_KEPT`, those that there are, and the samples of all clips, int16[total],
    or None where they take more than `cache_bytes`.
    """
    clips: list[np.ndarray] = []
    size = loud = peak = 0
    rows: dict[str, list] = {"lengths": [], "gains": [], "label": [], "name": []}
    for samples, exceeds, example in _examples(recordings, shards, what):
        size += samples.nbytes
        clips.append(samples)
        if size > cache_bytes:
            clips.clear()
        loud, peak = loud + exceeds, max(peak, int(np.abs(samples.astype(int)).max(initial=0)))
        rows["lengths"].append(len(samples))
        if loudness is not None:
            rows["gains"].append(loudness.gain(samples))
        if "label" in example:
            rows["label"].append(example["label"])
        if "name" in example:
            rows["name"].append(example["name"].decode("utf-8", "backslashreplace"))
    dtypes = {"lengths": np.int64, "gains": np.float32, "label": np.int64, "name": np.str_}
    table = {name: np.array(values, dtypes[name]) for name, values in rows.items() if values}
    table = {"lengths": np.zeros(0, np.int64), **table}
    table = {**table, "loud": np.int64(loud), "peak": np.int64(peak)}
    samples = np.concatenate([np.zeros(0, np.int16), *clips]) if size <= cache_bytes else None
    return table, samples


def _examples(
    recordings: Recordings, shards: Sequence[Shard], what: str
) -> Iterator[tuple[np.ndarray, bool, dict[str, Any]]]:
    """Yields each clip, int16[n], whether it exceeds full scale, and the decoded record."""
    total = sum(shard.take for shard in shards)
    # Shown on a terminal only, and only where this takes a while.
    with tqdm.tqdm(total=total, desc=what, delay=2.0, disable=None, leave=False) as bar:
        for shard in shards:
            where, count = f"{what}: {shard.path}", 0
            for example in decode_each(_records(shard), recordings.decode, where, bar):
                yield *recordings.clip(example["audio"], f"{where}, record {count}"), example
                count += 1
            if count != shard.take:
                raise DataError(f"{where} is damaged: it holds {count} of {shard.take} records")


def _records(shard: Shard) -> Callable[[], Any]:
    return lambda: tensorflow().data.TFRecordDataset(shard.path).skip(shard.skip).take(shard.take)
