"""Codes: known values, and the laws that every lookup must keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.ops import codes


def test_nearest_by_hand():
    book = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    z = jnp.array([[0.4, 0.1], [0.6, 0.1], [0.0, 2.0], [-5.0, -5.0]])
    np.testing.assert_array_equal(codes.nearest(z, book), [0, 1, 2, 0])


def test_ties_go_to_the_lowest_index():
    book = jnp.array([[1.0], [-1.0], [1.0]])
    np.testing.assert_array_equal(codes.nearest(jnp.array([[0.0], [2.0]]), book), [0, 0])


def test_nearest_agrees_with_brute_force_in_float64():
    z, book = np.random.default_rng(0).normal(size=(2, 300, 8)).astype(np.float32)
    wide = ((z[:, None].astype(np.float64) - book[None].astype(np.float64)) ** 2).sum(-1)
    got = np.asarray(codes.nearest(jnp.array(z), jnp.array(book)))
    np.testing.assert_allclose(wide[np.arange(300), got], wide.min(1), rtol=1e-5)


def test_bfloat16_picks_the_codes_of_its_float32_cast():
    z = jax.random.normal(jax.random.key(0), (500, 4)).astype(jnp.bfloat16)
    book = jax.random.normal(jax.random.key(1), (256, 4))
    np.testing.assert_array_equal(
        codes.nearest(z, book), codes.nearest(z.astype(jnp.float32), book)
    )


def test_straight_through_is_exact_and_passes_the_gradient():
    z, q = jnp.array([0.1, 1e8, -3.3]), jnp.array([0.3, 0.1, 7.7])
    np.testing.assert_array_equal(codes.straight_through(z, q), q)
    gradient = jax.grad(lambda z: jnp.sum(codes.straight_through(z, q) * jnp.arange(3.0)))(z)
    np.testing.assert_array_equal(gradient, [0.0, 1.0, 2.0])


def test_counts_and_sums_by_hand():
    indices = jnp.array([2, 0, 2])
    z = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    np.testing.assert_array_equal(codes.count(indices, 4), [1, 0, 2, 0])
    np.testing.assert_array_equal(codes.sum_by_code(z, indices, 3), [[3, 4], [0, 0], [6, 8]])


@pytest.mark.parametrize(
    ("counts", "expected"), [([5, 0, 0], 1.0), ([3, 3, 3, 3], 4.0), ([2, 2, 0], 2.0), ([0, 0], 1.0)]
)
def test_perplexity_by_hand(counts, expected):
    assert codes.perplexity(jnp.array(counts, jnp.float32)) == pytest.approx(expected, rel=1e-6)


def test_kmeans_finds_the_clusters():
    centres = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], np.float32)
    noise = np.random.default_rng(0).normal(scale=0.1, size=(400, 2)).astype(np.float32)
    z = jnp.array(np.tile(centres, (100, 1)) + noise)
    found = codes.kmeans(z, 8, 20, jax.random.key(3))
    for centre in centres:
        assert np.abs(np.asarray(found) - centre).max(-1).min() < 0.5


def test_kmeans_with_fewer_rows_than_centres():
    found = codes.kmeans(jnp.array([[1.0], [2.0]]), 5, 3, jax.random.key(0))
    assert set(np.asarray(found).ravel()) <= {1.0, 2.0}
