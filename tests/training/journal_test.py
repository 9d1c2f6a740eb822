"""What cannot be written costs no more than itself."""

import os
import threading
import time

import pytest

from vqjax.training import journal
from vqjax.training.journal import BackgroundWriter, Journal, reason

FULL = OSError(28, "No space left on device")


def test_a_piece_is_in_the_file_or_not(tmp_path, monkeypatch):
    book, write, cut = Journal(tmp_path / "x"), os.write, os.ftruncate

    def some(file, content):
        if len(content) < 4:
            raise FULL
        return write(file, content[:4])

    def stuck(file, size):
        raise OSError(5, "Input/output error")

    book.append(b"one\n")
    monkeypatch.setattr(journal.os, "write", some)
    with pytest.raises(OSError, match="No space"):
        book.append(b"second\n")
    assert (tmp_path / "x").read_bytes() == b"one\n"
    monkeypatch.setattr(journal.os, "ftruncate", stuck)
    with pytest.raises(OSError, match="No space"):
        book.append(b"second\n")
    assert (tmp_path / "x").read_bytes() == b"one\nseco"
    monkeypatch.setattr(journal.os, "write", write)
    monkeypatch.setattr(journal.os, "ftruncate", cut)
    book.append(b"second\n")
    book.sync()
    assert (tmp_path / "x").read_bytes() == b"one\nsecond\n"
    (tmp_path / "x").rename(tmp_path / "y")
    with pytest.raises(FileNotFoundError):
        book.sync()
    (tmp_path / "x").touch()
    with pytest.raises(FileNotFoundError, match="another file has taken its place"):
        book.sync()
    book.close()


def test_what_fails_aside_is_said_once_and_tried_again():
    said, done, works = [], [], threading.Event()

    def write(number):
        if not works.is_set():
            raise FULL
        done.append(number)

    writer = BackgroundWriter(said.append)
    for _ in range(3):
        writer.do("pictures", lambda: write(-1))
        writer.do("events", lambda: write(-1))
    while not writer._queue.empty():
        time.sleep(0.001)
    works.set()
    for number in range(3):
        writer.do("events", lambda number=number: write(number))
    writer.close()
    assert done[-3:] == [0, 1, 2]
    assert sorted(said) == [
        f"cannot write {what} (No space left on device): left out, training goes on"
        for what in ("events", "pictures")
    ]


def test_a_disk_that_hangs_holds_nobody_up():
    said, hangs, started = [], threading.Event(), time.monotonic()
    writer = BackgroundWriter(said.append, capacity=5)
    for _ in range(20):
        writer.do("events", hangs.wait)
    writer.close(seconds=0.1)
    assert time.monotonic() - started < 2.0
    assert said == ["cannot write events (the disk does not answer): left out, training goes on"]
    hangs.set()


def test_nothing_is_written_once_it_must_not_be():
    allowed, done = [True], []
    writer = BackgroundWriter(print, lambda: allowed[0])
    writer.do("events", lambda: done.append(1))
    while not writer._queue.empty():
        time.sleep(0.001)
    time.sleep(0.01)
    allowed[0] = False
    writer.do("events", lambda: done.append(2))
    writer.close()
    assert done == [1]


def test_reasons_are_the_systems():
    assert reason(FULL) == "No space left on device"
    assert reason(
        ValueError("RESOURCE: file: Failed: Disk quota exceeded [os_error_code='122']")
    ) == ("Disk quota exceeded")
    assert reason(KeyError("x")) == "'x'" and reason(ValueError()) == "ValueError"
