"""Ctrl-C where no training takes it as a wish to stop: the end of the program, in one line."""

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
    """Takes Ctrl-C in hand, unless it is ignored or somebody else has it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # What is being imported would swallow a KeyboardInterrupt, or crash of it later.
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            _leave()
        frame = frame.f_back
    # So would a callback of a library, and the second Ctrl-C must not have to wait.
    signal.signal(signal.SIGINT, lambda number, frame: _leave())
    late = threading.Timer(GRACE, _leave)
    late.daemon = True
    late.start()
    raise KeyboardInterrupt


def _leave() -> None:
    with contextlib.suppress(OSError):  # nobody may be there to be told
        os.write(STDERR, LINE)
    os._exit(INTERRUPTED)
