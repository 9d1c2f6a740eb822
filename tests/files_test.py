"""Files that verbs write: whole, marked, and never over somebody's own."""

import errno
import json
import math
import os
import pathlib
import types

import numpy as np
import pytest

from vqjax.files import (
    check_output,
    is_ours,
    json_text,
    output_file,
    write_json,
    write_output,
)
from vqjax.hardware.sweep_chart import sweep_svg
from vqjax.media.gallery import png_file
from vqjax.paths import as_path
from vqjax.reports.page import Page
from vqjax.types import DataError, UsageError

POINT = types.SimpleNamespace(
    topology=types.SimpleNamespace(chips=1),
    roofline=types.SimpleNamespace(examples_per_second=2.0),
    efficiency=1.0,
    compiled=True,
)
PICTURES = [np.zeros((2, 2, c), np.uint8) for c in (1, 2, 3, 4)]


def test_what_is_written_is_known_again(tmp_path):
    contents = [png_file(p, "a <text>\udcff" * 400) for p in PICTURES]
    contents += [Page("kind", "t" * 9_000).html(), sweep_svg("t", [POINT])]
    contents += ["<main></main>made by vqjax 0.1.0</footer></main></body></html>\n"]  # before it
    paths = [write_output(tmp_path / str(i), content) for i, content in enumerate(contents)]
    paths.append(write_json(tmp_path / "deep" / "a.json", {"a": [1.5]}))
    for path in paths:
        assert is_ours(path)
        write_output(path, "mine")  # and replaced
        with pytest.raises(UsageError, match=f"{path} is there and carries no mark of vqjax"):
            write_output(path, "x")
        assert path.read_text() == "mine"
        write_output(path, "x", overwrite=True)
        assert path.read_text() == "x"
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["0", "1", "2", "3", "4",
        "5", "6", "a.json"]  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"vqjax 0.1.0",
        b'{"vqjax": "0.1.0", "experiment": {}}',  # a run's record is no output to be replaced
        b'[{"generator": "vqjax 0.1.0"}]',
        b'{"a": {"generator": "vqjax 0.1.0"}}',
        b'<p>&lt;meta name="generator" content="vqjax </p>',
        b'<!DOCTYPE html><html><head><title><meta name="generator" content="vqjax ',
        b"\x89PNG\r\n\x1a\n" + bytes(60) + b"tEXtSoftware\0vqjax 1",
        b"\x00\xff" * 3_000,
    ],
)
def test_what_others_wrote_is_not(tmp_path, content):
    path = tmp_path / "a"
    path.write_bytes(content)
    assert not is_ours(path)
    with pytest.raises(UsageError, match="use --overwrite"):
        check_output(path)
    check_output(path, overwrite=True)


def test_what_is_no_file_and_cannot_be_one_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", tmp_path / "fifo" / "a", tmp_path / ("a" * 300),
                 "/dev/null", tmp_path / "nul\0"):  # fmt: skip
        for overwrite in (False, True):
            with pytest.raises(UsageError, match="a directory|cannot write|too long|zero"):
                write_output(path, "x", overwrite=overwrite)
    (tmp_path / "a.part").write_text("mine")
    write_output(tmp_path / "a", "x")
    assert (tmp_path / "a.part").read_text() == "mine"


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, DataError), (errno.EIO, DataError), (errno.EPERM, UsageError)],
)
def test_a_disk_that_is_full_is_no_wrong_command(tmp_path, monkeypatch, number, kind):
    def fail(self, target):
        raise OSError(number, os.strerror(number))

    line = f"cannot write {tmp_path}/a: {os.strerror(number)}"
    with pytest.raises(kind, match=line), output_file(tmp_path / "a"):
        raise OSError(number, os.strerror(number))
    monkeypatch.setattr(pathlib.Path, "replace", fail)
    with pytest.raises(kind, match=line):
        write_output(tmp_path / "a", "x")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_fails_in_the_middle_is_not_there(tmp_path):
    before = write_json(tmp_path / "a", {}).read_bytes()
    with pytest.raises(KeyError), output_file(tmp_path / "a") as file:
        file.write(b"half")
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == before


def test_a_file_under_a_folder_called_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert write_output(as_path("./~/a"), "x") == tmp_path / "~" / "a"
    assert (tmp_path / "~" / "a").read_text() == "x" and not (tmp_path / "home").exists()


def test_a_number_that_is_not_finite_is_null():
    value = {"a": [math.nan, (math.inf, {"b": -math.inf})], "c": 1.5, "d": True, "e": None, "f": 7}
    expected = {"a": [None, [None, {"b": None}]], "c": 1.5, "d": True, "e": None, "f": 7}
    assert json.loads(json_text(value)) == expected
