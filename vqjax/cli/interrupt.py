"""Ctrl-C outside of training, which takes it as a request to stop: ends the program in one line."""

import contextlib
import os
import signal
import threading
from types import FrameType

INTERRUPTED = 130  # the exit code
GRACE = 10.0  # seconds for a verb to end by itself
LINE = b"vqjax: error: interrupted\n"
STDERR = 2
_IMPORTING = "<frozen importlib._bootstrap>"  # the file of the frames of every import


def install() -> None:
    """Handles Ctrl-C, unless it is ignored or has another handler."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # A module that is being imported would swallow a KeyboardInterrupt, or crash later.
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            _leave()
        frame = frame.f_back
    # So would a callback of a library, and a second Ctrl-C must not wait.
    signal.signal(signal.SIGINT, lambda number, frame: _leave())
    timer = threading.Timer(GRACE, _leave)
    timer.daemon = True
    timer.start()
    raise KeyboardInterrupt


def _leave() -> None:
    with contextlib.suppress(OSError):  # stderr may be closed
        os.write(STDERR, LINE)
    os._exit(INTERRUPTED)
