"""Counts stay exact integers where float32 would not."""

import numpy as np

from vqjax.metrics import CodebookCounts


def test_counts_are_exact_beyond_what_float32_and_int32_hold():
    many = CodebookCounts(np.array([2**31, 0], np.int64))
    one = CodebookCounts.of(np.array([[0], [1]], np.int32), 2)
    np.testing.assert_array_equal(many.merge(one).counts, [2**31 + 1, 1])


def test_perplexity_of_even_use_is_the_number_of_codes_used():
    numbers = CodebookCounts(np.array([3, 3, 0, 3, 0, 3])).compute()
    np.testing.assert_allclose(numbers["perplexity"], 4.0, rtol=1e-12)
    assert numbers["codebook_usage"] == 4 / 6
