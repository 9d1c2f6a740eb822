"""The arithmetic of the data order, and what needs no TensorFlow."""

import itertools
import re
import subprocess
import sys

import numpy as np
import pytest

from vqjax.config import MissingArray
from vqjax.data import Arrays, RandomCrop, RandomFlip, Resize
from vqjax.data.source import Visits, hash64, permutation
from vqjax.types import ArraySpec, DataError, UsageError


def images(num=10, side=4):
    return np.arange(num * side * side, dtype=np.uint8).reshape(num, side, side, 1)


def test_hash_is_splitmix64():
    # The first output of splitmix64 seeded with 0: public test vector.
    assert hash64(0).tolist() == [0xE220A8397B1DCDAF]


def test_the_order_is_pinned():
    """A change here would give every run another order when it is resumed."""
    assert permutation(0, 0, 10).tolist() == [7, 9, 1, 5, 3, 6, 2, 4, 0, 8]
    assert permutation(0, 1, 10).tolist() == [0, 3, 2, 5, 1, 6, 9, 8, 4, 7]


def test_permutations_are_permutations_and_differ():
    orders = [permutation(seed, epoch, 50) for seed in (0, 1, -1, 2**40) for epoch in range(3)]
    for order in orders:
        assert sorted(order) == list(range(50))
    assert len({order.tobytes() for order in orders}) == len(orders)


def test_places_are_uniform():
    """Where example 0 of 10 ends up over 5,000 epochs: chi-squared, 9 degrees of freedom."""
    ranks = [int(np.argmin(permutation(0, epoch, 10))) for epoch in range(5_000)]
    counts = np.bincount(ranks, minlength=10)
    assert ((counts - 500) ** 2 / 500).sum() < 27.9  # p = 0.001


def test_positions_by_hand():
    visits = Visits(num=5, batch_size=4, rows=np.array([1, 3]), seed=0, start=2)
    visit = visits.at(2)
    assert visit.positions.tolist() == [9, 11]  # epoch 1 rank 4, epoch 2 rank 1
    assert visit.indices.tolist() == [permutation(0, 1, 5)[4], permutation(0, 2, 5)[1]]
    assert list(itertools.islice(visits.steps(), 3)) == [2, 3, 4]


def test_eval_positions_by_hand():
    visits = Visits(num=5, batch_size=4, rows=np.array([0, 2]), seed=None)
    assert list(visits.steps()) == [0, 1]
    assert visits.at(1).indices.tolist() == [4, 4]
    assert visits.at(1).mask.tolist() == [True, False]


def test_a_batch_larger_than_the_data_spans_epochs():
    arrays = Arrays({"image": images(3)}, {"image": images(1)})
    ids = next(arrays.train(7, 0, 0, np.arange(7)))["example_id"]
    assert sorted(ids[:3]) == sorted(ids[3:6]) == [0, 1, 2]


@pytest.mark.parametrize("shape", [(16, 1), (4, 4, 4, 2), ()])
def test_arrays_of_any_rank_and_name(shape):
    values = np.random.default_rng(0).normal(size=(6, *shape)).astype(np.float32)
    arrays = Arrays({"signal": values}, {"signal": values[:3]})
    arrays.check()
    assert arrays.example_spec()["signal"] == ArraySpec(shape, "float32")
    batch = next(arrays.train(4, 0, 0, np.arange(4)))
    np.testing.assert_array_equal(batch["signal"], values[batch["example_id"]])


def test_arrays_labels_are_int32_and_ids_stay_the_users():
    train = {"image": images(), "label": np.arange(10), "example_id": np.arange(10) * 7}
    batch = next(Arrays(train, train).train(4, 0, 0, np.arange(4)))
    assert batch["label"].dtype == np.int32
    np.testing.assert_array_equal(batch["example_id"], batch["label"] * 7)


def test_fixed_transforms_come_first_and_once():
    arrays = Arrays(
        {"image": images()},
        {"image": images(2)},
        augment=(Resize(8, method="nearest"), RandomCrop(6), RandomFlip()),
    )
    assert arrays.example_spec()["image"] == ArraySpec((6, 6, 1), "uint8")
    batch = next(arrays.eval(2, np.arange(2)))
    twice = images(2).repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(batch["image"], twice[:, 1:7, 1:7])


def test_batches_do_not_alias_the_arrays():
    arrays = Arrays({"image": images()}, {"image": images()})
    batch = next(arrays.eval(10, np.arange(10)))
    batch["image"][:] = 0
    np.testing.assert_array_equal(next(arrays.eval(10, np.arange(10)))["image"], images())


