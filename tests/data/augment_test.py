"""Augmentations: known values, and that what they draw depends on seed and position alone."""

import numpy as np
import pytest

from vqjax.data import Arrays, Binarize, CenterCrop, RandomCrop, RandomFlip, RandomShift, Resize
from vqjax.data.augment import OF, apply, apply_to, divide, shape_after, specs_after
from vqjax.types import ArraySpec, DataError, UsageError


def ramp(num=1, height=4, width=4, channels=1):
    """Pixel values name their position: 16 * row + column."""
    rows, columns = np.mgrid[:height, :width]
    image = (16 * rows + columns).astype(np.uint8)[..., None].repeat(channels, -1)
    return np.repeat(image[None], num, axis=0)


def test_draws_depend_on_seed_and_position_alone():
    transforms = (RandomCrop(5), RandomFlip())
    images, positions = ramp(12, 8, 8), np.arange(12)
    whole = apply(transforms, images, 3, positions)
    some = np.array([7, 2])
    np.testing.assert_array_equal(apply(transforms, images[some], 3, positions[some]), whole[some])
    assert (apply(transforms, images, 4, positions) != whole).any()
    assert (apply(transforms, images, 3, positions + 12) != whole).any()


def test_crops_reach_every_place_equally():
    crops = apply((RandomCrop(3),), ramp(4_000, 5, 5), 0, np.arange(4_000))
    corners, counts = np.unique(crops[:, 0, 0, 0], return_counts=True)
    assert corners.tolist() == [0, 1, 2, 16, 17, 18, 32, 33, 34]
    assert ((counts - 4_000 / 9) ** 2 / (4_000 / 9)).sum() < 26.1  # 8 degrees of freedom, p = 0.001


def test_half_is_flipped_left_to_right():
    images = ramp(4_000, 2, 3)
    flipped = apply((RandomFlip(),), images, 0, np.arange(4_000))
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (mirrored | (flipped == images).all(axis=(1, 2, 3))).all()
    assert abs(mirrored.mean() - 0.5) < 0.03


def test_two_equal_transforms_draw_apart():
    once = apply((RandomFlip(),), ramp(64), 0, np.arange(64))
    assert (apply((RandomFlip(), RandomFlip()), ramp(64), 0, np.arange(64)) != ramp(64)).any()
    assert (once != ramp(64)).any()


def test_evaluation_crops_the_middle_and_never_flips():
    (image,) = apply((RandomCrop(2), RandomFlip()), ramp(), None, np.arange(1))
    assert image[..., 0].tolist() == [[17, 18], [33, 34]]
    assert (apply((CenterCrop(2),), ramp(), 0, np.arange(1))[0] == image).all()


def test_shifts_reach_every_place_equally_and_repeat_the_border():
    shift = RandomShift(1)
    moved = apply((shift,), ramp(4_500, 5, 5), 0, np.arange(4_500))
    corners, counts = np.unique(moved[:, 2, 2, 0], return_counts=True)
    assert corners.tolist() == [17, 18, 19, 33, 34, 35, 49, 50, 51]
    assert ((counts - 500) ** 2 / 500).sum() < 26.1  # 8 degrees of freedom, p = 0.001
    draws = np.array([[0, 2, 0, 0]], np.uint64)  # one up, one to the right
    assert shift(ramp(1, 3, 3), draws)[0, ..., 0].tolist() == [
        [16, 16, 17],
        [32, 32, 33],
        [32, 32, 33],
    ]
    assert (apply((shift,), ramp(), None, np.arange(1)) == ramp()).all()
    with pytest.raises(UsageError, match="at least 1 position"):
        RandomShift(0)


@pytest.mark.parametrize("shape", [(16, 2), (6, 6, 6, 1)])
def test_crops_take_any_number_of_axes(shape):
    out = apply((RandomCrop(4),), np.zeros((2, *shape), np.float32), 0, np.arange(2))
    assert out.shape == (2, *(4,) * (len(shape) - 1), shape[-1])
    assert out.dtype == np.float32


def levels(num):
    """`num` equal pictures that have every value of uint8 once, in two channels."""
    return np.arange(256, dtype=np.uint8).reshape(1, 16, 8, 2).repeat(num, 0)


