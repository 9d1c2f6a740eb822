"""Posteriors of a value, such as which digit, by how likely its texts are; and whether pairs share
more than it. Of arrays on the host.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

REDRAWS = 1_999  # of partners


class Texts(NamedTuple):
    """All texts that there are: ids int32[N, T], and the value of each, int64[N]."""

    ids: np.ndarray
    values: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """The values, each once, ascending: int64[V]."""
        return np.unique(self.values)


def normalised(scores: np.ndarray) -> np.ndarray:
    """Logarithms of sums -> of shares that add up to 1, along the last axis."""
    top = scores.max(axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):  # -inf where a value cannot be
        return scores - top - np.log(np.exp(scores - top).sum(axis=-1, keepdims=True))


def by_value(scores: np.ndarray, values: np.ndarray) -> np.ndarray:
    """log p(value | x), float64[n, V], of the `values` int64[N] of texts, ascending, from
    log p(text | x), float64[n, N]; normalised over these texts.
    """
    shares = normalised(np.asarray(scores, np.float64))  # [n, N]
    columns = [
        np.logaddexp.reduce(shares[:, values == value], axis=1) for value in np.unique(values)
    ]
    return np.stack(columns, axis=1)  # [n, V]


def prior_of(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """log of the share of rows that have each of `known`, float64[V]."""
    with np.errstate(divide="ignore"):
        return np.log(np.mean(values[:, None] == known[None], axis=0))


def product_of(posteriors: Sequence[np.ndarray], log_prior: np.ndarray) -> np.ndarray:
    """What k experts say that know nothing of each other, the product of p(v | x) over
    p(v)^(k - 1): its log, normalised, float64[n, V].

    Args:
        posteriors: log p(v | x), float64[n, V] each.
        log_prior: log p(v), float64[V]; no value of which is impossible.
    """
    return normalised(sum(posteriors) - (len(posteriors) - 1) * log_prior)


def judged(posterior: np.ndarray, values: np.ndarray, known: np.ndarray) -> dict[str, float]:
    """How much a posterior knows of the true `values`, int64[n].

    Returns:
        `information`: H(value) - mean of -log p(value | x), in nats, which is at most the mutual
        information; `label_accuracy`: how often the likeliest value is the true one.
    """
    column = np.searchsorted(known, values)
    shares = np.exp(prior_of(values, known))
    entropy = -np.sum(shares * np.log(np.where(shares > 0.0, shares, 1.0)))
    right = posterior.argmax(axis=1) == column
    surprise = -posterior[np.arange(len(values)), column].mean()
    return {"information": float(entropy - surprise), "label_accuracy": float(right.mean())}


def leak_p(scores: np.ndarray, groups: np.ndarray, redraws: int = REDRAWS) -> float:
    """The p of a one-sided permutation test: how often partners drawn anew, within their group,
    explain as much as those at hand. Near 0 where pairs share more than their group.

    Args:
        scores: log p(x of row i | y of row j), float64[n, n]; only those of one group are read.
        groups: int64[n].
        redraws: permutations, always the same.
    """
    rng, rows, found = np.random.default_rng(0), np.arange(len(scores)), 0
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    at_hand = scores[rows, rows].mean()
    for _ in range(redraws):
        partners = rows.copy()
        for own in members:
            partners[own] = rng.permutation(own)
        found += scores[rows, partners].mean() >= at_hand
    return (1 + found) / (1 + redraws)
