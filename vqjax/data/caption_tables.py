"""Tables of captions: CSV and JSON lines, as spreadsheets, hubs and people write them."""

import csv
import io
import json
import pathlib
from collections.abc import Iterator, Sequence

from vqjax.types import DataError

FIRST_TABLES = ("captions.csv", "captions.jsonl")  # all that vqjax read at first
TABLES = (*FIRST_TABLES, "caption.csv", "caption.jsonl", "metadata.csv", "metadata.jsonl")
_FILE_KEYS = ("file", "file_name", "image", "filename")  # in the order in which they count
_CAPTION_KEYS = ("caption", "text")
_NEEDS = f"needs {' or '.join(_FILE_KEYS)}, and {' or '.join(_CAPTION_KEYS)}"
DELIMITERS = ",;\t"
_MARKS = {  # longer ones first: that of UTF-32 begins like that of UTF-16
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}


class NoTable(Exception):
    """A metadata.* that is not a table of captions, as it need not be; says why."""


def decoded(data: bytes) -> str:
    """Returns a file's text: UTF-8, or what a byte order mark says; UnicodeDecodeError else."""
    coding = next((c for mark, c in _MARKS.items() if data.startswith(mark)), "utf-8-sig")
    return data.decode(coding)


def read_table(path: pathlib.Path) -> list[tuple[str, str]]:
    """Reads a table of captions.

    A CSV file has a line with the names of its columns; these are separated by commas, semicolons
    or tabs. A line of a JSON lines file is an object, whose caption may be a list of texts.

    Args:
        path: one of `TABLES`.

    Returns:
        (file, caption) in their order, as they are written there.

    Raises:
        DataError: it cannot be read; the line says where and why.
        NoTable: likewise, but `path` is a metadata.* that has no captions, or is not such a text.
    """
    optional = path.stem.lower() == "metadata"
    text = table_text(path, NoTable if optional else DataError)
    rows = _csv_rows if path.suffix.lower() == ".csv" else _json_rows
    return rows(path, text, optional)


def table_text(path: pathlib.Path, not_text: type[Exception] = DataError) -> str:
    """Returns the text of a table.

    Raises:
        DataError: it cannot be read.
        not_text: it is no text; the line says where.
    """
    if path.exists() and not path.is_file():  # reading a pipe would never end
        raise DataError(f"{path} is no plain file")
    try:
        return decoded(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise not_text(
            f"{path}, line {line}: not {error.encoding.upper()} ({error.reason}): save it as "
            'UTF-8, in a spreadsheet as "CSV UTF-8"'
        ) from error


def find_column(keys: Sequence[str], columns: Sequence[str]) -> str | None:
    """Returns the column of the first of `keys`: exactly so, else up to case and white space."""
    nearly = {column.strip().lower(): column for column in columns}
    return next((k for k in keys if k in columns), None) or next(
        (nearly[k] for k in keys if k in nearly), None
    )


def _csv_rows(path: pathlib.Path, text: str, optional: bool) -> list[tuple[str, str]]:
    heads = {delimiter: csv_head(text, delimiter) for delimiter in DELIMITERS}
    for delimiter, columns in heads.items():
        names = [find_column(keys, columns) for keys in (_FILE_KEYS, _CAPTION_KEYS)]
        if None not in names:
            indices = {column: i for i, column in enumerate(columns)}  # the last of equal names
            rows = csv_rows(path, text, delimiter)
            return [tuple(row[indices[name]] for name in names) for _, row in rows]
    if optional:
        raise _without_captions(path)
    listed = ", ".join(max(heads.values(), key=len))
    raise DataError(f"{path}, line 1: {_NEEDS}; the columns are {listed[:200]}")


def csv_head(text: str, delimiter: str) -> list[str]:
    """Returns the names of the columns, if `delimiter` separates them."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    try:
        return next(filter(None, reader), [])
    except csv.Error:  # as other delimiters make of quotes
        return []


def csv_rows(path: pathlib.Path, text: str, delimiter: str) -> Iterator[tuple[int, Sequence[str]]]:
    """Returns the number of each line but the first, and its values, as many as the first has.

    Raises:
        DataError: a line has more or fewer, or quotes that do not end.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    lines = filter(None, reader)
    columns = len(next(lines))
    try:
        for row in lines:
            if len(row) != columns:
                raise DataError(
                    f"{path}, line {reader.line_num}: not {columns} columns (a text with "
                    f"{delimiter!r} in it needs quotes)"
                )
            yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from error


def _json_rows(path: pathlib.Path, text: str, optional: bool) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for number, line in enumerate(io.StringIO(text, newline=""), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            kind = NoTable if optional and not rows else DataError
            raise kind(f"{path}, line {number}: not JSON ({error})") from error
        row = row if isinstance(row, dict) else {}
        file, caption = (row.get(find_column(k, list(row))) for k in (_FILE_KEYS, _CAPTION_KEYS))
        if optional and (file is None or caption is None):
            continue
        captions = caption if isinstance(caption, list) else [caption]
        if not all(isinstance(value, str) for value in (file, *captions)):
            raise DataError(f"{path}, line {number}: {_NEEDS}, both text")
        rows += [(file, one) for one in captions]
    if optional and not rows:
        raise _without_captions(path)
    return rows


def _without_captions(path: pathlib.Path) -> NoTable:
    return NoTable(f"{path} names no files with their captions")