def test_a_value_is_bright_with_its_own_probability():
    out = apply((Binarize(),), levels(4_000), 0, np.arange(4_000))
    assert out.dtype == np.uint8 and np.unique(out).tolist() == [0, 255]
    share, expected = (out == 255).mean(0).reshape(-1), np.arange(256) / 255
    assert share[0] == 0 and share[255] == 1
    deviation = np.sqrt(expected * (1 - expected) / 4_000)[1:-1]
    z = (share - expected)[1:-1] / deviation
    assert np.abs(z).max() < 4.5 and abs(z.mean()) < 0.3 and 0.85 < z.std() < 1.15


def test_values_are_binarised_apart_from_each_other_and_at_each_visit_anew():
    grey = np.full((3_000, 4, 3, 1), 127, np.uint8)
    bright = apply((Binarize(),), grey, 0, np.arange(3_000)).reshape(3_000, -1) == 255
    assert np.abs(np.corrcoef(bright.T) - np.eye(12)).max() < 0.08
    again = apply((Binarize(),), grey, 0, np.arange(3_000) + 3_000).reshape(3_000, -1) == 255
    assert abs((bright == again).mean() - 0.5) < 0.02


def test_in_evaluation_a_picture_is_binarised_by_its_content():
    images = levels(3)
    images[1, 0, 0, 0] = 1  # was 0: another picture
    out = apply((Binarize(),), images, None, np.arange(3))
    np.testing.assert_array_equal(out[0], out[2])
    assert (out[0] != out[1]).mean() > 0.2
    np.testing.assert_array_equal(apply((Binarize(),), images[1:2], None, np.array([9]))[0], out[1])
    many = np.random.default_rng(0).integers(0, 256, (500, 6, 6, 1)).astype(np.uint8)
    bright = Binarize()(many, None) == 255
    assert abs(bright.mean() - many.mean() / 255) < 0.01
    assert np.corrcoef(many.reshape(-1), bright.reshape(-1))[0, 1] > 0.5


def test_the_eval_split_is_binarised_the_same_in_any_batch_and_training_batches_are_pure():
    images = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 1)).astype(np.uint8)
    data = Arrays({"image": images}, {"image": images}, augment=(Binarize(),))
    whole = next(data.eval(10, np.arange(10)))["image"]
    parts = [b["image"][b["mask"]] for b in data.eval(3, np.arange(3))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    batches = data.train(8, 5, 0, np.arange(8))
    second = [next(batches), next(batches)][1]["image"]
    resumed = next(data.train(8, 5, 1, np.arange(4, 8)))["image"]  # another host's rows, too
    np.testing.assert_array_equal(resumed, second[4:])


def test_only_bytes_are_binarised():
    with pytest.raises(DataError, match="uint8 values, got float32"):
        Binarize()(np.zeros((1, 2, 2, 1), np.float32), None)


def test_nearest_doubles_pixels_exactly():
    (image,) = Resize(8, method="nearest")(ramp(), None)
    np.testing.assert_array_equal(image, ramp()[0].repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "lanczos"])
def test_halving_is_antialiased(method):
    checks = np.zeros((1, 16, 16, 3), np.uint8)
    checks[:, ::2, ::2] = checks[:, 1::2, 1::2] = 200
    small = Resize(8, method=method)(checks, None)
    assert small.shape == (1, 8, 8, 3) and small.dtype == np.uint8
    assert (np.abs(small[:, 2:-2, 2:-2].astype(int) - 100) <= 6).all()  # a chequered grey


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_channels_are_resized_apart(channels, dtype):
    image = np.random.default_rng(0).integers(0, 255, (1, 8, 8, channels)).astype(dtype)
    whole = Resize(5)(image, None)
    for c in range(channels):
        np.testing.assert_array_equal(whole[..., c : c + 1], Resize(5)(image[..., c : c + 1], None))
    assert whole.dtype == dtype


@pytest.mark.parametrize(
    ("size", "size_before", "expected"),
    [(4, (8, 8, 3), (4, 4, 3)), (4, (8, 12, 1), (4, 6, 1)), ((3, 5), (8, 12, 1), (3, 5, 1))]
    + [(4, (None, None, 3), (None, None, 3)), ((3, 5), (None, None, 3), (3, 5, 3))],
)
def test_resized_shapes(size, size_before, expected):
    assert Resize(size).shape(size_before) == expected
    if None not in size_before:
        assert Resize(size)(np.zeros((1, *size_before), np.uint8), None).shape == (1, *expected)


def test_fixed_transforms_before_the_first_random_one_are_done_once():
    a, b, c = Resize(8), RandomCrop(6), Resize(4)
    assert divide((a, b, c)) == ((a,), (b, c))
    assert divide((a, c)) == ((a, c), ())
    assert shape_after((a, b, c), (16, 16, 3)) == (4, 4, 3)


