"""Files that verbs write: tried before the work, written whole or not at all. Files of a run that
they read.
"""

import errno
import os
import pathlib
import stat

from vqjax.paths import as_path
from vqjax.types import DataError, UsageError

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_output(path: str | os.PathLike) -> None:
    """Refuses, with UsageError, a file that cannot be made: a directory, or where no folder is or
    can be made. Makes nothing.
    """
    path = as_path(path)
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
    path = as_path(path)
    check_output(path)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
        part.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def read_bytes(path: str | os.PathLike, missing: bytes | None = None) -> bytes:
    """A whole file of a run, or one that goes with it. Never waits, as opening a pipe would.

    Args:
        path: of the file.
        missing: what to return where there is nothing of that name; None: DataError.

    Raises:
        DataError: it is a folder, a pipe or the like, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISREG(mode):
                with open(descriptor, "rb", closefd=False) as file:
                    return file.read()
        finally:
            os.close(descriptor)
    except OSError as error:
        nothing = error.errno in (errno.ENOENT, errno.ENOTDIR) and not os.path.islink(path)
        if missing is not None and nothing:
            return missing
        raise DataError(f"{path}: {_reason(path, error)}") from error
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "no file")
    raise DataError(f"{path} is {kind}, not a file")


def read_text(path: str | os.PathLike, missing: str | None = None, errors: str = "strict") -> str:
    """`read_bytes` as UTF-8; `errors`: see `bytes.decode`, where "strict" raises DataError."""
    content = read_bytes(path, None if missing is None else missing.encode())
    try:
        return content.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not valid UTF-8") from error


def _reason(path: str | os.PathLike, error: OSError) -> str:
    if error.errno == errno.ENXIO:
        return "a socket or device, not a file"
    if error.errno == errno.ENOENT and os.path.islink(path):
        return f"a link to {os.readlink(path)}, which is not there"
    return error.strerror or str(error)
