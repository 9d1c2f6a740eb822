"""Posteriors by hand, and the permutation test on pairs that share more than their value."""

import numpy as np
import pytest

from vqjax.evaluation.posteriors import by_value, judged, leak_p, prior_of, product_of


def test_a_value_has_the_probability_of_its_texts():
    scores = np.log([[0.1, 0.2, 0.1], [0.0001, 0.0001, 0.0002]])
    posterior = np.exp(by_value(scores, np.array([7, 3, 7])))  # of 3, then of 7
    np.testing.assert_allclose(posterior, [[0.5, 0.5], [0.25, 0.75]])
    far = by_value(np.array([[-3000.0, -1000.0]]), np.array([0, 1]))
    np.testing.assert_allclose(far, [[-2000.0, 0.0]])


def test_information_by_hand():
    posterior = np.log([[0.8, 0.2], [0.4, 0.6], [0.6, 0.4], [0.6, 0.4]])
    found = judged(posterior, np.array([3, 7, 7, 3]), np.array([3, 7]))
    assert found["label_accuracy"] == 0.75
    surprise = -np.log([0.8, 0.6, 0.4, 0.6]).mean()
    assert found["information"] == pytest.approx(np.log(2) - surprise)
    uniform = np.log(np.full((4, 2), 0.5))
    assert judged(uniform, np.array([3, 7, 7, 3]), np.array([3, 7]))["information"] == 0.0


def test_the_product_of_experts_is_exact_where_they_are_independent():
    """Two observations of a value, each wrong in its own way and drawn apart given the value."""
    prior = np.array([0.2, 0.5, 0.3])
    one, other = np.array([0.7, 0.2, 0.1]), np.array([0.3, 0.1, 0.9])  # p(observed | value)
    posteriors = [np.log(prior * p / (prior * p).sum())[None] for p in (one, other)]
    both = prior * one * other
    np.testing.assert_allclose(np.exp(product_of(posteriors, np.log(prior)))[0], both / both.sum())
    values = np.repeat([2, 4, 5], [2, 5, 3])
    np.testing.assert_allclose(np.exp(prior_of(values, np.array([2, 4, 5]))), prior)


@pytest.mark.parametrize("leaks", [False, True])
def test_pairs_that_share_more_than_their_value_are_found_out(leaks):
    """x and y have a bit each beside their label; where it leaks, mostly the same one."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(5), 12)
    x = rng.integers(0, 2, 60)
    y = np.where(rng.random(60) < 0.8, x, 1 - x) if leaks else rng.integers(0, 2, 60)
    scores = np.where(x[:, None] == y[None], np.log(0.8), np.log(0.2))
    scores[groups[:, None] != groups[None]] = np.nan  # never read
    p = leak_p(scores, groups, redraws=199)
    assert p == 1 / 200 if leaks else p > 0.01
