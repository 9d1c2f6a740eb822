"""How programs are timed.

What is compared takes turns within one process, so that whatever else the machine does hits all
alike; and a call that is too short for the clock is repeated before it is waited for, as a training
run does not wait for each step either.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

SAMPLE = 0.02  # seconds that a sample lasts at least
MOST_CALLS = 200  # in one sample
PERCENTILES = (5, 50, 95, 99)


def percentiles(seconds: Sequence[float], which: Sequence[int] = PERCENTILES) -> dict[str, float]:
    """{"p5": ..., "p50": ..., ...} of some timings."""
    return {f"p{q}": float(np.percentile(seconds, q)) for q in which}


def take_turns(
    calls: Mapping[str, Callable[[], Any]], seconds: float, rounds: int = 3
) -> dict[str, np.ndarray]:
    """Times calls in rounds; in each round each has its turn.

    Args:
        calls: functions that start something on the device and return its arrays. Each was called
            before, so that nothing compiles any more.
        seconds: to spend; `rounds` is the least number of rounds all the same.

    Returns:
        {name: float[rounds], seconds per call}.
    """
    repeat = {name: _repeats(call) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    while len(next(iter(times.values()))) < rounds or time.perf_counter() < end:
        for name, call in calls.items():
            times[name].append(_seconds(call, repeat[name]))
    return {name: np.array(values) for name, values in times.items()}


def _repeats(call: Callable[[], Any]) -> int:
    return int(min(MOST_CALLS, 1 + SAMPLE / max(_seconds(call, 1), 1e-6)))


def _seconds(call: Callable[[], Any], times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        result = call()
    jax.block_until_ready(result)
    return (time.perf_counter() - started) / times
