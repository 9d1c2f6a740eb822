"""Files that verbs write: checked before the work, written whole or not at all, and never over a
file of somebody else. And the files of a run that they read.

What vqjax writes carries a mark: a PNG in its text, a page or drawing in its metadata, JSON in its
first key, weights in their metadata, sound in the name of its program. A file without it may be
somebody's own and stays, unless `overwrite` says otherwise.
"""

import contextlib
import errno
import json
import math
import os
import pathlib
import re
import stat
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from vqjax._version import __version__
from vqjax.paths import as_path
from vqjax.types import DataError, UsageError, VqjaxError

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO)  # full, or failing

GENERATOR = f"vqjax {__version__}"  # the mark
SOFTWARE = "Software"  # its keyword in a PNG
_HEAD = 2_048  # bytes at the start of a file that hold the mark
_MARKS = (  # from the start of the file
    # The first chunk behind the header: length, "tEXt", keyword, text.
    rb"\x89PNG\r\n\x1a\n.{25}.{4}tEXtSoftware\0vqjax ",
    rb'<!DOCTYPE html>\s*<html[^<>]*><head>(<meta[^<>]*>)*?<meta name="generator" content="vqjax ',
    rb"<svg [^<>]*><metadata>vqjax ",
    rb'\s*\{\s*"_?generator":\s*"vqjax ',
    rb'.{8}\{"__metadata__":\{[^{}]*"generator":"vqjax ',  # safetensors, behind a length
    rb"RIFF.{4}WAVE.{0,80}INFOISFT.{4}vqjax ",
    rb"fLaC.{0,160}software=vqjax ",
    rb"OggS.{0,300}(?:ENCODER|SOFTWARE)=vqjax ",  # Opus, Vorbis
    rb"ID3.{7}TSSE.{6}\0vqjax ",  # MP3
)
# Pages of versions before the mark.
_OLD_END = rb"made by vqjax [^<>]{1,40}</footer></main></body></html>\s*\Z"


def is_ours(path: str | os.PathLike) -> bool:
    """Whether an existing file carries the mark; one that cannot be read does not."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
            file.seek(max(os.fstat(file.fileno()).st_size - 200, 0))
            end = file.read()
    except OSError:
        return False
    marked = any(re.match(mark, head, re.DOTALL) for mark in _MARKS)
    return marked or re.search(_OLD_END, end) is not None


def check_output(
    path: str | os.PathLike, *, overwrite: bool = False, option: str = "--overwrite"
) -> None:
    """Refuses, with UsageError, a file that cannot or must not be written: a directory or device, a
    file without the mark, or where no folder is or can be made. Creates nothing.

    Args:
        path: of the file.
        overwrite: whether a file without the mark may be replaced, too.
        option: what the message calls it.
    """
    _check(as_path(path), overwrite, option)


def _check(path: pathlib.Path, overwrite: bool, option: str = "--overwrite") -> None:
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a directory: name a file")
        above = next(p for p in path.absolute().parents if p.exists())
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            raise UsageError(f"cannot write {path}: {above} is not a folder that can be written to")
        if path.exists() and not path.is_file():
            raise UsageError(f"cannot write {path}: it is no plain file")
        if path.exists() and not overwrite and not is_ours(path):
            raise UsageError(
                f"{path} is there and carries no mark of vqjax (some files of earlier versions "
                f"have none): name another, or use {option}"
            )
    except OSError as error:  # a name that no file can have
        raise _write_error(path, error) from error


def write_output(
    path: str | os.PathLike, content: str | bytes, *, overwrite: bool = False
) -> pathlib.Path:
    """Writes a file whole or not at all; its directory is made where it is missing.

    Raises:
        UsageError: `path` cannot be written, or must not be (`check_output`).
        DataError: the disk is full, or fails.
    """
    content = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    with output_file(path, overwrite=overwrite) as file:
        file.write(content)
    return as_path(path)


@contextlib.contextmanager
def output_file(path: str | os.PathLike, *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """`write_output` piece by piece: within `with` there is a file to write to, which takes the
    place of `path` at the end, and is gone where the body raises.
    """
    path = as_path(path)
    _check(path, overwrite)
    part = path.with_name(f".vqjax-{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = part.open("w+b")
    except (OSError, ValueError) as error:
        raise _write_error(path, error) from error
    try:
        with file:
            yield file
        part.replace(path)
    except OSError as error:
        raise _write_error(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def _write_error(path: pathlib.Path, error: Exception) -> VqjaxError:
    reason = error.strerror if isinstance(error, OSError) else None
    kind = DataError if getattr(error, "errno", None) in _DISK else UsageError
    return kind(f"cannot write {path}: {reason or error}")


def json_text(value: Any, indent: int | None = None) -> str:
    """`value` as JSON; numbers that are not finite, which JSON lacks, become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def write_json(
    path: str | os.PathLike, content: Mapping[str, Any], *, overwrite: bool = False
) -> pathlib.Path:
    """`write_output` of a JSON object with the mark."""
    text = json_text({"generator": GENERATOR, **content}, indent=1) + "\n"
    return write_output(path, text, overwrite=overwrite)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value


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
        absent = error.errno in (errno.ENOENT, errno.ENOTDIR) and not os.path.islink(path)
        if missing is not None and absent:
            return missing
        raise DataError(f"{path}: {_read_problem(path, error)}") from error
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "no file")
    raise DataError(f"{path} is {kind}, not a file")


def read_text(path: str | os.PathLike, missing: str | None = None, errors: str = "strict") -> str:
    """`read_bytes` as UTF-8; `errors`: see `bytes.decode`, where "strict" raises DataError."""
    content = read_bytes(path, None if missing is None else missing.encode())
    try:
        return content.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not valid UTF-8") from error


def _read_problem(path: str | os.PathLike, error: OSError) -> str:
    if error.errno == errno.ENXIO:
        return "a socket or device, not a file"
    if error.errno == errno.ENOENT and os.path.islink(path):
        return f"a link to {os.readlink(path)}, which is not there"
    return error.strerror or str(error)