@pytest.mark.parametrize("crop", [RandomCrop(9), CenterCrop((4, 9))])
def test_crops_larger_than_the_example_name_both_sizes(crop):
    for action in (lambda: crop.shape((8, 8, 1)), lambda: crop(ramp(1, 8, 8), None)):
        with pytest.raises(DataError, match=r"9.*8x8"):
            action()


def test_wrong_axes_and_dtypes():
    with pytest.raises(DataError, match="2 axes"):
        RandomCrop((2, 2)).shape((8, 1))
    with pytest.raises(DataError, match="pictures"):
        Resize(4).shape((8, 1))
    with pytest.raises(DataError, match="int16"):
        Resize(4)(np.zeros((1, 8, 8, 1), np.int16), None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomCrop(0), "at least 1"),
        (lambda: Resize((4, 4, 4)), "height, width"),
        (lambda: Resize(4, method="bicubik"), "did you mean 'bicubic'"),
    ],
)
def test_wrong_settings_are_refused_at_once(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_arrays_that_a_transform_names_share_its_draws():
    images = ramp(64, 6, 6)
    pair = {"image": images, "source": 255 - images, "label": np.arange(64)}
    transforms = (RandomCrop(3, of=("source", "image")), RandomFlip(of=("image", "source")))
    done = apply_to(transforms, pair, 3, np.arange(64))
    np.testing.assert_array_equal(done["source"], 255 - done["image"])
    np.testing.assert_array_equal(done["label"], pair["label"])
    # One that acts on another array draws as if it acted on this one.
    alone = apply((RandomCrop(3), RandomFlip()), images, 3, np.arange(64))
    np.testing.assert_array_equal(done["image"], alone)
    specs = {name: ArraySpec(a.shape[1:], str(a.dtype)) for name, a in pair.items()}
    after = specs_after(transforms, specs)
    assert after["source"].shape == after["image"].shape == done["image"].shape[1:]
    with pytest.raises(DataError, match="acts on 'depth': the examples have image, source, label"):
        specs_after((RandomFlip(of=("depth",)),), specs)


def test_a_source_of_pairs_cuts_both_alike():
    x = ramp(20, 6, 6)
    both = {"image": x, "source": 255 - x}
    source = Arrays(both, both, (CenterCrop(5, of=("image", "source")), RandomCrop(4, of=OF)))
    batch = next(source.train(8, 0, 0, np.arange(8)))
    assert batch["image"].shape == (8, 4, 4, 1) and batch["source"].shape == (8, 5, 5, 1)
    source = Arrays(both, both, (RandomCrop(4, of=("image", "source")),))
    batch = next(source.train(8, 0, 0, np.arange(8)))
    np.testing.assert_array_equal(batch["source"], 255 - batch["image"])
    assert source.example_spec()["source"].shape == (4, 4, 1)
    with pytest.raises(UsageError, match="augment transforms 'depth', there is image, source"):
        Arrays(both, both, (RandomFlip(of=("depth",)),))


def test_pairs_of_unlike_sizes_are_not_cut_apart():
    specs = {"source": ArraySpec((8, 8, 3), "uint8"), "image": ArraySpec((16, 16, 3), "uint8")}
    for transform in (RandomCrop(4, of=tuple(specs)), RandomShift(1, of=tuple(specs))):
        with pytest.raises(DataError, match="source has 8x8, image has 16x16"):
            specs_after((transform,), specs)
    after = specs_after((CenterCrop(4, of=tuple(specs)), RandomFlip(of=tuple(specs))), specs)
    assert {spec.shape for spec in after.values()} == {(4, 4, 3)}


@pytest.mark.parametrize("make", [RandomFlip, lambda of: RandomShift(1, of), CenterCrop])
@pytest.mark.parametrize("shape", [(), (7,)])
def test_what_has_no_axis_is_not_moved(make, shape):
    transform = CenterCrop(1, of=("caption",)) if make is CenterCrop else make(of=("caption",))
    with pytest.raises(DataError, match="caption.*no axes but channels"):
        specs_after((transform,), {"caption": ArraySpec(shape, "int32")})


@pytest.mark.parametrize("of", [(), ("image", "image"), "image"])
def test_arrays_are_named_once_each(of):
    for make in (RandomFlip, Binarize, lambda of: RandomCrop(3, of), lambda of: Resize(3, of=of)):
        with pytest.raises(UsageError, match="of"):
            make(of=of)
