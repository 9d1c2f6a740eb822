"""A save that fails is raised as one error; what Orbax prints of it besides is left out."""

import logging
import sys
from typing import Any

LOGGERS = ("absl", "asyncio")
# A write whose save has failed already comes back to the loop that waited for it.
LATE = "Event loop is closed"
UNHEARD = "exception was never retrieved"


class Quiet(logging.Filter):
    """From its making to `end`, which is left out after a failure: threads may still be at work."""

    def __init__(self) -> None:
        super().__init__()
        self._before = sys.unraisablehook
        self._hook = self._unraisable  # one object: each access to a method makes another
        sys.unraisablehook = self._hook
        for name in LOGGERS:
            logging.getLogger(name).addFilter(self)

    def end(self) -> None:
        for name in LOGGERS:
            logging.getLogger(name).removeFilter(self)
        if sys.unraisablehook is self._hook:
            sys.unraisablehook = self._before

    def filter(self, record: logging.LogRecord) -> bool:
        orbax = record.name == "absl" and "orbax" in record.pathname
        late = record.name == "asyncio" and UNHEARD in record.getMessage()
        return record.levelno < logging.ERROR or not (orbax or late)

    def _unraisable(self, event: Any) -> None:
        if not (isinstance(event.exc_value, RuntimeError) and LATE in str(event.exc_value)):
            self._before(event)
