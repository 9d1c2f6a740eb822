"""One process at a time trains in a run directory."""

import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import threading
import time

import pytest

from vqjax.training import lock
from vqjax.training.lock import (
    LOCK,
    Holder,
    Lock,
    LockLostError,
    Stamp,
    find_lock,
    holder,
    read_stamp,
)
from vqjax.training.lock import this_process as mine
from vqjax.types import DataError, UsageError

DEAD = 2**22 + 1  # no process has a number that high


def leave(run, stamp):
    """A lock file as another process has left it."""
    (run / LOCK).write_bytes(stamp.encoded())
    return stamp


def dead(run, **changes):
    return leave(run, dataclasses.replace(mine(run), **{"pid": DEAD, **changes}))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(lock, "SETTLE_SECONDS", 0.02)
    monkeypatch.setattr(lock, "POLL_SECONDS", 0.02)


@pytest.mark.parametrize("end", [None, KeyError("x")])
def test_a_second_training_is_refused_while_the_first_lives(tmp_path, end):
    run = tmp_path / "runs" / "x"
    with pytest.raises(KeyError) if end else contextlib.nullcontext(), Lock(run):
        here = holder(run)
        assert here.pid == os.getpid() and find_lock(run) == here
        words = f"x is being trained by process {os.getpid()} on {here.host}: .* --workdir"
        for stale in (None, dataclasses.replace(mine(run), pid=DEAD)):
            with pytest.raises(UsageError, match=words), Lock(run, stale):
                pass
        assert holder(run) == here
        if end:
            raise end
    assert holder(run) is None and list(run.iterdir()) == []


def test_what_the_dead_have_left_is_taken_over_at_once(tmp_path):
    zombie = subprocess.Popen(["true"])
    while pathlib.Path(f"/proc/{zombie.pid}").exists() and lock.born(zombie.pid):
        time.sleep(0.01)
    for changes in ({}, {"pid": os.getpid(), "born": "1"}, {"pid": zombie.pid}):
        stamp = dead(tmp_path, **changes)
        assert holder(tmp_path, say=pytest.fail) is None and find_lock(tmp_path) == stamp
        with Lock(tmp_path, stamp):
            assert holder(tmp_path).pid == os.getpid()
        assert list(tmp_path.iterdir()) == []
    zombie.wait()


@pytest.mark.parametrize("changes", [{"host": "elsewhere"}, {"boot": "before"}, {"boot": ""}])
def test_another_machine_is_watched_by_its_counter(tmp_path, changes):
    stamp, said = dead(tmp_path, **changes), []
    assert find_lock(tmp_path, 0.1, said.append) == stamp
    assert len(said) == 1 and f"process {DEAD} on {stamp.host}: watching up to 0 s" in said[0]
    with Lock(tmp_path, stamp):
        pass

    def count(line):
        dead(tmp_path, **changes, token=stamp.token, counter=7)

    leave(tmp_path, stamp)
    assert find_lock(tmp_path, 5.0, count) == Holder(stamp.host, DEAD)
    (tmp_path / LOCK).write_text('{"host": "el')  # half written, or not ours
    assert isinstance(find_lock(tmp_path, 0.1, said.append), Stamp)
    assert find_lock(tmp_path, 5.0, lambda _: (tmp_path / LOCK).unlink()) is None


def test_the_owner_counts_without_changing_the_size(tmp_path):
    with Lock(tmp_path, beat=0.02):
        first, size = read_stamp(tmp_path / LOCK), (tmp_path / LOCK).stat().st_size
        while (now := read_stamp(tmp_path / LOCK)).counter < 3:
            time.sleep(0.01)
        assert (now.token, now.pid) == (first.token, first.pid)
        assert (tmp_path / LOCK).stat().st_size == size


