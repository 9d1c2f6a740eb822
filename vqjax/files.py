"""Files that verbs write: tried before the work, written whole or not at all."""

import os
import pathlib

from vqjax.types import UsageError


def check_output(path: str | os.PathLike) -> None:
    """Refuses, with UsageError, a file that cannot be made: a directory, or where no folder is or
    can be made. Makes nothing.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a directory: name a file")
    there = next(p for p in path.absolute().parents if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write {path}: {there} is not a folder that can be written to")


def write_output(path: str | os.PathLike, text: str) -> pathlib.Path:
    """Writes a file whole or not at all; its directory is made where it is missing.

    Raises:
        UsageError: `path` cannot be written.
    """
    path = pathlib.Path(path)
    check_output(path)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    return path
