"""Progress of long computations that run as several programs, reported to a listener.

with progress.heard_by(listener):
    codes = kmeans(...)  # listener("k-means", 3, 40), ...
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator

Listener = Callable[[str, int, int], None]  # (what, parts done, parts in all); may raise to end it

_listener: contextvars.ContextVar[Listener | None] = contextvars.ContextVar(
    "listener", default=None
)


@contextlib.contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Within `with`, `listener` is called; what it raises ends the work."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(what: str, done: int, total: int) -> None:
    """Reports that `done` of `total` parts are done; without a listener it does nothing."""
    listener = _listener.get()
    if listener is not None:
        listener(what, done, total)
