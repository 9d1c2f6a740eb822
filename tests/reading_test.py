"""Files of a run where something else is, or nothing."""

import os

import pytest

from vqjax.files import read_bytes, read_text
from vqjax.types import DataError


def test_files(tmp_path):
    (tmp_path / "x").write_bytes(b"caf\xe9")
    assert read_bytes(tmp_path / "x") == b"caf\xe9"
    assert read_text(tmp_path / "x", errors="replace") == "caf\ufffd"
    with pytest.raises(DataError, match="x: not valid UTF-8"):
        read_text(tmp_path / "x")
    assert read_text(tmp_path / "y", "none") == read_text(tmp_path / "x" / "y", "none") == "none"
    with pytest.raises(DataError, match="y: No such file"):
        read_text(tmp_path / "y")


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (os.mkfifo, "x is a pipe, not a file"),
        (os.mkdir, "x is a directory, not a file"),
        (lambda path: os.symlink("/nowhere", path), "x: a link to /nowhere, which is not there"),
        (lambda path: os.symlink(path, path), "x: Too many levels of symbolic links"),
        (lambda path: os.symlink("/dev/zero", path), "x is a device, not a file"),
    ],
)
def test_no_files(tmp_path, make, line):
    make(tmp_path / "x")
    with pytest.raises(DataError) as error:
        read_text(tmp_path / "x", missing="")
    assert str(error.value) == f"{tmp_path}/{line}"