def test_of_many_newcomers_one_takes_over(tmp_path):
    stamp, ends = dead(tmp_path), []
    done, start = threading.Event(), threading.Barrier(8)

    def come():
        start.wait()
        try:
            with Lock(tmp_path, stamp):
                ends.append("in")
                done.wait(5)
        except UsageError as error:
            ends.append(str(error))
        if len(ends) == 8:
            done.set()

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    while len(ends) < 8:
        time.sleep(0.01)
    done.set()
    for thread in threads:
        thread.join()
    assert ends.count("in") == 1 and list(tmp_path.iterdir()) == []


def test_a_newcomer_that_comes_late_gives_the_lock_back(tmp_path, monkeypatch):
    """It has judged the dead one's lock, and moves away that of a faster one."""
    stamp, rename, faster = dead(tmp_path), pathlib.Path.rename, Lock(tmp_path)

    def late(path, target):
        monkeypatch.undo()
        path.unlink()
        faster.__enter__()
        return rename(path, target)

    monkeypatch.setattr(pathlib.Path, "rename", late)
    with pytest.raises(UsageError, match=f"by process {os.getpid()}"), Lock(tmp_path, stamp):
        pass
    faster.check()
    faster.__exit__(None)
    assert list(tmp_path.iterdir()) == []


def test_an_owner_hears_that_it_lost_the_lock(tmp_path):
    with Lock(tmp_path) as held:
        (tmp_path / LOCK).unlink()
        for _ in range(2):
            with pytest.raises(LockLostError, match="its lock was removed") as error:
                held.check()
        assert error.value.exit_code == 1
    with Lock(tmp_path, beat=0.02) as held:
        other = dead(tmp_path, host="elsewhere")
        while held.lost is None:
            time.sleep(0.01)
        assert f"process {DEAD} on elsewhere has taken it over" in str(held.lost)
    assert read_stamp(tmp_path / LOCK) == other  # not ours to remove


def test_an_owner_hears_that_its_directory_went_away(tmp_path):
    run, other = tmp_path / "x", tmp_path / "y"
    with Lock(run) as held:
        run.rename(other)
        with pytest.raises(DataError, match="x was moved to .*/y while it trained: stopped; train"):
            held.check()
    assert list(other.iterdir()) == []
    with Lock(run) as held:
        (run / LOCK).unlink()
        run.rmdir()
        run.mkdir()
        with pytest.raises(DataError, match="x was removed or replaced while it trained"):
            held.check()
    assert list(run.iterdir()) == []


def test_a_copy_of_a_run_in_training_is_free(tmp_path):
    run, copy = tmp_path / "x", tmp_path / "y"
    with Lock(run):
        copy.mkdir()
        (copy / LOCK).write_bytes((run / LOCK).read_bytes())
        assert holder(copy) is None and holder(run) is not None
        run.rename(tmp_path / "z")
        assert holder(tmp_path / "z") is not None


def test_a_lock_that_cannot_be_made_or_read_is_one_line(tmp_path, monkeypatch):
    (tmp_path / LOCK).mkdir()
    with pytest.raises(DataError, match=r"cannot read .*\.lock: Is a directory"):
        holder(tmp_path)
    (tmp_path / LOCK).rmdir()

    def full(file, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lock.os, "write", full)
    with pytest.raises(DataError, match="cannot write to .*: No space left"), Lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
    assert json.loads(mine(tmp_path).encoded())["run"] == str(tmp_path)


def test_a_process_that_the_machine_hides_is_watched(tmp_path, monkeypatch):
    """As of another user where /proc is mounted with hidepid."""
    stamp, said = dead(tmp_path), []

    def not_yours(pid, number):
        assert (pid, number) == (DEAD, 0)
        raise PermissionError

    monkeypatch.setattr(lock.os, "kill", not_yours)
    assert find_lock(tmp_path, 0.1, said.append) == stamp and len(said) == 1


def test_a_pipe_in_its_place_holds_nobody_up(tmp_path):
    os.mkfifo(tmp_path / LOCK)
    assert isinstance(find_lock(tmp_path, 0), Stamp)
