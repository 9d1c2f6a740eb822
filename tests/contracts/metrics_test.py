"""The laws of every metric: one row per class.

merge(a, b) is all at once; masked examples do not count, whatever they hold; merge is associative
and `empty` is its neutral element; values worked out by hand.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import numpy as np
import pytest

from vqjax import metrics
from vqjax.types import UsageError


@dataclasses.dataclass(frozen=True)
class Row:
    """`of(arrays, mask)`, `empty()`, the arrays of n examples, and (arrays, numbers) by hand."""

    of: Callable
    empty: Callable
    arrays: Callable
    by_hand: tuple
    poison: float | int


def _pictures(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple(rng.uniform(-1, 1, (n, 12, 13, 2)).astype(np.float32) for _ in range(2))


def _indices(n: int, seed: int = 0) -> tuple[np.ndarray]:
    return (np.random.default_rng(seed).integers(0, 7, (n, 3, 2)).astype(np.int32),)


def _plain(cls: type) -> Callable:
    return lambda arrays, mask=None: cls.of(*arrays, mask)


def _counts(arrays: tuple, mask: np.ndarray | None = None) -> metrics.CodebookCounts:
    return metrics.CodebookCounts.of(arrays[0], 7, mask)


def _logits(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 4)).astype(np.float32), rng.integers(0, 4, n).astype(np.int32)


def _distances(n: int, seed: int = 0) -> tuple[np.ndarray]:
    return (np.random.default_rng(seed).uniform(size=n).astype(np.float32),)


def _features(n: int, seed: int = 0) -> tuple[np.ndarray]:
    """Quarters: their sums are exact."""
    return (np.random.default_rng(seed).integers(-8, 9, (n, 3)) / 4,)


def _constant(*values: float) -> tuple[np.ndarray, ...]:
    return tuple(np.full((2, 4, 4, 1), v, np.float32) for v in values)


def _checkerboard(scale: float) -> np.ndarray:
    sign = (-1.0) ** (np.arange(8)[:, None] + np.arange(8)[None, :])
    return (scale * sign).astype(np.float32)[None, :, :, None]


class Peak:
    """A number per example, as somebody may write it: the largest error."""

    name = "peak"

    def __call__(self, x, x_hat):
        return abs(x - x_hat).max(axis=tuple(range(1, x.ndim)))


# Metrics of each example by itself (`task.metrics`): the object, two pictures a batch in [-1, 1]
# and copies of them, [2, 4, 4, 1], and its numbers for them by hand.
PER_EXAMPLE = {
    "peak": (Peak(), (*_constant(0.0, 0.2),), [0.2, 0.2]),
}
TABLE = {
    "squared error": Row(
        _plain(metrics.SquaredError),
        metrics.SquaredError.empty,
        _pictures,
        # 0.2 apart in [-1, 1] is 0.1 in [0, 1]: mse 0.01, 20 dB; 3.0 is clipped to 1.0.
        (
            (_constant(0.0, 0.2), {"mse": 0.01, "psnr": 20.0}),
            (_constant(1.0, 3.0), {"mse": 0.0, "psnr": 100.0}),
            (_constant(-1.0, 1.0), {"mse": 1.0, "psnr": 0.0}),
        ),
        np.nan,
    ),
    "absolute error": Row(
        _plain(metrics.AbsoluteError),
        metrics.AbsoluteError.empty,
        _pictures,
        ((_constant(0.0, 0.2), {"l1": 0.1}), (_constant(-1.0, 7.0), {"l1": 1.0})),
        np.nan,
    ),
    "perceptual distance": Row(
        lambda arrays, mask=None: metrics.ExampleMean.of("lpips", *arrays, mask),
        lambda: metrics.ExampleMean.empty("lpips"),
        _distances,
        (((np.float32([0.125, 0.375]),), {"lpips": 0.25}),),
        np.nan,
    ),
    "structural similarity": Row(
        _plain(metrics.StructuralSimilarity),
        metrics.StructuralSimilarity.empty,
        _pictures,
        # Constant pictures of 0.5 and 0.75: only luminance differs.
        (
            (_constant(0.3, 0.3), {"ssim": 1.0}),
            (
                _constant(0.0, 0.5),
                {"ssim": (2 * 0.5 * 0.75 + 1e-4) / (0.5**2 + 0.75**2 + 1e-4)},
            ),
        ),
        np.nan,
    ),
    "high frequency": Row(
        _plain(metrics.HighFrequency),
        metrics.HighFrequency.empty,
        _pictures,
        # Half the amplitude is a quarter of the energy; constant originals have none.
        (
            ((_checkerboard(0.8), _checkerboard(0.4)), {"high_frequency_ratio": 0.25}),
            ((_checkerboard(0.8), 0 * _checkerboard(1.0)), {"high_frequency_ratio": 0.0}),
            (_constant(0.0, 0.0), {}),
        ),
        np.nan,
    ),
    "negative bound": Row(
        _plain(metrics.NegativeBound),
        metrics.NegativeBound.empty,
        lambda n, seed=0: (_pictures(n, seed)[0].sum((1, 2, 3)),),
        (
            ((np.array([-90.0, -100.0, 4.0], np.float32),), {"nll_bound": 62.0}),
            ((np.array([-3.0], np.float32),), {"nll_bound": 3.0}),
        ),
        np.nan,
    ),
    "classification": Row(
        _plain(metrics.Classification),
        metrics.Classification.empty,
        _logits,
        # Probabilities (3/4, 1/4): the first label hits, the second, of 1/4, does not.
        (
            (
                (np.log(np.array([[3.0, 1.0]] * 2, np.float32)), np.array([0, 1], np.int32)),
                {"accuracy": 0.5, "cross_entropy": (math.log(4 / 3) + math.log(4)) / 2},
            ),
        ),
        99,
    ),
    "feature moments": Row(
        _plain(metrics.FeatureMoments),
        lambda: metrics.FeatureMoments.empty(3),
        _features,
        # Mean (1, 2), variances 2 and 8 over n - 1 = 1.
        (((np.array([[0.0, 0.0], [2.0, 4.0]]),), {"mean_square": 5.0, "variance": 10.0}),),
        np.nan,
    ),
    "codebook counts": Row(
        _counts,
        lambda: metrics.CodebookCounts.empty(7),
        _indices,
        (
            ((np.array([[0, 1], [2, 3]], np.int32),), {"codebook_usage": 4 / 7, "perplexity": 4.0}),
            ((np.array([[5, 5]], np.int32),), {"codebook_usage": 1 / 7, "perplexity": 1.0}),
            # Entropy of (3/4, 1/4).
            (
                (np.array([[5, 5], [5, 1]], np.int32),),
                {"codebook_usage": 2 / 7, "perplexity": 4 / 27**0.25},
            ),
        ),
        3,
    ),
}
rows = pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())


def _numbers_close(a: dict[str, float], b: dict[str, float], tolerance: float = 1e-6) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=tolerance, atol=tolerance, err_msg=name)


def _states_close(a: metrics.State, b: metrics.State, tolerance: float = 1e-6) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=tolerance), a, b)


@rows
def test_merged_batches_are_all_at_once(row):
    arrays = row.arrays(7)
    parts = [row.of(tuple(a[i] for a in arrays)) for i in (slice(0, 3), slice(3, 4), slice(4, 7))]
    _numbers_close(metrics.total(parts, row.empty()).compute(), row.of(arrays).compute())


@rows
def test_masked_examples_do_not_count_whatever_they_hold(row):
    arrays = row.arrays(5)
    mask = np.array([True, False, True, True, False])
    spoilt = tuple(np.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, row.poison) for a in arrays)
    spoilt = tuple(s.astype(a.dtype) for s, a in zip(spoilt, arrays, strict=True))
    expected = row.of(tuple(a[mask] for a in arrays)).compute()
    _numbers_close(row.of(spoilt, mask).compute(), expected)
    _numbers_close(jax.jit(row.of)(spoilt, mask).compute(), expected)


@rows
def test_merge_is_associative_with_empty_as_neutral_element(row):
    a, b, c = (row.of(row.arrays(2, seed)) for seed in range(3))
    _states_close(a.merge(b).merge(c), a.merge(b.merge(c)), 1e-15)
    _states_close(row.empty().merge(a), a, 0)
    wide = {"f": np.float64, "i": np.int64}
    for leaf in jax.tree.leaves(a.merge(b)):
        assert isinstance(leaf, np.ndarray) and leaf.dtype == wide[leaf.dtype.kind]


@rows
def test_values_by_hand(row):
    for arrays, numbers in row.by_hand:
        _numbers_close(row.of(arrays).compute(), numbers, 1e-5)


@rows
def test_nothing_counted_is_not_a_number(row):
    assert all(np.isnan(v) for v in row.empty().compute().values())
    nothing = tuple(a[:0] for a in row.arrays(2))
    assert all(np.isnan(v) for v in row.of(nothing).compute().values())


@pytest.mark.parametrize("name", PER_EXAMPLE)
def test_a_metric_of_each_example(name):
    metric, pair, wanted = PER_EXAMPLE[name]
    x, x_hat = map(jax.numpy.asarray, pair)
    np.testing.assert_allclose(jax.jit(metric)(x, x_hat), wanted, rtol=1e-5)
    x, x_hat = map(jax.numpy.asarray, _pictures(5))
    together = metric(x, x_hat)
    assert together.shape == (5,) and together.dtype == np.float32 and np.isfinite(together).all()
    alone = [metric(x[i : i + 1], x_hat[i : i + 1])[0] for i in range(5)]
    np.testing.assert_allclose(together, alone, rtol=1e-6)
    assert metrics.ExampleMean.of(metric.name, together).compute().keys() == {metric.name}


def test_a_metric_that_is_no_number_per_example_is_refused():
    with pytest.raises(UsageError, match=r"'x' gives \[3, 2\]: wanted a number per example"):
        metrics.ExampleMean.of("x", np.zeros((3, 2)), np.ones(3, bool))
