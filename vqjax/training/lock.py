"""One training at a time in a run directory.

The process that writes holds RUN/.lock from before its first write until its end. Neither flock nor
links are needed, which network file systems and mounted buckets may lack: the file is created
exclusively and names its owner. A process of this machine is identified by its number and start
time, so the lock of a killed one is taken over at once. One of another machine shows that it lives
by a counter; a newcomer watches that counter by its own clock.
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable

from vqjax.training.journal import reason, unwritable
from vqjax.training.terminal import show
from vqjax.types import DataError, UsageError, VqjaxError

LOCK = ".lock"
BEAT_SECONDS = 5.0
# A network file system or a mounted bucket may show a file's old content for a minute.
STILL_SECONDS = 65.0
POLL_SECONDS = 1.0  # between two reads of another machine's counter
SETTLE_SECONDS = 0.5  # until a simultaneous newcomer would have written
WIDTH = 12  # digits of the counter: the file keeps its size, so it is never read half written


class LockLostError(VqjaxError):
    """Another process holds the run directory now; nothing more is written."""


@dataclasses.dataclass(frozen=True)
class Holder:
    """The process that trains in a run directory: `pid` on `host`."""

    host: str
    pid: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclasses.dataclass(frozen=True)
class Stamp:
    """The content of a lock file.

    Attributes:
        host: name of the machine.
        boot: id of its boot and of its pid namespace; "" where unknown.
        pid: of the process.
        born: start time of that process; "" where unknown.
        run: the run directory, absolute.
        token: random, of this lock.
        counter: increases while the process lives.
    """

    host: str
    boot: str
    pid: int
    born: str
    run: str
    token: str
    counter: int = 0

    def encoded(self) -> bytes:
        values = dataclasses.asdict(self) | {"counter": f"{self.counter:0{WIDTH}d}"}
        return (json.dumps(values) + "\n").encode()


def read_stamp(path: pathlib.Path) -> Stamp | None:
    """The stamp at `path`; None where there is no file.

    Raises:
        OSError: it cannot be read.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe is not waited for
        with os.fdopen(file, "rb") as content_of:
            content = content_of.read() or b""
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        values = json.loads(content)
        pid, counter = int(values["pid"]), int(values["counter"])
        host, boot = str(values["host"]), str(values["boot"])
        rest = str(values["born"]), str(values["run"]), str(values["token"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return Stamp("an unknown host", "", 0, "", "", content.hex())  # half written, or foreign
    return Stamp(host, boot, pid, *rest, counter)


def holder(
    run: str | os.PathLike, patience: float = STILL_SECONDS, say: Callable[[str], object] = show
) -> Holder | None:
    """The process that trains in `run`; None where none does.

    A lock of another machine is watched until its counter changes, `patience` seconds at most;
    `say` is called with a line on it.

    Raises:
        DataError: the lock cannot be read.
    """
    lock_state = find_lock(pathlib.Path(run), patience, say)
    return lock_state if isinstance(lock_state, Holder) else None


def find_lock(
    run: pathlib.Path, patience: float = STILL_SECONDS, say: Callable[[str], object] = show
) -> Holder | Stamp | None:
    """As `holder`, but the stamp of a lock whose process is dead."""
    path = run / LOCK
    try:
        first = read_stamp(path)
        if first is None:
            return None
        if first.boot and (first.host, first.boot) == (socket.gethostname(), boot()):
            since = born(first.pid)
            if since is not None or not _is_hidden(first.pid):
                lives = since == first.born and not _is_copy(run, first)
                return holder_of(first) if lives else first
        return _watch(path, first, patience, say)
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from error


def _watch(
    path: pathlib.Path, first: Stamp, patience: float, say: Callable[[str], object]
) -> Stamp | Holder | None:
    if patience > 0:
        say(
            f"{path.parent} was last trained by process {first.pid} on {first.host}: "
            f"watching up to {patience:.0f} s whether it still is"
        )
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        now = read_stamp(path)
        if now is None:
            return None
        if now != first:
            return holder_of(now)
    return first


def _is_copy(run: pathlib.Path, stamp: Stamp) -> bool:
    """Whether a run was copied while it trained: the process holds the original."""
    original = pathlib.Path(stamp.run)
    with contextlib.suppress(OSError):
        copied = read_stamp(original / LOCK)
        same = original.samefile(run)
        return copied is not None and copied.token == stamp.token and not same
    return False


class Lock:
    """Holds a run directory within `with`; the directory is made where it is missing.

    Args:
        run: the run directory.
        dead: the stamp of a lock to take over; any other is respected.
        beat: seconds between two heartbeats; None: BEAT_SECONDS.

    Attributes:
        lost: the error where the lock or the directory is lost; None while all is well.

    Raises:
        UsageError: another process trains there, or the directory cannot be made or written.
        DataError: the disk is full or fails.
    """

    def __init__(
        self, run: pathlib.Path, dead: Stamp | None = None, beat: float | None = None
    ) -> None:
        self.run = run
        self.lost: VqjaxError | None = None
        self._path, self._stale, self._beat = run / LOCK, dead, beat or BEAT_SECONDS
        self._stamp = this_process(run)
        self._folder: int | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._heartbeat, daemon=True)

    def __enter__(self) -> "Lock":
        try:
            self.run.mkdir(parents=True, exist_ok=True)
            self._acquire()
            self._folder = os.open(self.run, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise unwritable(self.run, error) from error
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(self._beat)  # on a disk that hangs it may never end
        with contextlib.suppress(OSError):  # the directory may have moved
            file = os.open(LOCK, os.O_RDONLY, dir_fd=self._folder)
            held = self._stamp.token.encode() in os.read(file, 4096)
            os.close(file)
            if held:
                os.unlink(LOCK, dir_fd=self._folder)
        os.close(self._folder)

    def check(self) -> None:
        """To be called before every write that matters.

        Raises:
            LockLostError: another process has taken the run over, or the lock was removed.
            DataError: the directory was renamed, removed or replaced.
        """
        if self.lost is None:
            self._check_lost()
        if self.lost is not None:
            raise self.lost

    def _acquire(self) -> None:
        for _ in range(3):
            try:
                self._create()
                return
            except FileExistsError:
                self._remove_stale()
        raise UsageError(f"{self.run} is taken again and again: is a training started in a loop?")

    def _create(self) -> None:
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            os.write(file, self._stamp.encoded())
            os.fsync(file)
        except OSError:
            self._path.unlink()
            raise
        finally:
            os.close(file)
        if self._stale is not None:
            time.sleep(SETTLE_SECONDS)
        held, other = self._holds()
        if not held:
            raise refusal(self.run, other and holder_of(other))

    def _holds(self) -> tuple[bool, Stamp | None]:
        """And the stamp found instead. Reads twice: a newcomer's mistaken move is undone."""
        for _ in range(2):
            stamp = read_stamp(self._path)
            if stamp is not None and stamp.token == self._stamp.token:
                return True, None
            time.sleep(SETTLE_SECONDS)
        return False, stamp

    def _remove_stale(self) -> None:
        """Moves away the lock of the dead process, and no other."""
        stamp = read_stamp(self._path)
        if stamp is None:
            return  # just released
        if stamp != self._stale:
            raise refusal(self.run, holder_of(stamp))
        aside = self._path.with_name(f"{LOCK}.{self._stamp.token}")
        try:
            self._path.rename(aside)  # of several newcomers one succeeds
        except FileNotFoundError:
            return  # another newcomer was faster, which `_create` finds
        moved = read_stamp(aside)
        if moved != self._stale:  # it was replaced between reading and moving
            aside.rename(self._path)
            raise refusal(self.run, moved and holder_of(moved))
        aside.unlink()

    def _heartbeat(self) -> None:
        while not self._end.wait(self._beat) and self.lost is None:
            self._check_lost()
            if self.lost is None:
                self._write_beat()

    def _write_beat(self) -> None:
        """Writes the next counter into the file, if it is still this lock."""
        self._stamp = dataclasses.replace(self._stamp, counter=self._stamp.counter + 1)
        with contextlib.suppress(OSError):  # saves will fail, too, and report it
            file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            try:
                if self._stamp.token.encode() in os.pread(file, 4096, 0):
                    os.pwrite(file, self._stamp.encoded(), 0)
                    os.fsync(file)
            finally:
                os.close(file)

    def _check_lost(self) -> None:
        """Sets `lost` where the directory or the lock is not what it was."""
        try:
            moved = not os.path.samestat(os.stat(self.run), os.fstat(self._folder))
        except (FileNotFoundError, NotADirectoryError):
            moved = True
        except OSError:
            return  # unknown
        if moved:
            self.lost = DataError(_moved_line(self.run, self._folder))
            return
        try:
            held, other = self._holds()
        except OSError:
            return
        if not held:
            who = f"{holder_of(other)} has taken it over" if other else "its lock was removed"
            self.lost = LockLostError(f"{self.run} is not this process's any more: {who}; stopped")


def holder_of(stamp: Stamp) -> Holder:
    return Holder(stamp.host, stamp.pid)


def refusal(run: pathlib.Path, who: Holder | None) -> UsageError:
    """The error of a second training."""
    return UsageError(
        f"{run} is being trained by {who or 'another process'}: wait for its end or stop it, or "
        "give another --workdir"
    )


def _moved_line(run: pathlib.Path, folder: int) -> str:
    """Where a directory that is open as `folder` is now, as far as the system knows."""
    target = ""
    with contextlib.suppress(OSError):
        target = os.readlink(f"/proc/self/fd/{folder}")
    if target and os.path.isdir(target) and target != str(run):
        return f"{run} was moved to {target} while it trained: stopped; train there to go on"
    return f"{run} was removed or replaced while it trained: stopped"


def this_process(run: pathlib.Path) -> Stamp:
    """A new stamp of this process for `run`."""
    pid, token = os.getpid(), uuid.uuid4().hex
    return Stamp(socket.gethostname(), boot(), pid, born(pid) or "", str(run.absolute()), token)


@functools.cache
def boot() -> str:
    """The machine's boot id and pid namespace, of which containers have their own."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            return f"{boot} {os.readlink('/proc/self/ns/pid')}"
        return ""
    return _output("sysctl", "-n", "kern.boottime")


def born(pid: int) -> str | None:
    """The start time of a process of this machine; None where it has ended."""
    if sys.platform != "linux":
        return _output("ps", "-o", "lstart=", "-p", str(pid)) or None
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]  # a zombie has ended


def _is_hidden(pid: int) -> bool:
    """Whether a process is another user's, hidden by the machine (`hidepid`)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        pass
    return False


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
