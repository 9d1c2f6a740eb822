"""The Frechet distance: known values, and where covariances are singular."""

import numpy as np
import pytest

from vqjax.metrics import FeatureMoments, frechet_distance


def corners(mean, deviations):
    """Points whose mean and standard deviations (over n - 1) are these, uncorrelated."""
    signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * len(mean))).reshape(len(mean), -1).T
    scale = np.sqrt((len(signs) - 1) / len(signs))
    return FeatureMoments.of(np.asarray(mean) + scale * signs * np.asarray(deviations))


def test_diagonal_gaussians_by_hand():
    """|mu - mu'|^2 + sum of (s - s')^2: 9 + 16 + 1 + 4."""
    a, b = corners([0.0, 0.0], [2.0, 3.0]), corners([3.0, 4.0], [1.0, 5.0])
    assert frechet_distance(a, b) == pytest.approx(30.0, rel=1e-12)
    assert frechet_distance(b, a) == pytest.approx(30.0, rel=1e-12)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-12)


def test_covariances_that_do_not_commute():
    """In two dimensions tr (A B)^(1/2) = sqrt(tr(A B) + 2 sqrt(det(A B)))."""
    rng = np.random.default_rng(0)
    a, b = (FeatureMoments.of(rng.normal(size=(9, 2)) @ rng.normal(size=(2, 2))) for _ in range(2))
    product = a.covariance @ b.covariance
    overlap = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    apart = np.square(a.mean - b.mean).sum()
    expected = apart + np.trace(a.covariance) + np.trace(b.covariance) - 2 * overlap
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)


def test_singular_covariances_and_too_few():
    """One direction each, at right angles: nothing overlaps, so it is the sum of the variances."""
    along, across = corners([0.0, 0.0], [2.0, 0.0]), corners([0.0, 0.0], [0.0, 3.0])
    assert frechet_distance(along, across) == pytest.approx(13.0, rel=1e-12)
    point = FeatureMoments.of(np.zeros((5, 2)))
    assert frechet_distance(point, along) == pytest.approx(4.0, rel=1e-12)
    assert np.isnan(frechet_distance(FeatureMoments.of(np.zeros((1, 2))), along))


def test_a_far_mean_does_not_spoil_the_covariance():
    features = np.random.default_rng(0).normal(size=(50, 4))
    near, far = FeatureMoments.of(features), FeatureMoments.of(features + 1e3)
    np.testing.assert_allclose(far.covariance, near.covariance, atol=1e-7)
    np.testing.assert_allclose(near.covariance, np.cov(features, rowvar=False), rtol=1e-12)
