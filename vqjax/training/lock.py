"""One training at a time in a run directory.

The process that writes holds RUN/.lock from before it writes until its end. Neither flock nor
links are needed, which network file systems and mounted buckets may lack: the file is created
exclusively and says who made it. A process of this machine is known by its number and start time,
so what a kill has left is taken over at once. One of another machine shows that it lives by a
number that it counts up; whoever comes watches that number by a clock of its own.
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
# A network file system or a mounted bucket may show for a minute what a file was.
STILL_SECONDS = 65.0
ASK_SECONDS = 1.0  # between two looks at the counter of another machine
SETTLE_SECONDS = 0.5  # until a newcomer of the same moment would have written
WIDTH = 12  # digits of the counter: the file keeps its size, so that it is never seen half written


class LockLostError(VqjaxError):
    """The run directory is another process's now; nothing more is written."""


@dataclasses.dataclass(frozen=True)
class Holder:
    """Who trains in a run directory: a process `pid` of `host`."""

    host: str
    pid: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclasses.dataclass(frozen=True)
class Stamp:
    """What a lock file says.

    Attributes:
        host: name of the machine.
        boot: since when it runs, and in which space of process numbers; "" where unknown.
        pid: of the process.
        born: when that process began; "" where unknown.
        run: the run directory, absolute.
        token: drawn for this lock.
        counter: goes up while the process lives.
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
    """What lies at `path`; None where that is nothing.

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
        return Stamp("an unknown host", "", 0, "", "", content.hex())  # half written, or not ours
    return Stamp(host, boot, pid, *rest, counter)


def holder(
    run: str | os.PathLike, patience: float = STILL_SECONDS, say: Callable[[str], object] = show
) -> Holder | None:
    """Who trains in `run`; None where no living process does.

    Where the lock is that of another machine this takes until its counter moves, `patience` seconds
    at most; `say` is told so.

    Raises:
        DataError: the lock cannot be read.
    """
    found = look(pathlib.Path(run), patience, say)
    return found if isinstance(found, Holder) else None


def look(
    run: pathlib.Path, patience: float = STILL_SECONDS, say: Callable[[str], object] = show
) -> Holder | Stamp | None:
    """As `holder`; but where the dead have left a lock, its stamp."""
    path = run / LOCK
    try:
        first = read_stamp(path)
        if first is None:
            return None
        if first.boot and (first.host, first.boot) == (socket.gethostname(), boot()):
            since = born(first.pid)
            if since is not None or not _is_hidden(first.pid):
                lives = since == first.born and not _is_copy(run, first)
                return _of(first) if lives else first
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
        time.sleep(ASK_SECONDS)
        now = read_stamp(path)
        if now is None:
            return None
        if now != first:
            return _of(now)
    return first


def _is_copy(run: pathlib.Path, stamp: Stamp) -> bool:
    """Whether a run was copied while it trained: its owner holds the original."""
    original = pathlib.Path(stamp.run)
    with contextlib.suppress(OSError):
        there = read_stamp(original / LOCK)
        same = original.samefile(run)
        return there is not None and there.token == stamp.token and not same
    return False


