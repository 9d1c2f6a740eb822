import numpy as np
import pytest

from vqjax.data import RandomResizedCrop, RandomRotation
from vqjax.data.augment import apply, apply_to, shape_after
from vqjax.types import DataError, UsageError

RAMP = (np.arange(32) + 0.5) / 32 * 255
# Brightness grows by columns, and by rows in the second channel.
PICTURE = np.stack([np.tile(RAMP, (32, 1)), np.tile(RAMP[:, None], 32)], -1).astype(np.float32)
MANY = np.repeat(PICTURE[None], 400, axis=0)
POSITIONS = np.arange(400)


def windows(crop):
    """Sizes and middles of the windows that are drawn, in shares of the picture: [400, 2] each."""
    views = apply([crop], MANY, 3, POSITIONS) / 255.0
    first, last = views[:, 1:-1, 1:-1][:, 0, 0], views[:, 1:-1, 1:-1][:, -1, -1]
    return (last - first), (first + last) / 2


def test_windows_have_the_areas_and_shapes_that_were_said():
    sizes, _ = windows(RandomResizedCrop(16, scale=(0.2, 0.4), ratio=(0.5, 2.0)))
    sizes = sizes * 16 / 13  # between the middles of the pixels that were looked at
    width, height = sizes.T
    assert 0.19 < (width * height).min() < 0.22 and 0.38 < (width * height).max() < 0.42
    ratio = width / height
    assert 0.48 < ratio.min() < 0.55 and 1.8 < ratio.max() < 2.1
    assert abs(np.log(ratio).mean()) < 0.08  # none is preferred


def test_windows_reach_every_place():
    _, middles = windows(RandomResizedCrop(8, scale=(0.25, 0.25), ratio=(1.0, 1.0)))
    assert (middles.min(axis=0) < 0.27).all() and (middles.max(axis=0) > 0.73).all()
    assert np.abs(middles.mean(axis=0) - 0.5).max() < 0.03


def test_in_evaluation_the_middle_is_resized():
    wide = np.repeat(PICTURE, 2, axis=1)[None]  # [1, 32, 64, 2]
    view = apply([RandomResizedCrop(8, scale=(0.1, 0.2))], wide, None, np.arange(1))[0]
    assert view.shape == (8, 8, 2)
    assert view[..., 0].min() > 0.24 * 255 and view[..., 0].max() < 0.76 * 255
    assert view[0, :, 1].max() < 0.1 * 255 and view[-1, :, 1].min() > 0.9 * 255
    np.testing.assert_array_equal(apply([RandomRotation(30.0)], wide, None, np.arange(1)), wide)


def test_angles_reach_both_ways_and_no_farther():
    turned = apply([RandomRotation(20.0)], MANY, 0, POSITIONS)
    middle = turned[:, 12:20, 12:20]
    along = np.diff(middle[..., 0], axis=2).mean(axis=(1, 2))
    across = np.diff(middle[..., 0], axis=1).mean(axis=(1, 2))
    angles = np.degrees(np.arctan2(across, along))
    assert -20.5 < angles.min() < -18 and 18 < angles.max() < 20.5 and abs(angles.mean()) < 2
    assert turned.min() >= 0.0 and np.abs(turned.mean() - PICTURE.mean()) < 2
    corners = turned[:, 0, 0, 0]
    assert corners.max() < 0.4 * 255  # mirrored, not filled from elsewhere


@pytest.mark.parametrize("transform", [RandomResizedCrop(9), RandomRotation(45.0)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_views_depend_on_seed_and_position_alone(transform, dtype, channels):
    images = np.random.default_rng(0).integers(0, 255, (6, 12, 15, channels)).astype(dtype)
    whole = apply([transform], images, 5, np.arange(6))
    assert whole.dtype == dtype and whole.shape[1:] == shape_after([transform], images.shape[1:])
    part = apply([transform], images[2:4], 5, np.arange(2, 4))
    np.testing.assert_array_equal(part, whole[2:4])
    assert (apply([transform], images, 6, np.arange(6)) != whole).any()


def test_arrays_of_other_sizes_have_the_same_view():
    small = PICTURE[None, ::2, ::2]
    crop = RandomResizedCrop(8, of=("image", "small"))
    arrays = {"image": PICTURE[None], "small": small}
    for position in range(4):
        found = apply_to([crop], arrays, 1, np.array([position]))
        assert np.abs(found["image"] - found["small"]).max() < 0.06 * 255


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomResizedCrop(0), "a size of at least 1"),
        (lambda: RandomResizedCrop(8, scale=(0.5, 1.5)), "scale=.*up to 1"),
        (lambda: RandomResizedCrop(8, scale=(0.5, 0.2)), "the least first"),
        (lambda: RandomResizedCrop(8, ratio=(0.0, 1.0)), "ratio=.*above 0"),
        (lambda: RandomRotation(0.0), "wanted above 0, up to 180"),
        (lambda: RandomRotation(10.0, of=()), "name one array or more"),
    ],
)
def test_wrong_settings_are_refused_at_once(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_what_is_no_picture_is_refused():
    for transform in (RandomResizedCrop(8), RandomRotation(10.0)):
        with pytest.raises(DataError, match="takes pictures"):
            shape_after([transform], (16, 2))
        with pytest.raises(DataError, match="uint8 or float32 pictures, got int32"):
            apply([transform], np.zeros((1, 8, 8, 1), np.int32), 0, np.arange(1))
