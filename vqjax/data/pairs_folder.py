"""Your own pairs of pictures, sound and words: a folder with a table."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vqjax.arguments import got
from vqjax.config.annotations import check_fields
from vqjax.data.columns import Cells, ImageColumn, SoundColumn, TextColumn
from vqjax.data.listing import name_text, named
from vqjax.data.pair_sides import Row, sides_of
from vqjax.data.pairs_table import Line, find_table, read_pairs
from vqjax.data.side_by_side import EXAMPLE_ID, PRESENT, Choose, Chosen, side_by_side
from vqjax.data.source import Split, SplitSource, Visit, Visits
from vqjax.data.text_ids import FIT_TEXTS
from vqjax.format import printable
from vqjax.paths import as_path
from vqjax.types import ArraySpec, DataError, UsageError

__all__ = ["PairsFolder"]

_NAMED = 10  # lines that one note names
Column = ImageColumn | SoundColumn | TextColumn


@dataclasses.dataclass(frozen=True)
class _Stream:
    """What one column has.

    Attributes:
        names: its different cells, ascending.
        cells: what was read of them.
        numbers: int64[n], which of them each row has; -1: none.
    """

    names: Sequence[str]
    cells: Cells
    numbers: np.ndarray

    def of_rows(self, rows: np.ndarray) -> "_Stream":
        """The rows `rows` alone."""
        return dataclasses.replace(self, numbers=self.numbers[rows])

    @property
    def good(self) -> int:
        """A cell that can be read, which stands in where a row has none."""
        return list(self.cells.reasons).index("")


@dataclasses.dataclass(frozen=True)
class _Scan:
    """What is in the folder: the rows that count, and which of them are for evaluation, bool[n]."""

    streams: dict[str, _Stream]
    evaluated: np.ndarray
    notes: tuple[str, ...]


class PairsSplit:
    """Rows of a table.

    Args:
        num: rows.
        specs: of one example.
        splits: {stream: its different cells as examples}.
        streams: {stream: which of these each row has}.
    """

    def __init__(
        self,
        num: int,
        specs: Mapping[str, ArraySpec],
        splits: Mapping[str, Split],
        streams: Mapping[str, _Stream],
    ):
        self.num = num
        self._specs, self._splits, self._streams = dict(specs), dict(splits), dict(streams)

    def spec(self) -> dict[str, ArraySpec]:
        """See `Split.spec`."""
        return self._specs

    def at_hand(self, name: str) -> np.ndarray | None:
        """See `SplitSource.at_hand`: nothing."""
        del name
        return None

    def batches(self, visits: Visits) -> Iterator[dict[str, np.ndarray]]:
        """See `Split.batches`."""
        streams = {
            name: Chosen(_choice(stream), self._splits[name].batches)
            for name, stream in self._streams.items()
        }
        found = side_by_side(visits, streams)
        return ({**batch, EXAMPLE_ID: visit.indices} for visit, batch in found)


def _choice(stream: _Stream) -> Choose:
    good = stream.good

    def choose(visit: Visit) -> tuple[np.ndarray, np.ndarray]:
        numbers = stream.numbers[visit.indices]
        return np.where(numbers < 0, good, numbers), numbers >= 0

    return choose


@dataclasses.dataclass(frozen=True)
class PairsFolder(SplitSource):
    """Examples of a folder with a table, pairs.csv or pairs.jsonl: a row is an example, a column a
    stream. A cell names a file, relative to the folder, or holds the words themselves; where it is
    empty the row does not have that stream.

    A batch is as that of `Paired`: of every stream s the arrays of its column as "s.NAME",
    "s.example_id" among them, which counts the column's different files or texts, and "s.present",
    bool[b]; and "example_id", int64[b]. Where "s.present" is False, the arrays are those of some
    other row: not to be used.

    A CSV file has a first line with the names of its columns, separated by commas, semicolons or
    tabs; a line of pairs.jsonl is an object with such keys. Columns that are not in `columns` are
    left alone. A file may stand in several rows, as a picture with several captions does, and is
    decoded once, before the first step.

    Whether a row is for training or for evaluation depends on a hash of its identity: its first
    file in the order of the table's columns, or its words where it has none. So it stays whatever
    is added (but for the exception of `Folder`), and a row whose first file is a picture is held
    out where `Folder` holds that picture out. Rows that share a file, directly or through others,
    are all on the side of the one whose identity comes first in the order of bytes. Where there is
    train/ in the folder, and no file beside it but in val/ (valid/, validation/) and test/, these
    are splits instead: evaluation has val/, or test/ if there is no val/. A row with files of
    several splits is left out then, and one with words alone is for training.

    Attributes:
        path: of the directory.
        columns: {stream: `ImageColumn`, `SoundColumn` or `TextColumn`}, the streams being names of
            columns of the table.
        eval_fraction: share of the rows held out for evaluation, in [0, 1].
        on_bad: "skip" takes a file that is missing or cannot be read as an empty cell, and names
            it; a row with nothing is left out. "fail" raises DataError for both.
    """

    path: str
    columns: Mapping[str, Column]
    eval_fraction: float = 0.1
    on_bad: str = "skip"

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.columns:
            raise UsageError("PairsFolder: columns is empty: wanted at least one")
        for stream in self.columns:
            if not stream.isidentifier():
                raise UsageError(f"PairsFolder: columns has {got(stream)}: wanted an identifier")
        if self.on_bad not in ("skip", "fail"):
            raise UsageError(f"PairsFolder: on_bad is 'skip' or 'fail', got {self.on_bad!r}")
        if not 0 <= self.eval_fraction <= 1:
            raise UsageError(
                f"PairsFolder: eval_fraction lies in [0, 1], got {self.eval_fraction!r}"
            )

    @property
    def _root(self) -> pathlib.Path:
        return as_path(self.path, "PairsFolder.path")

    @functools.cached_property
    def _scan(self) -> _Scan:
        """Reads the table and decodes every file once; DataError where nothing is left, or for
        `on_bad`.
        """
        table = find_table(self._root)
        lines = read_pairs(table, self.columns)
        rows = [self._keys(table, line) for line in lines]
        streams, notes = {}, []
        for name in self.columns:
            streams[name], found = self._read(table, name, lines, rows)
            notes += found
        present = np.stack([stream.numbers >= 0 for stream in streams.values()], axis=1)  # [n, s]
        kept = np.flatnonzero(present.any(axis=1))
        notes += self._report_empty(
            table, [lines[i].number for i in np.flatnonzero(~present.any(1))]
        )
        readable = {
            name
            for stream, found in streams.items()
            if self.columns[stream].has_files
            for name, reason in zip(found.names, found.cells.reasons, strict=True)
            if not reason
        }
        sides = sides_of([self._row(rows[i]) for i in kept], readable, self.eval_fraction)
        used = kept[sides.used]
        return _Scan(
            {name: stream.of_rows(used) for name, stream in streams.items()},
            sides.evaluated[sides.used],
            (*notes, *sides.notes),
        )

    def _keys(self, table: pathlib.Path, line: Line) -> dict[str, str]:
        """Returns {stream: the file or the text that its cell means}, without empty ones."""
        keys = {}
        for stream, written in line.cells.items():
            try:
                keys[stream] = self.columns[stream].cell(self._root, written)
            except ValueError as error:
                raise DataError(
                    f"{table}, line {line.number}: {stream}: {printable(repr(written), 100)} is no "
                    f"file ({error})"
                ) from error
        return {stream: key for stream, key in keys.items() if key}

    def _row(self, keys: Mapping[str, str]) -> Row:
        files = [key for stream, key in keys.items() if self.columns[stream].has_files]
        return Row(next(iter([*files, *keys.values()])), files)

    def _read(
        self,
        table: pathlib.Path,
        stream: str,
        lines: Sequence[Line],
        rows: Sequence[Mapping[str, str]],
    ) -> tuple[_Stream, list[str]]:
        """Reads a column once; and returns lines for the user."""
        names = sorted({row[stream] for row in rows if stream in row}, key=os.fsencode)
        if not names:
            raise DataError(f"{table}: {stream!r} is empty in every row: leave it out of columns")
        column = self.columns[stream]
        cells = column.read(self._root, names, self.on_bad)
        reasons = [
            "no such file" if reason and not os.path.exists(self._root / name) else reason
            for name, reason in zip(names, cells.reasons, strict=True)
        ]
        number_of = {name: i for i, name in enumerate(names) if not reasons[i]}
        numbers = np.array([number_of.get(row.get(stream), -1) for row in rows], np.int64)
        first: dict[str | None, int] = {}
        for line, row in zip(lines, rows, strict=True):
            first.setdefault(row.get(stream), line.number)
        bad = [
            f"line {first[name]}: {name_text(name)} ({reason})"
            for name, reason in zip(names, reasons, strict=True)
            if reason
        ]
        if len(bad) == len(names):
            raise DataError(f"{table}: no file of {stream!r} can be read: {named(bad, _NAMED)}")
        if bad and self.on_bad == "fail":
            raise DataError(f"{table}: bad files and on_bad='fail': {named(bad, _NAMED)}")
        notes = (
            [f"left out {len(bad):,} of {len(names):,} files: {named(bad, _NAMED)}"] if bad else []
        )
        notes = [f"{stream}: {note}" for note in (*notes, *cells.notes)]
        return _Stream(names, cells._replace(reasons=reasons), numbers), notes

    def _report_empty(self, table: pathlib.Path, numbers: Sequence[int]) -> list[str]:
        """Returns the line about rows with nothing in them, or raises it, as `on_bad` says."""
        if not numbers:
            return []
        listed = named([f"line {number}" for number in numbers], _NAMED)
        if self.on_bad == "fail":
            raise DataError(f"{table}: nothing in a row and on_bad='fail': {listed}")
        return [f"left out, with nothing in them: {listed}"]

    def fitted(self, before: Any = None) -> "PairsFolder":
        """This with its columns fitted: as in `before`, the result of an earlier start, or anew."""
        earlier = before.columns if isinstance(before, PairsFolder) else {}
        read = self._with_fitted(earlier, files=True)  # which files are read, then texts of rows
        result = read._with_fitted(earlier, files=False)
        if "_scan" in read.__dict__:  # the same files, whose decoding takes long
            result.__dict__["_scan"] = read._scan
        return result

    def _with_fitted(self, earlier: Mapping[str, Column], files: bool) -> "PairsFolder":
        """This with its columns of files fitted, or those of texts."""
        columns = dict(self.columns)
        for stream, column in columns.items():
            if column.has_files == files:
                texts = functools.partial(self._texts, stream)
                columns[stream] = column.fitted(earlier.get(stream), texts)
        return dataclasses.replace(self, columns=columns)

    def _texts(self, stream: str) -> Iterator[str]:
        """The texts of the training rows, the first ones."""
        self.check()
        found = self._scan.streams[stream]
        numbers = found.numbers[~self._scan.evaluated]
        return (found.names[number] for number in numbers[numbers >= 0][:FIT_TEXTS])

    @functools.cached_property
    def _splits(self) -> dict[str, Split]:
        return {
            name: self.columns[name].split(self._root, stream.names, stream.cells)
            for name, stream in self._scan.streams.items()
        }

    def _open(self, part: str) -> PairsSplit:
        rows = np.flatnonzero(self._scan.evaluated == (part == "eval"))
        streams = {name: stream.of_rows(rows) for name, stream in self._scan.streams.items()}
        return PairsSplit(len(rows), self.example_spec(), self._splits, streams)

    def texts_of(self, stream: str) -> Any:
        """What encodes and decodes the texts of a stream: its `TextColumn`."""
        return self.columns[stream]

    def example_spec(self) -> dict[str, ArraySpec]:
        """See `Source.example_spec`; known without the files."""
        spec = {}
        for stream, column in self.columns.items():
            spec |= {f"{stream}.{name}": array for name, array in column.specs().items()}
            spec[f"{stream}.{PRESENT}"] = ArraySpec((), "bool")
        return {**spec, EXAMPLE_ID: ArraySpec((), "int64")}

    def check(self) -> None:
        """See `Source.check`; also requires a training row of each stream."""
        self.example_spec()
        scan = self._scan
        for name, rows in (("training", ~scan.evaluated), ("evaluation", scan.evaluated)):
            if not rows.any():
                raise DataError(
                    f"folder {self._root}: no row is for {name}, at least one is needed: another "
                    f"eval_fraction than {self.eval_fraction:g}, or more rows that share no file"
                )
        for stream, found in scan.streams.items():
            if (found.numbers[~scan.evaluated] < 0).all():
                raise DataError(f"folder {self._root}: no row for training has {stream!r}")

    def notes(self) -> list[str]:
        """See `Source.notes`: how many rows there are and what they have, which files are left out
        and why, which are odd, on which side rows are.
        """
        scan, lines = self._scan, []
        for name, rows in (("training", ~scan.evaluated), ("evaluation", scan.evaluated)):
            counts = ", ".join(
                f"{np.count_nonzero(found.numbers[rows] >= 0):,} with {stream}"
                for stream, found in scan.streams.items()
            )
            lines.append(f"{np.count_nonzero(rows):,} rows for {name}: {counts}")
        for stream, found in scan.streams.items():
            late = self.columns[stream].late_notes(found.names)
            lines += [f"{stream}: {line}" for line in late]
        return [*lines, *scan.notes]
