"""TensorBoard's event file of one start of a run.

tensorboardX makes the records; it does not write them, because its thread dies of the first error
of the disk and then holds up whoever has more to write.
"""

import math
import pathlib
import socket
import struct
import time
from collections.abc import Mapping

import numpy as np
from tensorboardX import summary
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from vqjax.numbers import Number, lookup
from vqjax.training.journal import Journal

VERSION = "brain.Event:2"


class Board:
    """Appends events to RUN/events.*, which is made by the first of them.

    Args:
        run: the run directory.
        first: the step from which on TensorBoard forgets what earlier starts have written.
    """

    def __init__(self, run: pathlib.Path, first: int) -> None:
        self._run, self._first = run, first
        self._journal: Journal | None = None

    def numbers(
        self,
        kind: str,
        step: int,
        numbers: Mapping[str, float],
        when: float,
        described: Mapping[str, Number] | None = None,
    ) -> None:
        """The finite ones of `numbers` as scalars ``kind/name``; `when` is their wall time, what
        they are stands in `vqjax.numbers` or, of a task of one's own, in `described`.
        """
        event = Event(step=step, wall_time=when)
        for name, value in numbers.items():
            if math.isfinite(value):
                what = lookup(name, described or {}) if kind == "eval" else None
                words = ("", "") if what is None else (what.label, what.help)
                event.summary.MergeFrom(summary.scalar(f"{kind}/{name}", value, *words))
        self._append(event)

    def picture(self, name: str, step: int, picture: np.ndarray, when: float) -> None:
        """`picture` is uint8[H, W, 3]."""
        made = summary.image(name, picture, dataformats="HWC")
        self._append(Event(step=step, wall_time=when, summary=made))

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    def _append(self, event: Event) -> None:
        if self._journal is None:
            name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}"
            journal = Journal(self._run / name)
            start = SessionLog(status=SessionLog.START)
            head = Event(file_version=VERSION, wall_time=time.time())
            cut = Event(step=self._first, session_log=start, wall_time=time.time())
            journal.append(_record(head) + _record(cut))
            self._journal = journal
        self._journal.append(_record(event))


def _record(event: Event) -> bytes:
    """Length, its check sum, the event, its check sum."""
    content = event.SerializeToString()
    length = struct.pack("<Q", len(content))
    sums = (struct.pack("<I", masked_crc32c(part)) for part in (length, content))
    return b"".join((length, next(sums), content, next(sums)))
