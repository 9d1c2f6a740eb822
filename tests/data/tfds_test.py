"""TFDS data sets: what is found where, real ones, and everything that can be wrong with one."""

import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.data.makers import pictures, write_tfds
from vqjax.data import TFDS, RandomCrop, RandomFlip, Resize
from vqjax.data.prepared import data_home, find_prepared
from vqjax.data.texts import to_text
from vqjax.data.tf_data import StreamSplit
from vqjax.extras import pip_install
from vqjax.types import ArraySpec, DataError, UsageError

SHARED = os.environ.get("TFDS_DATA_DIR") or ""
ROWS = np.arange(8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def tiny(tmp_path):
    """The home of a data set "tiny" of 20 and 6 pictures in 3 shards."""
    train = {"image": pictures(20), "label": np.arange(20) % 10}
    test = {"image": pictures(6, seed=1), "label": np.arange(6)}
    write_tfds(tmp_path, {"train": train, "test": test}, shards=3)
    return tmp_path


def decoded(source):
    """All eval pictures in order."""
    return np.concatenate([b["image"][b["mask"]] for b in source.eval(8, ROWS)])


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_pictures_and_labels_in_file_order(tiny, cache_bytes):
    source = TFDS("tiny", data_dir=str(tiny), cache_bytes=cache_bytes)
    (batch,) = source.eval(8, ROWS)
    np.testing.assert_array_equal(batch["image"][:6], pictures(6, seed=1))
    np.testing.assert_array_equal(batch["label"], [0, 1, 2, 3, 4, 5, 5, 5])
    assert batch["mask"].tolist() == [True] * 6 + [False] * 2


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
@pytest.mark.parametrize(
    ("split", "rows"),
    [
        ("train[3:15]", np.arange(3, 15)),
        ("train[50%:]", np.arange(10, 20)),
        ("train[:5]+train[18:]", [0, 1, 2, 3, 4, 18, 19]),
    ],
)
def test_parts_of_splits(tiny, split, rows, cache_bytes):
    source = TFDS("tiny", eval_split=split, data_dir=str(tiny), cache_bytes=cache_bytes)
    assert source.num_eval() == len(rows)
    np.testing.assert_array_equal(decoded(source), pictures(20)[rows])


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_captions_as_bytes(tiny, cache_bytes):
    source = TFDS("tiny", data_dir=str(tiny), cache_bytes=cache_bytes, caption_bytes=9)
    assert source.example_spec()["caption"] == ArraySpec((9,), "uint8")
    (batch,) = source.eval(8, ROWS)
    assert [to_text(c) for c in batch["caption"][:6]] == [f"number {i}" for i in range(6)]
    assert batch["caption"].shape == (8, 9) and batch["caption"].dtype == np.uint8
    short = TFDS("tiny", data_dir=str(tiny), cache_bytes=cache_bytes, caption_bytes=4)
    assert to_text(next(short.train(8, 0, 0, ROWS))["caption"][0]) == "numb"


def test_pictures_of_different_sizes(tmp_path):
    """Sizes that only the pictures know: always read at each visit, resized or cut first."""
    big = np.empty(3, object)
    big[:] = [pictures(1, side=n)[0] for n in (8, 10, 14)]
    splits = {"train": {"image": big}, "test": {"image": big}}
    write_tfds(tmp_path, splits, shards=1, image_shape=(None, None, 3))
    with pytest.raises(DataError, match="differ in size"):
        TFDS("tiny", data_dir=str(tmp_path)).check()
    for augment in ((Resize(9), RandomCrop(8), RandomFlip()), (RandomCrop(8),), (Resize((8, 8)),)):
        source = TFDS("tiny", data_dir=str(tmp_path), augment=augment)
        source.check()
        batch = next(source.train(8, 0, 0, ROWS))
        assert batch["image"].shape == (8, 8, 8, 3) and "label" not in batch
    with pytest.raises(DataError, match=r"RandomCrop\(size=12\).*8x8|10x10"):
        next(TFDS("tiny", data_dir=str(tmp_path), augment=(RandomCrop(12),)).train(8, 0, 0, ROWS))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"name": "tiny_"}, DataError, r"prepared there: tiny\): run `vqjax prepare tiny_ "),
        ({"name": "tiny:2.0.0"}, DataError, "not prepared"),
        ({"name": "tiny/config"}, DataError, "not prepared"),
        ({"name": "../tiny"}, UsageError, "name"),
        ({"split": "trian"}, DataError, "no split 'trian': did you mean 'train'"),
        ({"split": "trian[:5]"}, DataError, "did you mean 'train'"),
        ({"split": "test[50%]"}, DataError, r"only support slice syntax. A part is written test\["),
        ({"split": "train[70:]"}, DataError, r"slice \[70:20\] incompatible with 20 examples"),
        ({"split": "train[10:5]"}, UsageError, r"ends before it begins: train\[10:5\]"),
        ({"split": "train[:3]+train[6:5]"}, UsageError, r"ends before it begins: train\[6:5\]"),
        ({"split": "train[5:5]"}, DataError, "has no training examples"),
        ({"name": "TINY"}, DataError, r"did you mean 'tiny'\? .*: run `vqjax prepare tiny "),
        ({"caption_bytes": -1}, UsageError, "caption_bytes is 0 or more, got -1"),
        ({"image_key": "imgae"}, DataError, "did you mean 'image'"),
        ({"image_key": "label"}, DataError, "not uint8"),
        ({"label_key": "caption"}, DataError, "no whole number in 'caption'"),
        ({"caption_bytes": 9, "caption_key": "capt"}, DataError, "did you mean 'caption'"),
        ({"caption_bytes": 9, "caption_key": "label"}, DataError, "no text in 'label'"),
        ({"augment": (RandomCrop(9),)}, DataError, "8x8"),
    ],
)
def test_wrong_settings_are_one_line(tiny, settings, error, message):
    with pytest.raises(error, match=message) as raised:
        TFDS(**{"name": "tiny", "data_dir": str(tiny), **settings}).check()
    assert "\n" not in str(raised.value)


