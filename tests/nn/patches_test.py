"""Patches, and vectors of times and positions."""

import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.nn.patches import from_patches, patch_grid, to_patches
from vqjax.nn.timestep import TimeEmbedding, sine_positions
from vqjax.types import UsageError


@pytest.mark.parametrize("shape", [(2, 12, 3), (2, 4, 6, 3), (1, 4, 2, 6, 1)])
def test_patches_and_back(shape):
    x = jnp.arange(np.prod(shape)).reshape(shape)
    patches = to_patches(x, 2)
    grid = patch_grid(shape[1:-1], 2)
    assert patches.shape == (shape[0], np.prod(grid), 2 ** len(grid) * shape[-1])
    np.testing.assert_array_equal(from_patches(patches, grid, 2), x)


def test_a_patch_is_read_row_by_row():
    x = jnp.arange(16).reshape(1, 4, 4, 1)
    assert to_patches(x, 2)[0, 1].tolist() == [2, 3, 6, 7]
    with pytest.raises(UsageError, match="patches of 3 do not divide 4 x 4"):
        to_patches(x, 3)


def test_positions_are_those_of_their_columns_first():
    found = sine_positions((2, 3), 8)
    assert found.shape == (6, 8) and found.dtype == np.float32
    column, row = found[:, :4], found[:, 4:]
    np.testing.assert_allclose(column[5], np.concatenate([np.sin([2, 0.02]), np.cos([2, 0.02])]))
    np.testing.assert_array_equal(column[0], column[3])
    np.testing.assert_array_equal(row[3], row[5])
    with pytest.raises(UsageError, match="a multiple of 6"):
        sine_positions((2, 2, 2), 8)


def test_times_near_each_other_are_told_apart():
    embed = TimeEmbedding(8)
    variables = embed.init_with_output(jnp.zeros(2, jnp.uint32), jnp.zeros(1))[1]
    waves = embed.apply(variables, jnp.array([0.5, 0.501, 0.9]))
    change = np.abs(np.diff(waves, axis=0)).max(axis=1)
    assert np.all(change > 1e-3)  # of an embedding of t without its factor: 1e-6
