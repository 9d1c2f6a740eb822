"""The data that come with vqjax: always the same, without files, TensorFlow or TFDS."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from tests.data.makers import pictures, write_folder, write_tfds
from vqjax.data import Digits, RandomCrop, RandomFlip, Resize, Shapes
from vqjax.data.cache import cache_home
from vqjax.data.digits import split_indices
from vqjax.data.shapes import source as shapes_source
from vqjax.data.shapes import splits

CROPS = (Resize((12, 12)), RandomCrop(8), RandomFlip())
# Recorded while these sources read files that TFDS had prepared: three training batches (seed 5,
# steps 74 to 76 of 20 examples, rows 3 to 16), the first and the last of 64 for evaluation.
DIGITS = {
    (): ["04bc2d9022ec83c0", "8762e32f488a7076", "7167d8983c914474", "f686629295230095",
         "261b9f143ebc5249"],
    CROPS: ["7347053aadeeeaf2", "571e0092d1470f1e", "67234414477dd61e", "fd101f02fb2e8114",
            "ef23dd7e448d0a37"],
}  # fmt: skip
SHAPES = {
    Shapes(32): ["50da0137b90f142a", "d1fd23137516144a", "12de7c2ff962b909", "1ae608f07e58e355",
                 "5089380bca259e56"],
    Shapes(64, "zh", "all", "held_out"): [
        "0ca1730bd5908c07", "14bc448a6eafb0f2", "224c52dc69ccce16", "4553555031810dc0",
        "7d3c399a1e4b2266"],
    Shapes(32, augment=(Resize((16, 16)),)): [
        "956fa2ec8d736ae7", "4264ff5ae6fef56d", "624ce8a399158e2e", "6c6c0e24aabfc5f9",
        "3c15c2a43f6a4b83"],
}  # fmt: skip


def digest(batch):
    digest = hashlib.sha256()
    for name in sorted(batch):
        array = batch[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def trained_on(source):
    batches = source.train(20, 5, 74, np.arange(3, 17))
    return [digest(next(batches)) for _ in range(3)]


def evaluated_on(source):
    batches = list(source.eval(64, np.arange(64)))
    return [digest(batches[0]), digest(batches[-1])]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("augment", DIGITS, ids=["plain", "crops"])
def test_digits_are_those_of_ever(augment, tmp_path, monkeypatch):
    """Also where a copy lies that TFDS would take for them."""
    train = {"image": pictures(20), "label": np.arange(20) % 10}
    write_tfds(tmp_path, {"train": train, "test": train}, shards=1)
    (tmp_path / "tiny").rename(tmp_path / "digits")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    for source in (Digits(augment), Digits(augment, data_dir=str(tmp_path))):
        source.check()
        assert trained_on(source) + evaluated_on(source) == DIGITS[augment]


@pytest.mark.parametrize("source", SHAPES)
def test_shapes_are_those_of_ever(source):
    assert evaluated_on(source) == SHAPES[source][3:]


@pytest.mark.slow  # 30,000 pictures
@pytest.mark.parametrize("source", SHAPES)
def test_shapes_for_training_are_those_of_ever(source):
    assert trained_on(source) == SHAPES[source][:3]


def test_what_took_long_is_drawn_once(monkeypatch):
    monkeypatch.setitem(splits.NUM_EXAMPLES, "test", 9)
    monkeypatch.setattr(shapes_source, "_CACHED_FROM", 9)
    first = shapes_source.draw_split("test", 32)
    assert len(list((cache_home() / "shapes").iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr(shapes_source, "example", None)
        again = shapes_source.draw_split("test", 32)
    assert first.keys() == again.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    (file,) = (cache_home() / "shapes").iterdir()
    file.write_bytes(file.read_bytes()[:-100])  # torn: drawn again
    np.testing.assert_array_equal(shapes_source.draw_split("test", 32)["image"], first["image"])


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    source, digits, parts = Digits(), load_digits(), split_indices()
    assert (source.num_train(), source.num_eval()) == (1500, 297)
    assert sorted(parts["train"] + parts["eval"]) == list(range(1797))
    (batch,) = source.eval(297, np.arange(297))
    levels = np.rint(digits.images[parts["eval"]] / 16 * 255)
    np.testing.assert_array_equal(batch["image"][..., 0], levels)
    np.testing.assert_array_equal(batch["label"], digits.target[parts["eval"]])
    assert len(np.unique(batch["image"])) == 17
    assert np.bincount(batch["label"]).min() > 15  # every digit is held out


@pytest.mark.parametrize(
    "missing", ["tensorflow,tensorflow_datasets", "tensorflow_datasets", "sklearn"]
)
def test_they_need_no_tensorflow_and_digits_say_what_they_need(missing, tmp_path):
    """Folders do without TFDS, too, and read through TensorFlow."""
    write_folder(tmp_path, pictures(8))
    folder = f", Folder({str(tmp_path)!r}, image_size=8)" if "tensorflow," not in missing else ""
    code = f"""
import sys
for name in {missing.split(",")}:
    sys.modules[name] = None
import numpy as np
from vqjax.data import Arrays, Digits, Folder, Shapes
from vqjax.types import UsageError
rows, pictures = np.arange(8), {{"image": np.zeros((8, 4, 4, 1), np.uint8)}}
for source in (Digits(), Shapes(), Arrays(pictures, pictures){folder}):
    try:
        source.check()
        next(iter(source.eval(8, rows)))
    except UsageError as error:
        print(error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = out.stdout.splitlines()
    assert len(lines) == (missing == "sklearn")
    assert all("come with scikit-learn, which cannot be imported" in line for line in lines)
