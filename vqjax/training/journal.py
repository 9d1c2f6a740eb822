"""Files that a run appends to, and the thread that writes what a run can do without."""

import contextlib
import errno
import os
import pathlib
import queue
import re
import threading
from collections.abc import Callable, Iterator

from vqjax.types import DataError, UsageError, VqjaxError

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE)  # not due to the user's choice of path
CAPACITY = 1000  # writes that may wait for a slow disk
LEAVE_SECONDS = 10.0  # for writes that still wait at the end


def reason(error: BaseException) -> str:
    """Why something could not be written, in a few words."""
    text = getattr(error, "strerror", None) or str(error)
    system = re.search(r": ([^:]+) \[os_error_code", text or "")  # TensorStore's errors end so
    return system[1] if system else text or type(error).__name__


def unwritable(target: object, error: OSError) -> VqjaxError:
    """For a path that a run cannot use: UsageError, or DataError where the disk is at fault."""
    kind = DataError if error.errno in DISK else UsageError
    return kind(f"cannot write to {target}: {reason(error)}")


@contextlib.contextmanager
def writing(what: object) -> Iterator[None]:
    """Within `with`, errors of the disk are raised as DataError: `what` cannot be written."""
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot write {what}: {reason(error)}") from error


def write_whole(path: pathlib.Path, text: str) -> None:
    """Replaces a file's content: even after a crash of the machine it has the old or the new one.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(path.name + ".part")
    with temporary.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)


class Journal:
    """Appends pieces to a file, each of them whole or not at all.

    Raises:
        OSError: from all but `close`.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._torn_at: int | None = None  # start of a torn piece that is not truncated yet

    def append(self, piece: bytes) -> None:
        if self._torn_at is not None:
            self._truncate()
        self._torn_at = os.fstat(self._file).st_size
        try:
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            self._torn_at = None
        except OSError:
            with contextlib.suppress(OSError):
                self._truncate()
            raise

    def _truncate(self) -> None:
        os.ftruncate(self._file, self._torn_at)
        self._torn_at = None

    def sync(self) -> None:
        """Waits until all pieces are on disk; raises where the path now names another file."""
        os.fsync(self._file)
        if not os.path.samestat(os.fstat(self._file), os.stat(self.path)):
            raise FileNotFoundError(0, "another file has taken its place")

    def close(self) -> None:
        file, self._file = self._file, -1  # the number may be another file's next
        with contextlib.suppress(OSError):
            os.close(file)


class BackgroundWriter:
    """Writes in a thread of its own what a run can do without.

    A disk that is full or hangs neither ends nor blocks the caller: what cannot be written is left
    out, which is reported once for each kind of content.

    Args:
        say: called with a line on what is left out, from any thread.
        may_write: called before every write.
    """

    def __init__(
        self,
        say: Callable[[str], object],
        may_write: Callable[[], bool] = lambda: True,
        capacity: int = CAPACITY,
    ) -> None:
        self._say, self._may_write = say, may_write
        self._reported: set[str] = set()
        self._queue: queue.Queue = queue.Queue(capacity)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def do(self, what: str, write: Callable[[], object]) -> None:
        """Schedules `write()`; `what` names the kind of content."""
        try:
            self._queue.put_nowait((what, write))
        except queue.Full:
            self._drop(what, "the disk does not answer")

    def close(self, seconds: float = LEAVE_SECONDS) -> None:
        """Waits until all is written, for `seconds` at most."""
        self._closed.set()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(("", lambda: None))  # wakes it up
        self._thread.join(seconds)

    def _run(self) -> None:
        while not (self._closed.is_set() and self._queue.empty()):
            what, write = self._queue.get()
            try:
                if self._may_write():
                    write()
            except Exception as error:
                self._drop(what, reason(error))

    def _drop(self, what: str, why: str) -> None:
        if what not in self._reported:
            self._reported.add(what)
            self._say(f"cannot write {what} ({why}): left out, training goes on")
