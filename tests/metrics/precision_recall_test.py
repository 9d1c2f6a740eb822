"""Improved precision and recall: known values on a line, and blocks."""

import numpy as np
import pytest

from vqjax.metrics import precision_recall


def line(*points):
    return np.array(points, np.float32)[:, None]


def test_on_a_line_by_hand():
    """Real 0 1 2 3 reach 3, 2, 2, 3: to -3 and 6. Samples 6 7 8 20 reach 14, 13, 12, 14.

    Of the samples only 6 is inside. Of the real ones all are: 6 reaches down to -8.
    """
    assert precision_recall(line(6, 7, 8, 20), line(0, 1, 2, 3)) == {
        "precision": 0.25,
        "recall": 1.0,
    }


def test_the_nearest_other_one_counts_not_itself():
    """With k = 1 real 0 10 12 reach 10, 2, 2 and samples 3 4 11 reach 1, 1, 7.

    3 and 4 are inside the ball around 0, 11 inside that of 10; 10 and 12 are inside that of 11,
    and 0 is inside none.
    """
    numbers = precision_recall(line(3, 4, 11), line(0, 10, 12), k=1)
    assert numbers["precision"] == 1.0
    assert numbers["recall"] == pytest.approx(2 / 3)


def test_the_same_set_and_sets_apart():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(20, 5))
    assert precision_recall(a, a) == {"precision": 1.0, "recall": 1.0}
    assert precision_recall(a, a + 100.0) == {"precision": 0.0, "recall": 0.0}
    one_place = np.repeat(a[:1], 20, axis=0)  # a prior that draws one thing
    assert precision_recall(one_place, a)["precision"] == 1.0
    assert precision_recall(one_place, a)["recall"] <= 2 / 20


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(13, 2)), rng.normal(size=(11, 2)) + 0.7
    whole = precision_recall(a, b)
    assert 0 < whole["precision"] < 1 and 0 < whole["recall"] < 1
    monkeypatch.setitem(precision_recall.__globals__, "BLOCK", 4)
    assert precision_recall(a, b) == whole


def test_too_few():
    with pytest.raises(ValueError, match="more than k"):
        precision_recall(line(1, 2, 3), line(1, 2, 3, 4))
