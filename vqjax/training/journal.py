"""Files that grow while a run trains, and the thread that writes what a run can do without."""

import contextlib
import errno
import os
import pathlib
import queue
import re
import threading
from collections.abc import Callable, Iterator

from vqjax.types import DataError, UsageError, VqjaxError

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE)  # not the user's choice of a place
CAPACITY = 1000  # writes that may wait for a slow disk
LEAVE_SECONDS = 10.0  # for what still waits at the end


def reason(error: BaseException) -> str:
    """Why something could not be written, in a few words."""
    text = error.strerror if isinstance(error, OSError) else str(error)
    system = re.search(r": ([^:]+) \[os_error_code", text or "")  # TensorStore's errors end so
    return system[1] if system else text or type(error).__name__


def unwritable(place: object, error: OSError) -> VqjaxError:
    """Of a place where a run cannot begin: UsageError, or DataError where the disk is at fault."""
    kind = DataError if error.errno in DISK else UsageError
    return kind(f"cannot write to {place}: {reason(error)}")


@contextlib.contextmanager
def writing(what: object) -> Iterator[None]:
    """Within `with`, errors of the disk are raised as DataError: `what` cannot be written."""
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot write {what}: {reason(error)}") from error


def write_whole(path: pathlib.Path, text: str) -> None:
    """Gives a file new content: after a crash of the machine, too, it has the old or the new one.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    part.replace(path)


class Journal:
    """Appends pieces to a file, each of them whole or not at all.

    Raises:
        OSError: from all but `close`.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._whole: int | None = None  # where a torn piece begins that could not be cut yet

    def append(self, piece: bytes) -> None:
        if self._whole is not None:
            self._cut()
        self._whole = os.fstat(self._file).st_size
        try:
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            self._whole = None
        except OSError:
            with contextlib.suppress(OSError):
                self._cut()
            raise

    def _cut(self) -> None:
        os.ftruncate(self._file, self._whole)
        self._whole = None

    def sync(self) -> None:
        """Until all pieces are on the disk and the file is still the one of its name."""
        os.fsync(self._file)
        if not os.path.samestat(os.fstat(self._file), os.stat(self.path)):
            raise FileNotFoundError(0, "another file has taken its place")

    def close(self) -> None:
        file, self._file = self._file, -1  # the number may be another file's next
        with contextlib.suppress(OSError):
            os.close(file)


class Aside:
    """Writes in a thread of its own what a run can do without.

    A disk that is full or hangs neither ends nor holds up the caller: what cannot be written is
    left out, and that is said once for each kind of thing.

    Args:
        say: told of what is left out, in one line; called from any thread.
        may_write: asked before every write.
    """

    def __init__(
        self,
        say: Callable[[str], object],
        may_write: Callable[[], bool] = lambda: True,
        capacity: int = CAPACITY,
    ) -> None:
        self._say, self._may_write = say, may_write
        self._said: set[str] = set()
        self._queue: queue.Queue = queue.Queue(capacity)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def do(self, what: str, write: Callable[[], object]) -> None:
        """Has `write()` called soon; `what` names the kind of thing."""
        try:
            self._queue.put_nowait((what, write))
        except queue.Full:
            self._leave_out(what, "the disk does not answer")

    def close(self, seconds: float = LEAVE_SECONDS) -> None:
        """Until all is written, `seconds` at most."""
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
                self._leave_out(what, reason(error))

    def _leave_out(self, what: str, why: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self._say(f"cannot write {what} ({why}): left out, training goes on")
