"""Which picture files a folder holds, which class each is, and which are for evaluation.

All of it depends on relative paths alone, so every host and every later run finds the same.
"""

import hashlib
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from vqjax.data.pictures import SUFFIXES
from vqjax.types import DataError


def picture_names(root: pathlib.Path) -> tuple[list[str], list[str]]:
    """Lists picture files under `root`, hidden ones left out, in the order of their bytes.

    Returns:
        Their paths relative to `root`, with "/" between the parts; and one phrase per directory
        that cannot be listed.

    Raises:
        DataError: if `root` is no directory or holds no picture files.
    """
    if not root.exists():
        raise DataError(f"folder {root} does not exist")
    if not root.is_dir():
        raise DataError(f"{root} is a file, not a folder of pictures")
    names: list[str] = []
    unreadable: list[str] = []
    seen: set[tuple[int, int]] = set()

    def failed(error: OSError) -> None:
        unreadable.append(f"{printable(str(error.filename))} ({error.strerror})")

    for directory, below, files in os.walk(root, followlinks=True, onerror=failed):
        stat = os.stat(directory)
        if (stat.st_dev, stat.st_ino) in seen:  # a link to where we have been
            below.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        below[:] = sorted(name for name in below if not name.startswith("."))
        relative = pathlib.PurePath(directory).relative_to(root)
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                names.append((relative / name).as_posix())
    if not names:
        raise DataError(
            f"folder {root} holds no pictures ({', '.join(s[1:] for s in SUFFIXES)})"
            + (f"; unreadable: {', '.join(unreadable)}" if unreadable else "")
        )
    return sorted(names, key=os.fsencode), unreadable


def labels_of(names: Sequence[str]) -> np.ndarray:
    """Returns each name's class, int32[n]: its first directory; files at the top come first."""
    classes = [name.split("/")[0] if "/" in name else "" for name in names]
    numbers = {name: i for i, name in enumerate(sorted(set(classes), key=os.fsencode))}
    return np.array([numbers[name] for name in classes], np.int32)


def chosen_for_eval(names: Sequence[str], fraction: float) -> np.ndarray:
    """Returns bool[n]: which names are for evaluation, by a hash of each.

    Where there are two or more, and `fraction` is neither 0 nor 1, each side gets at least one: the
    name with the smallest hash is for evaluation and the one with the largest is not. Such a name
    may change sides when others are added; all others never do.
    """
    digests = (hashlib.sha256(os.fsencode(name)).digest() for name in names)
    shares = np.array([int.from_bytes(d[:7], "big") / (1 << 56) for d in digests])
    chosen = shares < fraction
    if 0 < fraction < 1 and len(names) > 1:
        chosen[np.argmin(shares)] = True
        chosen[np.argmax(shares)] = False
    return chosen


def stamps(root: pathlib.Path, names: Sequence[str]) -> list[tuple[str, int, int]]:
    """Returns (name, size, time of change in ns) of each file; -1 for what is gone."""
    result = []
    for name in names:
        try:
            stat = os.stat(root / name)
            result.append((printable(name), stat.st_size, stat.st_mtime_ns))
        except OSError:
            result.append((printable(name), -1, -1))
    return result


def printable(name: str) -> str:
    """Returns `name` with bytes that are no text, and line breaks, written out."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else repr(text)[1:-1]
