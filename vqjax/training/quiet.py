"""A save that fails is raised as one error; further messages of Orbax are suppressed."""

import logging
import sys
from typing import Any

LOGGERS = ("absl", "asyncio")
# Raised by a write that ends after its save has failed.
LATE = "Event loop is closed"
UNRETRIEVED = "exception was never retrieved"


class Quiet(logging.Filter):
    """In effect until `end`, which is not called after a failure: threads may still be running."""

    def __init__(self) -> None:
        super().__init__()
        self._previous_hook = sys.unraisablehook
        self._hook = self._unraisable  # one object: each access to a method creates another
        sys.unraisablehook = self._hook
        for name in LOGGERS:
            logging.getLogger(name).addFilter(self)

    def end(self) -> None:
        for name in LOGGERS:
            logging.getLogger(name).removeFilter(self)
        if sys.unraisablehook is self._hook:
            sys.unraisablehook = self._previous_hook

    def filter(self, record: logging.LogRecord) -> bool:
        orbax = record.name == "absl" and "orbax" in record.pathname
        late = record.name == "asyncio" and UNRETRIEVED in record.getMessage()
        return record.levelno < logging.ERROR or not (orbax or late)

    def _unraisable(self, event: Any) -> None:
        if not (isinstance(event.exc_value, RuntimeError) and LATE in str(event.exc_value)):
            self._previous_hook(event)
