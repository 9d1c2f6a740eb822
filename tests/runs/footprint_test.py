"""Sizes worked out by hand."""

import pytest

from tests.small_source import SmallSource, small_experiment
from vqjax.runs.load import footprint_of
from vqjax.types import ArraySpec, UsageError


def test_bits_and_compression_by_hand():
    experiment = small_experiment(SmallSource(), codebook_size=16)
    sizes = footprint_of(experiment, {"image": ArraySpec((8, 12, 3), "uint8")})
    # 4 x 6 tokens of 4 bits for 8 x 12 pixels of 24 bits.
    assert sizes.tokens == 24 and sizes.bits == 96
    assert sizes.bits_per_position == 1.0 and sizes.compression == 24.0


def test_parameters_are_counted_by_part():
    sizes = footprint_of(small_experiment(SmallSource(), 16), SmallSource().example_spec())
    assert sizes.parameters["quantizer"] == 16 * 3
    # Projections 4 -> 3 and 3 -> 4 with biases.
    assert sizes.parameters["projections"] == 4 * 3 + 3 + 3 * 4 + 4
    assert sizes.total == sum(sizes.parameters.values()) > sizes.parameters["encoder"] > 0


def test_sizes_that_the_factor_does_not_divide_are_refused():
    with pytest.raises(UsageError, match="9"):
        footprint_of(small_experiment(SmallSource()), {"image": ArraySpec((9, 8, 1), "uint8")})
