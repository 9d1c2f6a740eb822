"""How outputs are drawn."""

import numpy as np
import pytest

from vqjax.media.gallery import GAP, GAP_SHADE, bands, draw, picture_of, to_uint8


def test_floats_become_the_nearest_level_and_nan_does_not_fail():
    x = np.array([-1.0, -0.999, 0.0, 1.0, 3.0, np.nan], np.float32)
    np.testing.assert_array_equal(to_uint8(x), [0, 0, 128, 255, 255, 128])


def test_small_pictures_are_enlarged_by_a_whole_factor_and_large_ones_are_not():
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    shown = picture_of(picture)
    assert shown.shape == (64, 64, 3)
    np.testing.assert_array_equal(shown[::8, ::8, 0], picture[..., 0])
    assert picture_of(np.zeros((28, 28, 1), np.uint8)).shape == (56, 56, 3)
    assert picture_of(np.zeros((70, 100, 3), np.uint8)).shape == (70, 100, 3)


def test_a_clip_is_shown_by_its_middle_frame():
    clip = np.stack([np.full((64, 64, 3), v, np.uint8) for v in (0, 90, 200)])
    assert (picture_of(clip) == 90).all()


def test_a_signal_is_drawn_as_a_curve():
    flat, wave = (np.sin(np.linspace(0, n, 200))[:, None].astype(np.float32) for n in (0, 20))
    assert (picture_of(flat) != picture_of(wave)).any()
    assert picture_of(wave[:1]).shape == picture_of(wave).shape


def test_originals_stand_above_their_reconstructions():
    x = np.stack([np.full((64, 64, 1), v, np.uint8) for v in range(10, 21)])
    x_hat = x + 100
    sheet = draw(x, x_hat)
    cell = 64 + GAP
    assert sheet.shape == (4 * cell + GAP, 8 * cell + GAP, 3)
    assert (sheet[GAP : GAP + 64, GAP : GAP + 64] == 10).all()
    assert (sheet[cell + GAP : cell + GAP + 64, GAP : GAP + 64] == 110).all()
    assert (sheet[2 * cell + GAP : 2 * cell + GAP + 64, GAP : GAP + 64] == 18).all()
    assert (sheet[-1] == GAP_SHADE).all()


def test_a_sheet_is_cut_into_the_rows_it_was_made_of():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (11, 8, 8, 1)).astype(np.uint8)
    originals, reconstructions = bands(draw(x, 255 - x))
    assert len(originals) == len(reconstructions) == 2
    np.testing.assert_array_equal(originals[0][:64, GAP : GAP + 64], picture_of(x[0]))
    np.testing.assert_array_equal(reconstructions[0][:64, GAP : GAP + 64], picture_of(255 - x[0]))
    np.testing.assert_array_equal(originals[1][:64, GAP : GAP + 64], picture_of(x[8]))


def test_a_foreign_picture_is_not_cut():
    noise = np.random.default_rng(0).integers(0, 256, (134, 90, 3)).astype(np.uint8)
    assert bands(noise) == ([], [])


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="0 originals"):
        draw(np.zeros((0, 8, 8, 1)), np.zeros((0, 8, 8, 1)))
