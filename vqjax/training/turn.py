"""A training's turn in its run directory: from the first look at it to the end.

A plan made from the content of a run directory must still hold when the first byte is written: the
directory is read, the run planned, the lock taken, and the directory read again.
"""

import contextlib
import pathlib
import shutil
from collections.abc import Iterator

from vqjax.training import distributed
from vqjax.training.lock import Holder, Lock, Stamp, find_lock, refusal
from vqjax.training.record import RECORD
from vqjax.training.seal import SEAL, sealed_steps
from vqjax.types import DataError, UsageError, VqjaxError


class Turn:
    """All processes of a run make one and call it alike; only process 0 reads and locks.

    Args:
        run: the run directory, absolute; it need not exist.
        total_steps: the lock of a run that has them all is not read: nothing will be written.

    Raises:
        UsageError: another process trains there.
    """

    def __init__(self, run: pathlib.Path, total_steps: int) -> None:
        self.run = run
        self._lock: Lock | None = None
        self._dead: Stamp | None = None
        self._before: object = None

        def first() -> None:
            if not any(step >= total_steps for step in self._content()[1]):
                self._refuse_second()
            self._before = self._content()  # after another host's lock was watched

        distributed.from_first(first)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Within `with`, this run has the directory alone.

        Raises:
            UsageError: another process was faster.
            DataError: the disk is full or fails.
        """
        with contextlib.ExitStack() as stack:

            def first() -> None:
                if self._dead is None:
                    self._refuse_second()
                self._lock = stack.enter_context(Lock(self.run, self._dead))
                if self._content() != self._before:
                    raise UsageError(
                        f"another training wrote to {self.run} while this one began: run the same "
                        "command again"
                    )

            distributed.from_first(first)
            try:
                yield
            finally:
                if isinstance(self.lost, DataError):
                    _remove_leftovers(self.run)

    @property
    def lost(self) -> VqjaxError | None:
        """The error of a lost directory; None while all is well, and except on process 0."""
        return None if self._lock is None else self._lock.lost

    def may_write(self) -> bool:
        """Whether the directory is not lost, as far as known."""
        return self.lost is None

    def check(self) -> None:
        """To be called before every write that matters, on process 0.

        Raises:
            LockLostError: another process has taken the run over, or the lock was removed.
            DataError: the directory was renamed, removed or replaced, or has lost its record.
        """
        if self._lock is not None:
            self._lock.check()
            if not (self.run / RECORD).is_file():
                raise DataError(f"{self.run} lost its {RECORD} while it trained: stopped")

    def _refuse_second(self) -> None:
        state = find_lock(self.run)
        if isinstance(state, Holder):
            raise refusal(self.run, state)
        self._dead = state

    def _content(self) -> tuple[bytes | None, list[int]]:
        """The record and the sealed steps; the plan reports what cannot be read."""
        record, content, sealed = self.run / RECORD, None, []
        with contextlib.suppress(OSError, DataError):
            content = record.read_bytes() if record.is_file() else None
            sealed = sealed_steps(self.run / "checkpoints")
        return content, sealed


def _remove_leftovers(run: pathlib.Path) -> None:
    """Removes arrays that an unfinished save has written where the run was, if nothing else."""
    with contextlib.suppress(OSError):
        checkpoints = run / "checkpoints"
        if list(run.iterdir()) == [checkpoints] and not any(checkpoints.glob(f"*/{SEAL}")):
            shutil.rmtree(run)