def test_a_missing_data_set_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nowhere"))
    start = time.monotonic()
    with pytest.raises(
        DataError, match="is not prepared .*: run `vqjax prepare mnist` .downloads 12 MB.$"
    ):
        TFDS("mnist").check()
    assert time.monotonic() - start < 1


def test_where_data_sets_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    assert data_home(None) == str(tmp_path / "tensorflow_datasets")
    monkeypatch.setenv("TFDS_DATA_DIR", "/from/environment")
    assert data_home(None) == "/from/environment"
    assert data_home("~/mine") == str(tmp_path / "mine")


def test_versions_and_configs(tmp_path):
    def prepare(*parts):
        directory = tmp_path.joinpath(*parts)
        directory.mkdir(parents=True)
        (directory / "dataset_info.json").write_text("{}")
        return str(directory)

    old, new = prepare("plain", "1.9.0"), prepare("plain", "1.10.0")
    (tmp_path / "plain" / "2.0.0.incompleteX").mkdir()
    (tmp_path / "plain" / "3.0.0").mkdir()  # nothing in it
    assert find_prepared("plain", str(tmp_path)) == new
    assert find_prepared("plain:1.9.0", str(tmp_path)) == old
    assert find_prepared("plain:1.*.*", str(tmp_path)) == new
    assert find_prepared("plain:3.0.0", str(tmp_path)) is None
    only = prepare("several", "2007", "1.0.0")
    assert find_prepared("several", str(tmp_path)) == only
    prepare("several", "2012", "1.0.0")
    assert find_prepared("several/2007", str(tmp_path)) == only
    with pytest.raises(UsageError, match="several/2007, several/2012"):
        find_prepared("several", str(tmp_path))


def shard(home: pathlib.Path) -> pathlib.Path:
    return sorted((home / "tiny" / "1.0.0").glob("tiny-train*"))[1]


