"""Prefetching: the next batches are made while the device computes."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator

from vqjax.types import Batch, DataError

POLL_SECONDS = 0.5  # between two checks whether to wait any longer


class Feed:
    """Runs an iterator in a thread, `ahead` batches ahead; `waited` sums the seconds of waiting.

    An error of the iterator is raised by `next`. Close it, or leave its `with`, to end the thread.
    """

    def __init__(self, batches: Iterator[Batch], ahead: int = 2) -> None:
        self.waited = 0.0
        self._item: object = None  # the next one, once it was waited for
        self._queue: queue.Queue = queue.Queue(maxsize=ahead)
        self._closed, self._started = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(batches,), daemon=True)
        self._thread.start()

    def __iter__(self) -> "Feed":
        return self

    def has_next(self, stop: Callable[[], bool]) -> bool:
        """Waits for the next item; False once `stop()` is true, for a source that hangs."""
        started = time.perf_counter()
        while self._item is None and not stop():
            with contextlib.suppress(queue.Empty):
                self._item = self._queue.get(timeout=POLL_SECONDS)
        self.waited += time.perf_counter() - started
        return self._item is not None

    def __next__(self) -> Batch:
        self.has_next(lambda: False)
        if isinstance(self._item, BaseException):
            raise self._item  # at every further call, too
        item, self._item = self._item, None
        return item

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self) -> None:
        """Returns once the first batch, or an error, is there; `waited` does not count it."""
        self._started.wait()

    def close(self) -> None:
        self._closed.set()
        self._thread.join(timeout=5.0)

    def _run(self, batches: Iterator[Batch]) -> None:
        try:
            for batch in batches:
                if not self._put(batch):
                    return
            self._put(DataError("the training data came to an end; a source must be endless"))
        except BaseException as error:
            self._put(error)

    def _put(self, item: object) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                self._started.set()
                return True
            except queue.Full:
                continue
        return False
