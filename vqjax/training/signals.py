"""SIGTERM and Ctrl-C as a wish to stop after the step at hand."""

import contextlib
import os
import signal
import threading
from types import FrameType

EXIT_AT_ONCE = 130  # the second Ctrl-C
STDERR = 2


class StopSignal:
    """Within `with`, the first signal only sets `received`; a SIGINT after it ends at once."""

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            os._exit(EXIT_AT_ONCE)
        self.received = signal.Signals(number).name
        line = f"\n{self.received}: saving after this step (Ctrl-C again leaves at once)\n"
        with contextlib.suppress(OSError):  # the terminal may be gone
            os.write(STDERR, line.encode())  # not print, which the signal may have interrupted