@pytest.mark.parametrize(
    ("cache_bytes", "damage"),
    [(0, "cut"), (0, "append"), (0, "gone"), (0, "empty")]
    + [(1 << 30, "cut"), (1 << 30, "gone"), (1 << 30, "empty")],
)
def test_damaged_shards_are_one_line(tiny, cache_bytes, damage):
    path = shard(tiny)
    if damage == "gone":
        path.unlink()
    else:
        content = path.read_bytes()
        changed = {"cut": content[:-9], "append": content + b"12345", "empty": b""}
        path.write_bytes(changed[damage])
    source = TFDS("tiny", data_dir=str(tiny), cache_bytes=cache_bytes)
    with pytest.raises(DataError) as raised:
        next(source.train(8, 0, 0, ROWS))
    assert "\n" not in str(raised.value) and path.name in str(raised.value)


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_a_record_that_turns_bad_is_named_with_its_file(tiny, cache_bytes):
    """Of the same length, and with the checksums of what it holds: only decoding finds out."""
    from vqjax.data.tf_data import tensorflow

    tf, path = tensorflow(), shard(tiny)
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    records[3] = records[3].replace(b"\x89PNG", b"\x89PIG")
    source = TFDS("tiny", data_dir=str(tiny), cache_bytes=cache_bytes)
    source.check()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    with pytest.raises(DataError, match=path.name) as raised:
        for _ in zip(range(4), source.train(8, 0, 0, ROWS), strict=False):
            pass
    assert "\n" not in str(raised.value)
    assert cache_bytes or "the record at byte" in str(raised.value)


def test_what_is_damaged_is_looked_for_among_the_newest():
    fetched = []

    def fetch(indices):
        fetched.extend(indices.tolist())
        return [b""]

    def decode(item, calls):
        if fetched[-1] == 9:
            raise DataError("no picture")

    split = StreamSplit(10, {}, fetch, decode, (), "train")
    assert split._culprit([np.arange(4), np.arange(4, 8), np.arange(8, 10)]) == "train: example 9"
    assert fetched == [8, 9]


def test_damaged_metadata_is_one_line(tiny):
    (tiny / "tiny" / "1.0.0" / "features.json").write_text("{")
    with pytest.raises(DataError, match="cannot be opened"):
        TFDS("tiny", data_dir=str(tiny)).check()


@pytest.mark.parametrize("form", ["name", "snake", "legacy", "text"])
def test_features_of_other_modules_are_not_imported(tiny, tmp_path, monkeypatch, form):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "foreign_features.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path / "code")
    name = "foreign_features.Image"
    old = {"type": name, "content": {}}
    feature = {
        "name": {"pythonClassName": name, "image": {}},
        "snake": {"python_class_name": name, "image": {}},
        "legacy": old,
        "text": {
            "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
            "jsonFeature": {"json": json.dumps({"image": old})},
        },
    }
    path = tiny / "tiny" / "1.0.0" / "features.json"
    features = json.loads(path.read_text())
    features["featuresDict"]["features"]["image"] = feature[form]
    path.write_text(json.dumps(features))
    with pytest.raises(DataError, match=r"names the class 'foreign_features\.Image'"):
        TFDS("tiny", data_dir=str(tiny)).check()
    assert "foreign_features" not in sys.modules


def test_other_file_formats_are_refused(tiny):
    path = tiny / "tiny" / "1.0.0" / "dataset_info.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps({**info, "fileFormat": "riegeli"}))
    with pytest.raises(DataError, match="tfrecord"):
        TFDS("tiny", data_dir=str(tiny)).check()


