import os
import pathlib

import pytest

from vqjax.paths import as_path, home_path, is_text
from vqjax.types import UsageError


def test_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert as_path("~/x") == tmp_path / "x" and home_path("~") == str(tmp_path)
    assert as_path(pathlib.Path("~/x")) == tmp_path / "x"
    assert home_path("a~/~b") == "a~/~b" and home_path("/proc/nothing/x") == "/proc/nothing/x"
    with pytest.raises(UsageError, match="--out: ~nobody1/x: no such user; .* write ./~nobody1/x"):
        as_path("~nobody1/x", "--out")
    (tmp_path / "~nobody1").touch()
    assert home_path("~nobody1") == str(tmp_path / "~nobody1")


@pytest.mark.parametrize("text", ["./~", ".//~/x", "./~nobody1/x"])
def test_a_tilde_that_is_a_name_stays_one_when_it_is_read_again(text, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/")
    monkeypatch.chdir(tmp_path)
    path = as_path(text)
    assert path == tmp_path / text[2:].strip("/") == as_path(path) == as_path(home_path(text))
    assert as_path(f"a/{text}") == pathlib.Path(f"a/{text}")


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("", "an empty path: is a variable of the shell not set?"),
        ("a\0b", "a\\x00b: no path holds a zero character"),
        ("x" * 5_000, "File name too long"),
        ("file:///x", "file:///x: mount the bucket, or name a path of this machine"),
        (pathlib.Path("gs://bucket/x"), "gs:/bucket/x: mount the bucket"),
        (3, "3 is not a path"),
        (None, "None is not a path"),
        ([1] * 1_000, "is not a path"),
    ],
)
def test_no_path(path, line):
    with pytest.raises(UsageError) as error:
        as_path(path)
    assert line in str(error.value) and len(str(error.value)) < 300


def test_bytes_that_are_no_text():
    odd = os.fsdecode(b"caf\xe9")
    assert home_path(odd) == odd and not is_text(odd) and is_text("café")
