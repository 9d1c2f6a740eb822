"""Tables of pairs: a line is an example, a column a stream, and a cell may be empty."""

import io
import json
import os
import pathlib
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from vqjax.data.caption_tables import DELIMITERS, csv_head, csv_rows, find_column, table_text
from vqjax.types import DataError, did_you_mean

NAMES = ("pairs.csv", "pairs.jsonl")


class Line(NamedTuple):
    """One line of a table.

    Attributes:
        number: in the file, from 1.
        cells: {stream: what is written, never empty}, in the order of the columns.
    """

    number: int
    cells: Mapping[str, str]


def find_table(root: pathlib.Path) -> pathlib.Path:
    """Returns the table of a folder.

    Raises:
        DataError: there is no such folder, no table in it, or two.
    """
    if not root.exists():
        raise DataError(f"folder {root} does not exist")
    if not root.is_dir():
        raise DataError(f"{root} is a file, not a folder with {NAMES[0]}")
    found = [root / name for name in NAMES if os.path.lexists(root / name)]
    if not found:
        raise DataError(
            f"folder {root} holds no {' and no '.join(NAMES)}: a line for each example, with a "
            "column for each stream"
        )
    if len(found) > 1:
        raise DataError(f"folder {root} holds {' and '.join(NAMES)}: only one of them can count")
    return found[0]


def read_pairs(path: pathlib.Path, streams: Collection[str]) -> list[Line]:
    """Reads the columns `streams` of a table; others are left alone.

    A CSV file has a line with the names of its columns; these are separated by commas, semicolons
    or tabs. A line of a JSON lines file is an object.

    Raises:
        DataError: it cannot be read, a column does not exist or exists twice, or there is no
            example; the line says where.
    """
    text = table_text(path)
    rows = _csv_lines if path.suffix.lower() == ".csv" else _json_lines
    lines = list(rows(path, text, streams))
    if not lines:
        raise DataError(f"{path} holds no examples")
    return lines


def _csv_lines(path: pathlib.Path, text: str, streams: Collection[str]) -> Iterator[Line]:
    heads = {delimiter: csv_head(text, delimiter) for delimiter in DELIMITERS}

    def known(columns: list[str]) -> int:
        return sum(find_column([stream], columns) is not None for stream in streams)

    delimiter, columns = max(heads.items(), key=lambda head: (known(head[1]), len(head[1])))
    if not any(columns):
        found = ", line 1: no names of columns" if text.strip() else " is empty"
        raise DataError(f"{path}{found}")
    plain = [column.strip().lower() for column in columns]
    twice = next((name for i, name in enumerate(plain) if name and name in plain[:i]), None)
    if twice is not None:
        raise DataError(f"{path}, line 1: two columns {twice!r}")
    found = {}
    for stream in streams:
        column = find_column([stream], columns)
        if column is None:
            raise DataError(
                f"{path}, line 1: no column {stream!r}: {did_you_mean(stream, columns)}"
            )
        found[column] = stream
    for number, row in csv_rows(path, text, delimiter):
        pairs = zip(columns, row, strict=True)
        cells = {found[column]: cell.strip() for column, cell in pairs if column in found}
        yield Line(number, {stream: cell for stream, cell in cells.items() if cell})


def _json_lines(path: pathlib.Path, text: str, streams: Collection[str]) -> Iterator[Line]:
    keys: dict[str, None] = {}
    for number, line in enumerate(io.StringIO(text, newline=""), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise DataError(f'{path}, line {number}: not an object such as {{"text": "a"}}')
        keys |= dict.fromkeys(row)
        cells = {key: value for key, value in row.items() if key in streams and value is not None}
        for key, value in cells.items():
            if not isinstance(value, str):
                raise DataError(f"{path}, line {number}: {key!r} is not text, nor null")
        cells = {key: value.strip() for key, value in cells.items()}
        yield Line(number, {key: value for key, value in cells.items() if value})
    for stream in streams:
        if keys and stream not in keys:
            raise DataError(f"{path}: no line has {stream!r}: {did_you_mean(stream, keys)}")