def test_missing_arrays_raise_only_when_they_are_needed():
    missing = MissingArray((10, 4, 4, 1), "uint8", "0" * 64)
    arrays = Arrays({"image": missing}, {"image": missing}, augment=(Resize(8),))
    assert arrays.num_train() == 10
    assert arrays.example_spec()["image"] == ArraySpec((8, 8, 1), "uint8")
    with pytest.raises(DataError, match="pass them again"):
        arrays.check()
    with pytest.raises(DataError, match="pass them again"):
        next(arrays.train(2, 0, 0, np.arange(2)))
    with pytest.raises(DataError, match="pass them again"):
        next(arrays.eval(2, np.arange(2)))


@pytest.mark.parametrize(
    ("train", "augment", "message"),
    [
        ({}, (), "map names to arrays"),
        ({"image": [1, 2]}, (), "no array"),
        ({"image": np.float32(1)}, (), "no array"),
        ({"image": np.zeros((3, 2, 2, 1)), "label": np.zeros(2)}, (), "differ in their first axis"),
        ({"signal": np.zeros((3, 8, 1))}, (RandomFlip(),), "augment transforms 'image'"),
    ],
)
def test_wrong_arrays_are_refused_at_once(train, augment, message):
    with pytest.raises(UsageError, match=message):
        Arrays(train, {"image": images()}, augment=augment)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            np.linspace(0, 255, 40),
            r"train_arrays\['image'\] is float32 from 0 to 255: .*/ 127.5 - 1",
        ),
        (np.linspace(-2.1, 2.6, 40), r"from -2.1 to 2.6: wanted uint8, or floats in \[-1, 1\]"),
        (np.arange(40), "is int64: .*astype.np.uint8."),
        (np.arange(40) % 2 == 0, r"is bool: .*astype\(np.uint8\) \* 255"),
        (np.where(np.arange(40) == 9, np.nan, 0.5), "holds NaN or infinity, first in row 2"),
        (np.where(np.arange(40) == 9, np.inf, 0.5), "holds NaN or infinity, first in row 2"),
    ],
)
def test_pictures_in_another_range_are_refused(image, message):
    dtype = np.float32 if image.dtype == float else image.dtype
    bad, good = image.astype(dtype).reshape(10, 2, 2, 1), np.zeros((1, 2, 2, 1), dtype)
    with pytest.raises(DataError, match=message):
        Arrays({"image": bad}, {"image": good}).check()
    with pytest.raises(DataError, match=message.replace("train_arrays", "eval_arrays")):
        Arrays({"image": bad if dtype in (int, bool) else good}, {"image": bad}).check()


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("image", np.linspace(0, 1, 40), "from 0 to 1: .* was 2 . x - 1 meant"),
        ("image", np.linspace(-1.1, 1.2, 40), "from -1.1 to 1.2: .* clipped"),
        ("image", (np.arange(40) % 2).astype(np.uint8), "uint8 from 0 to 1: .* was x . 255 meant"),
        ("signal", np.linspace(-9, 9, 40), "from -9 to 9"),
        ("signal", np.where(np.arange(40) == 39, np.nan, 0), "NaN or infinity, first in row 9"),
        ("image", np.linspace(-1, 1, 40), None),
        ("image", np.zeros(40, np.uint8), None),
        ("size", np.arange(40) * 1000, None),
    ],
)
def test_an_unusual_range_is_said(name, values, words):
    dtype = np.float32 if values.dtype == float else values.dtype
    array = values.astype(dtype).reshape(10, 2, 2, 1)
    source = Arrays({name: array}, {name: array})
    source.check()
    notes = source.notes()
    assert len(notes) == (0 if words is None else 2)
    for note in notes:
        assert re.search(words, note) and "_arrays" in note


def test_training_and_eval_must_agree():
    arrays = Arrays({"image": images(side=4)}, {"image": images(side=2)})
    with pytest.raises(DataError, match="differ"):
        arrays.check()


def test_no_training_examples():
    arrays = Arrays({"image": images(0)}, {"image": images(2)})
    for action in (arrays.check, lambda: arrays.train(2, 0, 0, np.arange(2))):
        with pytest.raises(DataError, match="no training examples"):
            action()


def test_no_eval_examples_make_no_batches_and_are_told_before_training():
    arrays = Arrays({"image": images(2)}, {"image": images(0)})
    assert list(arrays.eval(2, np.arange(2))) == []
    with pytest.raises(DataError, match="no eval examples.*name another split"):
        arrays.check()


def test_arrays_and_the_import_need_no_tensorflow():
    code = """
import sys
import numpy as np
from vqjax.data import *
x = np.zeros((4, 8, 8, 3), np.uint8)
source = Arrays({"image": x}, {"image": x}, augment=(Resize(6), RandomCrop(4), RandomFlip()))
source.check()
next(source.train(2, 0, 0, np.arange(2)))
Digits(); TFDS("mnist"); Folder("nowhere", image_size=8).example_spec()
TFDSAudio("spoken_digit", 64, hold_out="0"); next(Tones(64).train(2, 0, 0, np.arange(2)))
print([m for m in ("tensorflow", "tensorflow_datasets", "sklearn") if m in sys.modules])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
