"""The captions of pictures, or sound, in a folder: a text beside each, or tables."""

import collections
import pathlib
import posixpath
from collections.abc import Iterable, Sequence, Set
from typing import NamedTuple

import numpy as np

from vqjax.data.caption_tables import FIRST_TABLES, TABLES, NoTable, decoded, read_table
from vqjax.data.several import Several
from vqjax.data.texts import to_bytes
from vqjax.format import printable
from vqjax.types import DataError

_NAMED = 10  # files that one note names


class _Texts(NamedTuple):
    """What is written of pictures: texts by picture, and lines for the user."""

    texts: dict[str, list[str]]
    notes: list[str]


def read_captions(
    root: pathlib.Path,
    names: Sequence[str],
    files: Set[str],
    pictures: Set[str],
    length: int,
    *,
    old: bool = False,
    what: str = "pictures",
) -> tuple[np.ndarray | Several, list[str]]:
    """Reads the captions of pictures in a folder; see `Folder`. White space becomes single spaces.

    Args:
        root: the folder.
        names: of the pictures, relative to it.
        files: all files, likewise.
        pictures: all pictures that a table may name.
        length: of the result's last axis.
        old: read as `Folder(reading=1)` does.
        what: pictures or files of sound, for messages.

    Returns:
        uint8[n, length], zeros where there is no caption, or several of these for some pictures;
        and notes for the user.

    Raises:
        DataError: a table cannot be read, with its line, or there are two in one folder.
    """
    tables = _tables(root, files, pictures, old, what)
    beside = _beside(root, names, files, old, what)
    raw = [beside.texts.get(name, tables.texts.get(name, [])) for name in names]
    all_captions = [_cleaned(texts) for texts in raw]
    captions = [_cleaned(texts[:1]) for texts in raw] if old else all_captions
    notes = [*tables.notes, *beside.notes]
    both = sum(name in beside.texts and name in tables.texts for name in names)
    if both and not old:
        notes.append(f"{both:,} {what} that a table names have a text beside them, which counts")
    several = [texts for texts in all_captions if len(texts) > 1]
    if several:
        rule = "the first counts" if old else "training draws one of them at each visit"
        notes.append(
            f"{len(several):,} of {len(names):,} {what} have several captions, "
            f"{sum(map(len, several)):,} in all: {rule}"
            + ("" if old else ", evaluation and `vqjax tokenize` take the first")
        )
    without = sum(not texts for texts in captions)
    if without:
        notes.append(f"{without:,} of {len(names):,} {what} have no caption")
    cut = sum(len(t.encode("utf-8", "replace")) > length for texts in captions for t in texts)
    if cut:
        notes.append(f"{cut:,} captions are longer than caption_bytes={length} and were cut")
    return _packed([texts or [""] for texts in captions], length), notes


def _packed(captions: Sequence[Sequence[str]], length: int) -> np.ndarray | Several:
    values = np.zeros((sum(map(len, captions)), length), np.uint8)
    for row, text in enumerate(text for texts in captions for text in texts):
        values[row] = to_bytes(text, length)
    counts = np.array([len(texts) for texts in captions], np.int64)
    if (counts == 1).all():
        return values
    return Several(values, np.cumsum(counts) - counts, counts)


def _cleaned(texts: Iterable[str]) -> list[str]:
    """Returns texts with single spaces, each once, the empty ones left out."""
    texts = (" ".join(text.replace("\0", " ").split()) for text in texts)
    return [text for text in dict.fromkeys(texts) if text]


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    listed = ", ".join(printable(name) for name in names[:_NAMED])
    return listed + (f" and {rest:,} more" if rest > 0 else "")


def _beside(
    root: pathlib.Path, names: Sequence[str], files: Set[str], old: bool, what: str
) -> _Texts:
    """Returns the text beside each file that has one; [] for one that cannot be read."""
    texts: dict[str, list[str]] = {}
    bad, not_utf8, more = [], [], 0
    for name in names:
        existing = [path for path in _candidates(name, old) if path in files]
        more += len(existing) > 1
        for path in existing[:1]:
            texts[name] = []
            try:
                texts[name].append(_read(root / path, old))
            except FileNotFoundError:  # a link that leads nowhere
                del texts[name]
            except UnicodeDecodeError:
                not_utf8.append(name)
            except OSError:
                bad.append(name)
    notes = []
    if bad:
        notes.append(f"{len(bad):,} caption files cannot be read, those of {_listed(bad)}")
    if not_utf8:
        notes.append(
            f"{len(not_utf8):,} caption files are not UTF-8, those of {_listed(not_utf8)}: "
            "save them as UTF-8"
        )
    if more:
        notes.append(
            f"{more:,} {what} have several texts beside them, of which one counts: the first of "
            + ", ".join(_candidates("name" + posixpath.splitext(names[0])[1], old))
        )
    return _Texts(texts, notes)


def _candidates(name: str, old: bool) -> list[str]:
    """Returns the files that may hold the caption of a picture; the first that exists does."""
    stem, _ = posixpath.splitext(name)
    if old:
        return [f"{stem}.txt"]
    return [f"{name}.txt", f"{name}.caption", f"{stem}.txt", f"{stem}.caption"]


def _read(path: pathlib.Path, old: bool) -> str:
    if path.exists() and not path.is_file():  # reading a pipe would never end
        raise OSError("no plain file")
    data = path.read_bytes()
    return data.decode("utf-8-sig") if old else decoded(data)


def _tables(
    root: pathlib.Path, files: Set[str], pictures: Set[str], old: bool, what: str
) -> _Texts:
    """Returns what tables say of each picture, in their order."""
    texts: dict[str, list[str]] = {}
    notes = []
    for folder, paths in _table_paths(files, old).items():
        tables = {}
        for path in paths:
            try:
                tables[path] = read_table(root / path)
            except NoTable as error:
                notes.append(f"{error}: it is not read")
        if len(tables) > 1:
            listed = " and ".join(posixpath.basename(path) for path in tables)
            raise DataError(f"{root / folder} holds {listed}: only one of them can count")
        for path, rows in tables.items():
            missing: dict[str, None] = {}
            for written, text in rows:
                name = _resolve(folder, written, pictures, old)
                texts.setdefault(name, []).append(text)
                if name not in pictures:
                    missing[name] = None
            if missing:
                notes.append(
                    f"{root / path} names {len(missing):,} files that are no {what}: "
                    + _listed(list(missing))
                )
    return _Texts(texts, notes)


def _table_paths(files: Set[str], old: bool) -> dict[str, list[str]]:
    """Returns the paths of tables by the folder that they are in, in order."""
    if old:
        return {"": [name for name in FIRST_TABLES if name in files]}
    paths: dict[str, list[str]] = collections.defaultdict(list)
    for path in sorted(files):
        folder, name = posixpath.split(path)
        if name.lower() in TABLES:
            paths[folder].append(path)
    return paths


def _resolve(folder: str, written: str, pictures: Set[str], old: bool) -> str:
    """Returns the picture that a table in `folder` names: relative to it, "/" or "\\" in it."""
    name = posixpath.normpath(posixpath.join(folder, written))
    if old or name in pictures:
        return name
    return posixpath.normpath(posixpath.join(folder, written.replace("\\", "/")))
