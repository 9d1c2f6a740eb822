"""Reading ahead changes when batches are made, not which come, and hides no error."""

import itertools
import threading
import time

import pytest

from vqjax.training import feed
from vqjax.training.feed import Feed
from vqjax.types import DataError


def test_order_and_reading_ahead():
    made = []

    def batches():
        for n in itertools.count():
            made.append(n)
            yield {"n": n}

    feed = Feed(batches(), ahead=2)
    assert [next(feed)["n"] for _ in range(5)] == [0, 1, 2, 3, 4]
    time.sleep(0.3)
    assert len(made) <= 5 + 2 + 1  # two in the queue, one in hand
    feed.close()
    assert not feed._thread.is_alive()


def test_an_error_comes_in_its_turn_and_again():
    def batches():
        yield {"n": 0}
        raise DataError("a torn file")

    feed = Feed(batches())
    assert next(feed) == {"n": 0}
    for _ in range(2):
        with pytest.raises(DataError, match="a torn file"):
            next(feed)
    feed.close()


def test_an_end_is_an_error():
    feed = Feed(iter([{"n": 0}]))
    next(feed)
    with pytest.raises(DataError, match="came to an end"):
        next(feed)
    feed.close()


def test_waiting_is_counted():
    go = threading.Event()

    def batches():
        while True:
            go.wait()
            yield {}

    feed = Feed(batches())
    threading.Timer(0.2, go.set).start()
    next(feed)
    assert 0.1 < feed.waited < 2.0
    before = feed.waited
    time.sleep(0.2)
    next(feed)
    assert feed.waited - before < 0.1
    feed.close()


def test_the_first_batch_or_an_error_can_be_waited_for():
    made = threading.Event()

    def batches():
        time.sleep(0.2)
        made.set()
        raise DataError("a torn file")
        yield

    with Feed(batches()) as feed:
        feed.wait()
        assert made.is_set() and feed.waited == 0.0
        with pytest.raises(DataError, match="a torn file"):
            next(feed)
    assert not feed._thread.is_alive()


def test_who_waits_for_a_source_that_hangs_can_leave(monkeypatch):
    monkeypatch.setattr(feed, "POLL_SECONDS", 0.01)
    hangs, checks = threading.Event(), []

    def batches():
        yield {"n": 0}
        hangs.wait()

    def stop():
        checks.append(1)
        return len(checks) > 5

    with Feed(batches()) as source:
        assert source.has_next(lambda: False) and source.has_next(stop) and next(source) == {"n": 0}
        assert not source.has_next(stop) and len(checks) == 6
        hangs.set()
