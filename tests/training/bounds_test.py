"""Numbers out of range are named, with their example, before they are trained on."""

import itertools

import numpy as np
import pytest

from tests import tiny
from tests.data.makers import pictures, write_folder, write_tfds
from vqjax.data import TFDS, Arrays, Folder
from vqjax.priors import ClassLabel, Text
from vqjax.training.bounds import check_at_hand, within_bounds
from vqjax.training.loop import train
from vqjax.types import Bound, DataError

ROWS = np.arange(4)


class Task:
    def __init__(self, **bounds):
        self.bounds = bounds


def arrays(labels):
    x = np.zeros((len(labels), 8, 8, 1), np.uint8)
    return Arrays({"image": x, "label": labels}, {"image": x[:1], "label": np.array([0])})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 3, 1]), "training example 1: label 3: wanted 0 to 2 .task.classes=3."),
        (np.array([0, -1, 1]), "training example 1: label -1: wanted"),
        (np.array([0, 1, 2**32 + 1]), "training example 2: label 4294967297: wanted"),
        (np.array([0, 1, 1.5]), "training example 2: label 1.5: wanted"),
        (np.array([np.nan, 1, 2]), "training example 0: label nan: wanted"),
    ],
)
def test_labels_in_memory_are_looked_at_first(labels, message):
    with pytest.raises(DataError, match=message):
        check_at_hand(Task(label=Bound(0, 3, "task.classes=3")), arrays(labels))


def test_nothing_is_written_for_a_label_that_is_no_class(tmp_path):
    labels = np.arange(64) % 10
    labels[57] = 10  # behind the first batches
    x = tiny.arrays().train_arrays["image"]
    data = Arrays({"image": x, "label": labels}, {"image": x, "label": np.arange(64) % 10})
    with pytest.raises(DataError, match="training example 57: label 10: wanted 0 to 9"):
        train(tiny.classifier(data=data), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("cache_bytes", "seen"), [(1 << 30, 0), (0, 1)], ids=["in memory", "streamed"]
)
def test_labels_of_a_data_set_are_looked_at_as_they_are_read(tmp_path, cache_bytes, seen):
    """All of a split that is decoded at once at its first batch, others batch by batch."""
    train_split = {"image": pictures(20), "label": np.arange(20) % 5}
    write_tfds(tmp_path, {"train": train_split, "test": train_split}, shards=2)
    source = TFDS("tiny", data_dir=str(tmp_path), cache_bytes=cache_bytes)
    task = Task(label=Bound(0, 4, "task.classes=4"))
    check_at_hand(task, source)  # known to nobody yet
    batches = within_bounds(task, source, "eval", source.eval(4, ROWS))
    assert len(list(itertools.islice(batches, seen))) == seen
    with pytest.raises(DataError, match="eval example 4: label 4: wanted 0 to 3"):
        next(batches)


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_labels_of_a_folder_are_known_before_any_batch(tmp_path, monkeypatch, cache_bytes):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_folder(tmp_path / "pictures", pictures(12), classes=3)
    source = Folder(str(tmp_path / "pictures"), image_size=8, cache_bytes=cache_bytes)
    check_at_hand(Task(label=Bound(0, 3, "")), source)
    with pytest.raises(DataError, match="label 2: wanted 0 to 1"):
        check_at_hand(Task(label=Bound(0, 2, "")), source)


def test_examples_are_named_by_their_ids():
    batches = [{"label": np.array([0, 9]), "example_id": np.array([70, 71])}]
    with pytest.raises(DataError, match="training example 71: label 9"):
        list(within_bounds(Task(label=Bound(0, 9, "")), None, "train", iter(batches)))


def test_conditions_say_their_bounds():
    label, text = ClassLabel(3).bound, Text(vocabulary=260, tokens=2, width=8).bound
    batches = [{"label": np.array([-1, 2]), "caption": np.array([[0, 259], [1, 2]])}]
    task = Task(label=label, caption=text)
    assert list(within_bounds(task, None, "eval", iter(batches))) == batches
    for name, value, message in (
        ("label", np.array([0, 3]), "example 1: label 3: wanted 0 to 2, or -1 for none"),
        ("caption", np.array([[0, 1], [2, 260]]), "example 1: caption 260: wanted 0 to 259"),
    ):
        bad = itertools.chain(batches, [{**batches[0], name: value}])
        with pytest.raises(DataError, match=message):
            list(within_bounds(task, None, "eval", bad))
