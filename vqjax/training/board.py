"""TensorBoard's event file of one start of a run.

tensorboardX encodes the records; it does not write them, because its thread dies of the first error
of the disk and then blocks its callers.
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
    """Appends events to RUN/events.*, which the first of them creates.

    Args:
        run: the run directory.
        first: the step from which on TensorBoard discards events of earlier starts.
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
        """The finite ones of `numbers` as scalars ``kind/name``; `when` is their wall time, their
        descriptions are in `vqjax.numbers` or, for a user's task, in `described`.
        """
        event = Event(step=step, wall_time=when)
        for name, value in numbers.items():
            if math.isfinite(value):
                number = lookup(name, described or {}) if kind == "eval" else None
                texts = ("", "") if number is None else (number.label, number.help)
                event.summary.MergeFrom(summary.scalar(f"{kind}/{name}", value, *texts))
        self._append(event)

    def image(self, name: str, step: int, image: np.ndarray, when: float) -> None:
        """`image` is uint8[H, W, 3]."""
        content = summary.image(name, image, dataformats="HWC")
        self._append(Event(step=step, wall_time=when, summary=content))

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    def _append(self, event: Event) -> None:
        if self._journal is None:
            name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}"
            journal = Journal(self._run / name)
            start = SessionLog(status=SessionLog.START)
            version = Event(file_version=VERSION, wall_time=time.time())
            restart = Event(step=self._first, session_log=start, wall_time=time.time())
            journal.append(_record(version) + _record(restart))
            self._journal = journal
        self._journal.append(_record(event))


def _record(event: Event) -> bytes:
    """Length, its checksum, the event, its checksum."""
    content = event.SerializeToString()
    length = struct.pack("<Q", len(content))
    checksums = (struct.pack("<I", masked_crc32c(part)) for part in (length, content))
    return b"".join((length, next(checksums), content, next(checksums)))