class Lock:
    """Holds a run directory within `with`; the directory is made where it is missing.

    Args:
        run: the run directory.
        dead: the stamp of a lock that is to be taken over; any other is respected.
        beat: seconds between two signs of life; None: BEAT_SECONDS.

    Attributes:
        lost: what became of the lock or the directory; None while all is well.

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
        self._thread = threading.Thread(target=self._live, daemon=True)

    def __enter__(self) -> "Lock":
        try:
            self.run.mkdir(parents=True, exist_ok=True)
            self._take()
            self._folder = os.open(self.run, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise unwritable(self.run, error) from error
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(self._beat)  # on a disk that hangs it may stay where it is
        with contextlib.suppress(OSError):  # wherever the directory is by now
            file = os.open(LOCK, os.O_RDONLY, dir_fd=self._folder)
            mine = self._stamp.token.encode() in os.read(file, 4096)
            os.close(file)
            if mine:
                os.unlink(LOCK, dir_fd=self._folder)
        os.close(self._folder)

    def check(self) -> None:
        """Before something is written that counts.

        Raises:
            LockLostError: another process has taken the run over, or the lock was removed.
            DataError: the directory was renamed, removed or replaced.
        """
        if self.lost is None:
            self._look()
        if self.lost is not None:
            raise self.lost

    def _take(self) -> None:
        for _ in range(3):
            try:
                self._create()
                return
            except FileExistsError:
                self._clear()
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
        mine, other = self._is_mine()
        if not mine:
            raise refusal(self.run, other and _of(other))

    def _is_mine(self) -> tuple[bool, Stamp | None]:
        """And what else lies there. Asks twice: a newcomer that has erred puts the lock back."""
        for _ in range(2):
            stamp = read_stamp(self._path)
            if stamp is not None and stamp.token == self._stamp.token:
                return True, None
            time.sleep(SETTLE_SECONDS)
        return False, stamp

    def _clear(self) -> None:
        """Moves away the lock that the dead have left, and no other."""
        stamp = read_stamp(self._path)
        if stamp is None:
            return  # its owner has just left
        if stamp != self._stale:
            raise refusal(self.run, _of(stamp))
        away = self._path.with_name(f"{LOCK}.{self._stamp.token}")
        try:
            self._path.rename(away)  # of several newcomers one succeeds
        except FileNotFoundError:
            return  # `_create` finds out who was faster
        moved = read_stamp(away)
        if moved != self._stale:  # between the two lines above somebody was faster
            away.rename(self._path)
            raise refusal(self.run, moved and _of(moved))
        away.unlink()

    def _live(self) -> None:
        while not self._end.wait(self._beat) and self.lost is None:
            self._look()
            if self.lost is None:
                self._count()

    def _count(self) -> None:
        """Writes the next number into the very file that was looked at."""
        self._stamp = dataclasses.replace(self._stamp, counter=self._stamp.counter + 1)
        with contextlib.suppress(OSError):  # who cannot write, cannot save either, and will hear it
            file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            try:
                if self._stamp.token.encode() in os.pread(file, 4096, 0):
                    os.pwrite(file, self._stamp.encoded(), 0)
                    os.fsync(file)
            finally:
                os.close(file)

    def _look(self) -> None:
        """Sets `lost` where the directory or the lock is not what it was."""
        try:
            moved = not os.path.samestat(os.stat(self.run), os.fstat(self._folder))
        except (FileNotFoundError, NotADirectoryError):
            moved = True
        except OSError:
            return  # nothing is known
        if moved:
            self.lost = DataError(_moved(self.run, self._folder))
            return
        try:
            mine, other = self._is_mine()
        except OSError:
            return
        if not mine:
            who = f"{_of(other)} has taken it over" if other else "its lock was removed"
            self.lost = LockLostError(f"{self.run} is not this process's any more: {who}; stopped")


def _of(stamp: Stamp) -> Holder:
    return Holder(stamp.host, stamp.pid)


def refusal(run: pathlib.Path, who: Holder | None) -> UsageError:
    """What a second training is told."""
    return UsageError(
        f"{run} is being trained by {who or 'another process'}: wait for its end or stop it, or "
        "give another --workdir"
    )


def _moved(run: pathlib.Path, folder: int) -> str:
    """Where a directory that is open as `folder` is now, as far as the system tells."""
    place = ""
    with contextlib.suppress(OSError):
        place = os.readlink(f"/proc/self/fd/{folder}")
    if place and os.path.isdir(place) and place != str(run):
        return f"{run} was moved to {place} while it trained: stopped; train there to go on"
    return f"{run} was removed or replaced while it trained: stopped"


def this_process(run: pathlib.Path) -> Stamp:
    """A stamp of this process for `run`, with a token of its own."""
    pid, token = os.getpid(), uuid.uuid4().hex
    return Stamp(socket.gethostname(), boot(), pid, born(pid) or "", str(run.absolute()), token)


@functools.cache
def boot() -> str:
    """Since when this machine runs, and whose process numbers: containers have their own."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            return f"{boot} {os.readlink('/proc/self/ns/pid')}"
        return ""
    return _told("sysctl", "-n", "kern.boottime")


def born(pid: int) -> str | None:
    """When a process of this machine began; None where it has ended."""
    if sys.platform != "linux":
        return _told("ps", "-o", "lstart=", "-p", str(pid)) or None
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]  # one that is not yet waited for has ended


def _is_hidden(pid: int) -> bool:
    """Whether a process is another user's on a machine that does not show it (`hidepid`)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        pass
    return False


def _told(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
