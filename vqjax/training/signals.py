"""SIGTERM, SIGHUP, SIGUSR1 and Ctrl-C as a request to stop after the current step.

A single process sets a flag. Among several, JAX handles SIGTERM, informs the others, and decides at
which step all of them stop.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterable
from types import FrameType

from vqjax.training import distributed
from vqjax.types import Stopped

EXIT_AT_ONCE = 130  # the second Ctrl-C
STDERR = 2
# A terminal or connection was lost; a batch system's time is nearly up.
IGNORABLE = (signal.SIGHUP, signal.SIGUSR1)


def not_ignored(signals: Iterable[signal.Signals]) -> list[signal.Signals]:
    """Those that this process did not ignore from its start, as under nohup."""
    return [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]


def stopped(received: str | None, step: int | None) -> Stopped:
    """The error that ends a run that a signal stopped.

    Args:
        received: the signal's name.
        step: that is saved; None: none is yet.
    """
    if step is None:
        outcome = "step 0 was not ready and nothing is saved; run the same command to begin anew"
    else:
        outcome = f"step {step} is saved; run the same command to go on"
    return Stopped(f"{received}: {outcome}")


class StopSignal:
    """Within `with`, the first signal only sets `received`; a SIGINT after it ends at once."""

    def __init__(self) -> None:
        self.received: str | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            handled = [signal.SIGINT, *not_ignored(IGNORABLE)]
            if not distributed.several():  # among several, SIGTERM is JAX's
                handled.append(signal.SIGTERM)
            for number in handled:
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def stops_at(self, step: int) -> bool:
        """Whether the run stops with `step` finished; to be called before every step."""
        if not distributed.several():
            return self.received is not None
        stops = distributed.should_stop(step)
        if stops and self.received is None:
            self.received = signal.SIGTERM.name  # here or on another process
        return stops

    def ends_alone(self) -> bool:
        """Whether a signal came and this is the only process."""
        return self.received is not None and not distributed.several()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            os._exit(EXIT_AT_ONCE)
        self.received = signal.Signals(number).name
        line = (
            f"\n{self.received}: stopping after the step or the compilation at hand "
            "(Ctrl-C again leaves at once)\n"
        )
        with contextlib.suppress(OSError):  # the terminal may be gone
            os.write(STDERR, line.encode())  # not print, which the signal may have interrupted
        if distributed.several():
            os.kill(os.getpid(), signal.SIGTERM)
