"""Captions: in a batch the bytes of their UTF-8, uint8[b, L], with zeros behind them; in a folder
a text beside each picture, or a table at the top.
"""

import csv
import io
import json
import pathlib
import posixpath
from collections.abc import Container, Iterator, Sequence
from typing import Any

import numpy as np

from vqjax.data.listing import printable
from vqjax.data.tf_data import tensorflow
from vqjax.types import DataError

_TABLES = ("captions.csv", "captions.jsonl")
_FILE_KEYS = ("file", "file_name", "image")
_CAPTION_KEYS = ("caption", "text")
_KEYS = (_FILE_KEYS, _CAPTION_KEYS)
_WANTED = f"needs {' or '.join(_FILE_KEYS)}, and {' or '.join(_CAPTION_KEYS)}"
_NAMED = 10  # files that one note names


def to_bytes(text: str | bytes, length: int) -> np.ndarray:
    """Returns the UTF-8 of `text`, cut after the last whole character that fits: uint8[length].

    Bytes that are no UTF-8 become U+FFFD; zeros, which would end the caption, are left out.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    data = text.replace("\0", "").encode("utf-8", "replace")[:length]
    data = data.decode("utf-8", "ignore").encode()  # only the last character can be incomplete
    return np.frombuffer(data.ljust(length, b"\0"), np.uint8)


def tensor_to_bytes(text: Any, length: int) -> Any:
    """Does for a string tensor of valid UTF-8 what `to_bytes` does: uint8[length]."""
    tf = tensorflow()
    data = tf.io.decode_raw(text, tf.uint8, fixed_length=length)  # filled with zeros, or cut
    places = tf.range(length)
    start = tf.reduce_max(tf.where(data & 0xC0 != 0x80, places, 0))  # of the last character
    needed = 1 + tf.reduce_sum(tf.cast(data[start] >= (0xC0, 0xE0, 0xF0), tf.int32))
    end = tf.where(start + needed > length, start, length)
    return tf.where(places < end, data, 0)


def to_text(caption: np.ndarray) -> str:
    """Returns what is written in uint8[L]."""
    return caption.tobytes().rstrip(b"\0").decode("utf-8", "replace")


def read_captions(
    root: pathlib.Path, names: Sequence[str], known: Container[str], length: int
) -> tuple[np.ndarray, list[str]]:
    """Reads the captions of pictures in a folder.

    That of a/b.png is what a/b.txt holds, else what a table at the top, captions.csv or
    captions.jsonl, says of it. White space is reduced to single spaces.

    Args:
        root: the folder.
        names: of the pictures, relative to it.
        known: all names that a table may name.
        length: of the result's last axis.

    Returns:
        uint8[n, length], zeros where there is no caption; and notes for the user.

    Raises:
        DataError: if a table cannot be read, with its line, or there are two.
    """
    path, table = _table(root)
    captions = np.zeros((len(names), length), np.uint8)
    without, cut, bad = [], 0, []
    for row, name in enumerate(names):
        try:
            text = (root / name).with_suffix(".txt").read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            text = table.get(name, "")
        except (OSError, UnicodeDecodeError):
            text = ""
            bad.append(name)
        text = " ".join(text.replace("\0", " ").split())
        captions[row] = to_bytes(text, length)
        cut += len(text.encode("utf-8", "replace")) > length
        if not text:
            without.append(name)
    missing = [name for name in table if name not in known]
    notes = []
    if missing:
        notes.append(f"{path} names {len(missing):,} files that are no pictures: {_some(missing)}")
    if bad:
        notes.append(f"{len(bad):,} caption files cannot be read, those of {_some(bad)}")
    if without:
        notes.append(f"{len(without):,} of {len(names):,} pictures have no caption")
    if cut:
        notes.append(f"{cut:,} captions are longer than caption_bytes={length} and were cut")
    return captions, notes


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    listed = ", ".join(printable(name) for name in names[:_NAMED])
    return listed + (f" and {rest:,} more" if rest > 0 else "")


def _table(root: pathlib.Path) -> tuple[pathlib.Path | None, dict[str, str]]:
    """Returns the path of the table, and what it says first of each file: {file: caption}."""
    paths = [path for path in (root / name for name in _TABLES) if path.exists()]
    if len(paths) > 1:
        raise DataError(f"{root} holds {' and '.join(_TABLES)}: only one of them can count")
    if not paths:
        return None, {}
    (path,) = paths
    table: dict[str, str] = {}
    try:
        file = io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8 ({error.reason})") from error
    for name, text in (_csv_rows if path.suffix == ".csv" else _json_rows)(path, file):
        table.setdefault(posixpath.normpath(name), text)
    return path, table


def _csv_rows(path: pathlib.Path, file: Any) -> Iterator[tuple[str, str]]:
    reader = csv.DictReader(file, strict=True)
    try:
        columns = reader.fieldnames or ()
        wanted = [next((k for k in keys if k in columns), None) for keys in _KEYS]
        if None in wanted:
            raise DataError(f"{path}, line 1: {_WANTED}; the columns are {', '.join(columns)}")
        for row in reader:
            values = [row[key] for key in wanted]
            if None in values or None in row:
                raise DataError(f"{path}, line {reader.line_num}: not {len(columns)} columns")
            yield tuple(values)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.reader.line_num}: {error}") from error


def _json_rows(path: pathlib.Path, file: Any) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: not JSON ({error})") from error
        row = row if isinstance(row, dict) else {}
        values = [next((row[k] for k in keys if k in row), None) for keys in _KEYS]
        if not all(isinstance(value, str) for value in values):
            raise DataError(f"{path}, line {number}: {_WANTED}, both text")
        yield tuple(values)
