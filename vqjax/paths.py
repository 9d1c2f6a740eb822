"""Paths of this machine as people type them.

`home_path` is for the parsing of arguments, which must not wait for JAX; `as_path` for all else.
"""

import errno
import os
import pathlib
import re

from vqjax.format import printable

_URL = re.compile(r"\w\w+:/")  # of the two slashes a Path keeps one
_SHOWN = 200  # characters of a path in a message
_MISSING = (errno.ENOENT, errno.ENOTDIR)  # there is nothing of that name


def home_path(path: str | os.PathLike) -> str:
    """`path` with `~` or `~user` expanded to the home directory.

    A relative path that begins with `~`, such as `./~x`, becomes absolute, so that expanding the
    result again, also as a Path, which loses the `./`, does not change it.

    Raises:
        ValueError: it is empty or a URL, holds what no path can, names no user of this machine, or
            is too long; in one line.
    """
    text = os.fsdecode(path)
    shown = printable(text, _SHOWN)
    if not text:
        raise ValueError("an empty path: is a variable of the shell not set?")
    if "\0" in text:
        raise ValueError(f"{shown}: no path holds a zero character")
    expanded = os.path.expanduser(text)
    try:
        os.lstat(expanded)
        return _protected(expanded)
    except OSError as error:
        if error.errno not in (*_MISSING, errno.EACCES):
            raise ValueError(f"{shown}: {error.strerror}") from error
    if _URL.match(text):
        raise ValueError(f"{shown}: mount the bucket, or name a path of this machine")
    if expanded.startswith("~"):
        raise ValueError(f"{shown}: no such user; if the name begins with ~, write ./{shown}")
    return _protected(expanded)


def _protected(expanded: str) -> str:
    """An expanded path, made absolute where it begins with `~`."""
    path = pathlib.Path(expanded)
    return str(path.absolute()) if str(path).startswith("~") else expanded


def is_text(path: str | os.PathLike) -> bool:
    """Whether all bytes of a path are UTF-8: the libraries that read checkpoints take no others."""
    try:
        os.fspath(path).encode()
        return True
    except UnicodeEncodeError:
        return False


def as_path(path: str | os.PathLike, what: str = "") -> pathlib.Path:
    """`home_path` as a Path.

    Args:
        path: as a person names it.
        what: what an error line calls it, such as "--workdir".

    Raises:
        UsageError: it is not a path, or not one that `home_path` takes.
    """
    from vqjax.types import UsageError

    try:
        return pathlib.Path(home_path(path))
    except (TypeError, ValueError) as error:
        line = str(error)
        if isinstance(error, TypeError):
            line = f"{printable(repr(path), _SHOWN)} is not a path"
        raise UsageError(f"{what}: {line}" if what else line) from error
