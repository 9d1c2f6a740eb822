"""Random access to TFRecord files: where each record starts, from a scan of the headers.

A record is its length (uint64), a checksum of the length (4 bytes), the data, and a checksum of the
data (4 bytes). The table of a split is made once and cached for the user.
"""

import dataclasses
import struct
from collections.abc import Sequence

import numpy as np

from vqjax.data import cache
from vqjax.types import DataError

_HEADER = 12
_FOOTER = 4


@dataclasses.dataclass(frozen=True)
class Shard:
    """Records `skip` to `skip + take` of the file at `path`, which holds `total`."""

    path: str
    skip: int
    take: int
    total: int


@dataclasses.dataclass(frozen=True)
class RecordIndex:
    """Where the records of a split lie: `paths[shard[i]]` from `offset[i]`, `length[i]` bytes."""

    paths: tuple[str, ...]
    shard: np.ndarray  # int32[num]
    offset: np.ndarray  # int64[num]
    length: np.ndarray  # int64[num]

    def read(self, indices: np.ndarray) -> list[bytes]:
        """Returns the records at `indices`, int[b]."""
        return [self._read(int(i)) for i in indices]

    def where(self, i: int) -> str:
        """Returns where record `i` lies, in words."""
        return f"the record at byte {int(self.offset[i]):,} of {self.paths[self.shard[i]]}"

    def _read(self, i: int) -> bytes:
        path, length = self.paths[self.shard[i]], int(self.length[i])
        try:
            with _open(path) as file:
                file.seek(int(self.offset[i]))
                record = file.read(length)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
        if len(record) != length:
            raise DataError(f"{path} became shorter while it was read")
        return record


def index_records(shards: Sequence[Shard]) -> RecordIndex:
    """Returns where the records of `shards` lie, in order; DataError if a file is damaged."""
    paths = tuple(dict.fromkeys(shard.path for shard in shards))
    totals = {shard.path: shard.total for shard in shards}
    key = [[path, *stamp(path)] for path in paths]
    table = cache.load("records", key)
    if table is None or set(table) != {"offset", "length"}:
        scans = [_scan(path, totals[path]) for path in paths]
        table = {
            "offset": np.concatenate([offset for offset, _ in scans]),
            "length": np.concatenate([length for _, length in scans]),
        }
        cache.store("records", key, table)
    starts = dict(zip(paths, np.cumsum([0, *(totals[p] for p in paths[:-1])]), strict=True))
    rows = [starts[s.path] + np.arange(s.skip, s.skip + s.take) for s in shards]
    order = np.concatenate(rows).astype(np.int64)
    numbers = [np.full(s.take, paths.index(s.path), np.int32) for s in shards]
    return RecordIndex(
        paths, np.concatenate(numbers), table["offset"][order], table["length"][order]
    )


def _open(path: str):
    """Opens `path` for reading; buckets (gs://...) through TensorFlow's file system."""
    from etils import epath

    # Unbuffered where possible: records are read whole, headers are far apart.
    return epath.Path(path).open("rb") if "://" in path else open(path, "rb", buffering=0)


def stamp(path: str) -> tuple[int, float]:
    """Returns size and time of change, by which a cached table is recognized as valid."""
    from etils import epath

    try:
        stat = epath.Path(path).stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    return int(stat.length), float(stat.mtime)


def _scan(path: str, total: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns offset and length of each record's data, int64[total] both."""
    size, _ = stamp(path)
    offsets, lengths = [], []
    at = 0
    with _open(path) as file:
        while at < size:
            file.seek(at)
            header = file.read(_HEADER)
            if len(header) < _HEADER:
                break
            (length,) = struct.unpack("<Q", header[:8])
            offsets.append(at + _HEADER)
            lengths.append(length)
            at += _HEADER + length + _FOOTER
    if at != size or len(offsets) != total:
        raise DataError(f"{path} is damaged or incomplete: {total} records were expected in it")
    return np.array(offsets, np.int64), np.array(lengths, np.int64)
