"""Steps of tokens of several codebooks, and where clips end."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.priors.codebook_order import PATTERNS, CodebookOrder
from vqjax.types import Level


def order_of(frames, codebooks, pattern="delay", ends=False, size=7):
    grid = frames if isinstance(frames, tuple) else (frames,)
    levels = tuple(Level(f"tokens_{q}", grid, size) for q in range(codebooks))
    return CodebookOrder(levels, pattern, ends)


def indices_of(order, seed=0):
    rng = np.random.default_rng(seed)
    return {v.name: rng.integers(0, order.size, (2, *v.grid)) for v in order.levels}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_undoing_a_pattern_gives_the_tokens_back(pattern):
    for frames, codebooks in ((1, 3), (5, 1), (5, 3), ((3, 2), 2)):
        order = order_of(frames, codebooks, pattern)
        count, grid = order.frames, order.levels[0].grid
        indices = indices_of(order)
        ids = order.flatten({name: jnp.asarray(array) for name, array in indices.items()})
        assert order.steps == (count * codebooks if pattern == "flat" else count + codebooks - 1)
        steps = np.asarray(order.to_steps(order.codes_of(ids) + 1))  # so that 0 is no token
        assert steps.shape == (2, order.steps, codebooks)
        for s, q in itertools.product(range(order.steps), range(codebooks)):
            frame = s - q if pattern == "delay" else s // codebooks if s % codebooks == q else -1
            inside = 0 <= frame < count
            assert order.frame_at[s, q] == (frame if inside else -1)
            place = np.unravel_index(frame if inside else 0, grid)
            token = indices[f"tokens_{q}"][(slice(None), *place)] + 1 if inside else np.zeros(2)
            np.testing.assert_array_equal(steps[:, s, q], token)
        np.testing.assert_array_equal(order.from_steps(order.to_steps(ids)), ids)
        back = order.unflatten(order.from_steps(order.to_steps(ids)))
        for name, array in indices.items():
            np.testing.assert_array_equal(back[name], array)
        assert (order.frame_at[order.step_at, np.arange(order.length) % codebooks] >= 0).all()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_input_of_a_step_is_the_sum_of_its_vectors(pattern):
    order = order_of(4, 3, pattern)
    vectors = jnp.asarray(np.random.default_rng(1).normal(size=(2, order.length, 5)))
    expected = order.to_steps(vectors).sum(2)
    np.testing.assert_allclose(order.sum_steps(vectors), expected, rtol=1e-6)


def test_positions_of_steps():
    flat = order_of((2, 2), 2, "flat")
    np.testing.assert_array_equal(
        flat.step_positions, np.repeat([(1, 1), (1, 2), (2, 1), (2, 2)], 2, axis=0)
    )
    delayed = order_of((2, 2), 3)  # six steps: the last two go on below the grid
    expected = [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)]
    np.testing.assert_array_equal(delayed.step_positions, expected)
    np.testing.assert_array_equal(order_of(3, 2).step_positions[:, 0], [1, 2, 3, 4])


def test_where_clips_end_by_hand():
    order = order_of(3, 2, ends=True, size=4)  # ids 0 to 3, 4 to 7, and 8
    assert (order.vocabulary, order.ended) == (9, 8) and order_of(3, 2, size=4).vocabulary == 8
    whole = jnp.asarray([[0, 5, 1, 6, 2, 7]] * 3, jnp.int32)
    frames = jnp.asarray([1, 2, 3], jnp.int32)
    ids = order.cut(whole, frames)
    np.testing.assert_array_equal(ids, [[0, 5, 8, 8, 8, 8], [0, 5, 1, 6, 8, 8], [0, 5, 1, 6, 2, 7]])
    np.testing.assert_array_equal(order.frames_of(ids), frames)
    counted = [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]
    np.testing.assert_array_equal(order.counted(ids), np.array(counted, bool))
    codes = order.codes_of(ids)
    np.testing.assert_array_equal(codes[1], [0, 1, 1, 2, 4, 4])
    again = order.ids_of(codes.reshape(3, 3, 2)).reshape(3, 6)
    np.testing.assert_array_equal(again, ids)
    np.testing.assert_array_equal(
        order.unflatten(ids)["tokens_1"], [[1, 0, 0], [1, 2, 0], [1, 2, 3]]
    )
