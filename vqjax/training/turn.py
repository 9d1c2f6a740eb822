"""A training's turn in its run directory: from the first look at it to the end.

What is planned from the content of a run directory must still hold when the first byte is written:
the directory is looked at, the run planned, the lock taken, and the directory looked at again.
"""

import contextlib
import pathlib
import shutil
from collections.abc import Iterator

from vqjax.training import distributed
from vqjax.training.lock import Holder, Lock, Stamp, look, refusal
from vqjax.training.record import RECORD
from vqjax.training.seal import SEAL, sealed_steps
from vqjax.types import DataError, UsageError, VqjaxError


class Turn:
    """All processes of a run make one and ask it alike; process 0 alone looks and locks.

    Args:
        run: the run directory, absolute; it need not be there.
        total_steps: a run that has them all is not asked for: it will not be written to.

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
                self._look()
            self._before = self._content()  # what another host did while it was watched is over

        distributed.from_first(first)

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Within `with`, the directory is this run's alone.

        Raises:
            UsageError: another process was faster.
            DataError: the disk is full or fails.
        """
        with contextlib.ExitStack() as stack:

            def first() -> None:
                if self._dead is None:
                    self._look()
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
                    _tidy(self.run)

    @property
    def lost(self) -> VqjaxError | None:
        """How the directory was lost; None while all is well, and on all but process 0."""
        return None if self._lock is None else self._lock.lost

    def ours(self) -> bool:
        """Whether nothing is known against writing."""
        return self.lost is None

    def check(self) -> None:
        """Before something is written that counts; to be asked on process 0.

        Raises:
            LockLostError: another process has taken the run over, or the lock was removed.
            DataError: the directory was renamed, removed or replaced, or has lost its record.
        """
        if self._lock is not None:
            self._lock.check()
            if not (self.run / RECORD).is_file():
                raise DataError(f"{self.run} lost its {RECORD} while it trained: stopped")

    def _look(self) -> None:
        found = look(self.run)
        if isinstance(found, Holder):
            raise refusal(self.run, found)
        self._dead = found

    def _content(self) -> tuple[bytes | None, list[int]]:
        """The record and the sealed steps; what cannot be read is for the plan to say."""
        record, content, sealed = self.run / RECORD, None, []
        with contextlib.suppress(OSError, DataError):
            content = record.read_bytes() if record.is_file() else None
            sealed = sealed_steps(self.run / "checkpoints")
        return content, sealed


def _tidy(run: pathlib.Path) -> None:
    """Removes what a save on its way has made anew where the run was: arrays, and nothing else."""
    with contextlib.suppress(OSError):
        checkpoints = run / "checkpoints"
        if list(run.iterdir()) == [checkpoints] and not any(checkpoints.glob(f"*/{SEAL}")):
            shutil.rmtree(run)
