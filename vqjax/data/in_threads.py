"""Calls in several threads, for work that is done outside of Python: decoding, filtering."""

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item, Result = TypeVar("Item"), TypeVar("Result")

_MOST = 8
_AHEAD = 2  # calls per thread that are under way or done before they are asked for


def workers() -> int:
    """Returns how many threads there are: one per core, at most 8."""
    return min(_MOST, os.cpu_count() or 1)


def in_order(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Returns `function(item)` of each item, endless or not, in their order; a few calls ahead.

    What a call raises is raised in its turn.
    """
    pool = concurrent.futures.ThreadPoolExecutor(workers(), "vqjax-data")
    waiting: collections.deque[concurrent.futures.Future[Result]] = collections.deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= _AHEAD * workers():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # also where nobody asks for more; threads end when the pool is gone
        for call in waiting:
            call.cancel()