def test_the_record_table_is_kept_and_made_again_when_files_change(tiny, tmp_path, monkeypatch):
    def read():
        return decoded(TFDS("tiny", data_dir=str(tiny), cache_bytes=0))

    first = read()
    (cached,) = (tmp_path / "cache" / "vqjax" / "records").iterdir()
    cached.write_bytes(b"no table")  # another program wrote here
    np.testing.assert_array_equal(read(), first)
    other = {"image": pictures(6, seed=9), "label": np.arange(6)}
    write_tfds(tmp_path / "new", {"test": other}, shards=3)
    for path in (tmp_path / "new" / "tiny" / "1.0.0").glob("tiny-test*"):
        path.replace(tiny / "tiny" / "1.0.0" / path.name)
    np.testing.assert_array_equal(read(), pictures(6, seed=9))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cached))  # a file: nothing can be kept
    np.testing.assert_array_equal(read(), pictures(6, seed=9))


def test_tensorflow_is_quiet_off_the_accelerator_and_ends_with_the_program(tiny):
    """A process that stops in the middle of reading ahead ends at once and says nothing."""
    code = f"""
import numpy as np
from vqjax.data import TFDS
source = TFDS("tiny", data_dir={str(tiny)!r}, cache_bytes=0)
batches = source.train(8, 0, 0, np.arange(8))
next(batches)
import tensorflow as tf
assert not tf.config.get_visible_devices("GPU") and not tf.config.get_visible_devices("TPU")
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (out.returncode, out.stdout, out.stderr) == (0, "", "")


def test_without_tensorflow_the_line_says_what_to_install(tiny):
    code = f"""
import importlib.machinery
find = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = (
    lambda name, *rest: None if name.split(".")[0] == "tensorflow" else find(name, *rest)
)
import numpy as np
from vqjax.data import TFDS
from vqjax.types import UsageError
for cache_bytes in (0, 1 << 30):
    source = TFDS("tiny", data_dir={str(tiny)!r}, cache_bytes=cache_bytes)
    assert source.num_train() == 20 and source.example_spec()["image"].shape == (8, 8, 3)
    try:
        next(source.train(8, 0, 0, np.arange(8)))
    except UsageError as error:
        assert "[data]" in str(error)
        continue
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize(
    ("raised", "remedy"),
    [
        (
            "ModuleNotFoundError('no', name='importlib_resources')",
            "pip install importlib_resources",
        ),
        ("ModuleNotFoundError('no', name='tensorflow_datasets')", pip_install("data")),
        ("AttributeError('core')", "pip install --no-deps tensorflow-metadata==1.17.3"),
    ],
)
def test_without_tfds_the_line_says_what_helps(tiny, raised, remedy):
    code = f"""
import sys
class Broken:
    def find_spec(self, name, *rest):
        if name == "tensorflow_datasets":
            raise {raised}
sys.meta_path.insert(0, Broken())
from vqjax.data import TFDS
from vqjax.types import UsageError
try:
    TFDS("tiny", data_dir={str(tiny)!r}).num_train()
except UsageError as error:
    print(error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "TFDS, which cannot be imported" in out.stdout and out.stdout.endswith(remedy + "\n")


@pytest.mark.skipif(not os.path.isdir(SHARED), reason="TFDS_DATA_DIR names no directory")
@pytest.mark.parametrize(
    ("name", "shape", "labels", "sizes"),
    [
        ("mnist", (28, 28, 1), True, (60_000, 10_000)),
        ("cifar10", (32, 32, 3), True, (50_000, 10_000)),
    ],
)
def test_real_data_sets(name, shape, labels, sizes):
    if find_prepared(name, None) is None:
        pytest.skip(f"{name} is not prepared in {SHARED}")
    cached = TFDS(name, split="test[:40]", eval_split="test[:40]")
    assert (TFDS(name).num_train(), TFDS(name).num_eval()) == sizes
    assert cached.example_spec()["image"] == ArraySpec(shape, "uint8")
    assert ("label" in cached.example_spec()) == labels
    read = TFDS(name, split="test[:40]", eval_split="test[:40]", cache_bytes=0)
    for a, b in zip(cached.eval(16, np.arange(16)), read.eval(16, np.arange(16)), strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
