"""Recordings that TFDS has prepared: what becomes of them, and everything that can be wrong."""

import os
import sys

import numpy as np
import pytest

from tests.data.makers import recordings, write_prepared, write_tfds, write_tfds_audio
from vqjax.data import Loudness, TFDSAudio
from vqjax.data.prepared import find_prepared
from vqjax.types import ArraySpec, DataError, UsageError

CLIPS = recordings(20)
NAMES = [f"{i % 10}_{('ann', 'bob')[i // 10]}_{i % 5}.wav" for i in range(20)]
SHARED = os.environ.get("TFDS_DATA_DIR") or ""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def split_of(clips, names=NAMES):
    return {"audio": clips, "audio/filename": names, "label": np.arange(len(clips)) % 10}


@pytest.fixture
def tiny(tmp_path):
    """The home of a data set "tiny": 20 recordings, 12 for "test", 3 shards."""
    test = split_of(recordings(12, seed=1), [f"{i % 10}_cleo_{i}.wav" for i in range(12)])
    write_tfds_audio(tmp_path, {"train": split_of(CLIPS), "test": test}, shards=3)
    return tmp_path


def source_at(home, **settings):
    return TFDSAudio(**{"name": "tiny", "samples": 900, "data_dir": str(home), **settings})


def shown(source, part="eval"):
    """All examples of a part, each with its samples."""
    (batch,) = source.in_order(part, 64)
    keep = batch["mask"]
    clips = [a[:n, 0] for a, n in zip(batch["audio"][keep], batch["length"][keep], strict=True)]
    return clips, {name: array[keep] for name, array in batch.items()}


def assert_same(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_recordings_labels_and_classes_in_file_order(tiny, cache_bytes):
    classes = {"speaker": r"_([a-z]+)_", "digit": r"^(\d)"}
    source = source_at(tiny, eval_split="test", classes=classes, cache_bytes=cache_bytes)
    source.check()
    clips, batch = shown(source)
    assert_same(clips, recordings(12, seed=1))
    np.testing.assert_array_equal(batch["label"], np.arange(12) % 10)
    assert source.class_names("speaker") == ("ann", "bob", "cleo")  # of both splits
    assert set(batch["speaker"]) == {2} and batch["digit"].tolist() == [*range(10), 0, 1]
    assert source.class_names("label") == tuple("0123456789")
    assert source.sample_rate == 8_000
    assert source.notes() == ["20 recordings for training, 12 for evaluation"]


def test_names_say_what_is_held_out(tiny):
    source = source_at(tiny, hold_out=r"_0\.wav$", leave_out="^9", classes={"speaker": "_(.*)_"})
    source.check()
    assert (source.num_train(), source.num_eval()) == (14, 4)
    assert source.notes() == ["14 recordings for training, 4 for evaluation, 2 for neither"]
    held = [0, 5, 10, 15]
    clips, batch = shown(source)
    assert_same(clips, [CLIPS[i] for i in held])
    assert batch["speaker"].tolist() == [0, 0, 1, 1] and batch["label"].tolist() == [0, 5, 0, 5]
    rest = [i for i in range(20) if i not in (*held, 9, 19)]
    clips, batch = shown(source, "train")
    assert_same(clips, [CLIPS[i] for i in rest])
    assert batch["example_id"].tolist() == list(range(14))
    one = source_at(tiny, hold_out="ann", classes={"speaker": "_(.*)_"})
    assert set(shown(one, "train")[1]["speaker"]) == {1}  # numbered by all names


def test_what_is_left_out_of_two_splits(tiny):
    source = source_at(tiny, eval_split="test", leave_out="^1", classes={"who": "_([a-z]+)_"})
    assert (source.num_train(), source.num_eval()) == (18, 10)
    assert_same(shown(source)[0], [c for i, c in enumerate(recordings(12, seed=1)) if i % 10 != 1])
    assert set(shown(source)[1]["who"]) == {2}


def test_sizes_and_spec_are_known_before_anything_is_decoded(tiny):
    source = source_at(tiny, eval_split="train[:25%]", split="test", loudness=Loudness())
    assert (source.num_train(), source.num_eval()) == (12, 5)
    spec = source.example_spec()
    assert spec["audio"] == ArraySpec((900, 1), "int16", medium="audio", rate=8_000.0)
    assert list(spec) == ["audio", "length", "gain", "label", "example_id"]
    assert source.at_hand("train", "label") is None and not source._tables
    next(source.train(4, 0, 0, np.arange(4)))
    assert source.at_hand("train", "label").tolist() == [*range(10), 0, 1]


def test_a_label_may_come_from_the_names(tiny):
    source = source_at(tiny, eval_split="test", classes={"label": "_([a-z]+)_"})
    assert shown(source, "train")[1]["label"].tolist() == [0] * 10 + [1] * 10
    assert source.class_names("label") == ("ann", "bob", "cleo")


@pytest.mark.parametrize(
    ("dtype", "shape", "scale", "values", "result"),
    [
        (np.int64, (None,), None, [1, -32768, 32767], [1, -32768, 32767]),
        (np.int64, (None,), None, [40_000, -40_000], [32767, -32768]),
        (np.int64, (None,), 128, [127, -128, 1], [32512, -32768, 256]),
        (np.int64, (None,), 1 << 31, [1 << 30, -(1 << 31), 0x8001], [16384, -32768, 1]),
        (np.float32, (None,), None, [0.5, -1.0, 1.0], [16384, -32768, 32767]),
        (np.float32, (None,), 2, [0.5, -2.0], [8192, -32768]),
        (np.int64, (None, 2), None, [[1, 2], [4, 8], [-3, 0]], [2, 6, -2]),
    ],
)
def test_values_become_int16(tmp_path, dtype, shape, scale, values, result):
    clips = [np.array(values, dtype)] * 3
    write_tfds_audio(
        tmp_path, {"train": split_of(clips, NAMES[:3])}, shards=1, dtype=dtype, shape=shape
    )
    for cache_bytes in (0, 1 << 30):
        source = source_at(tmp_path, eval_split="train", scale=scale, cache_bytes=cache_bytes)
        assert_same(shown(source)[0], [result] * 3)
        note = "6 recordings exceed full scale and are clipped"
        assert any(note in line for line in source.notes()) == (values[0] == 40_000)
        note = "is scale right?"
        assert any(note in line for line in source.notes()) == (values[0] == 40_000 or 6 in result)


def test_another_rate_is_resampled_and_a_missing_one_must_be_passed(tmp_path, tiny):
    source = source_at(tiny, eval_split="test", rate=4_000)
    assert source.example_spec()["audio"].rate == 4_000.0
    lengths = [-(-len(clip) // 2) for clip in CLIPS]
    assert source.clip_lengths("train").tolist() == lengths
    home = tmp_path / "norate"
    time = np.arange(800)
    sine = np.rint(9_000 * np.sin(time / 9)).astype(np.int64)
    write_tfds_audio(home, {"train": split_of([sine], NAMES[:1])}, shards=1, sample_rate=None)
    with pytest.raises(DataError, match="no record of the rate of 'audio': pass it, as in rate="):
        source_at(home, eval_split="train").check()
    assert_same(shown(source_at(home, eval_split="train", rate=16_000))[0], [sine])
    home = tmp_path / "slow"
    write_tfds_audio(home, {"train": split_of([sine], NAMES[:1])}, shards=1)
    (clip,), _ = shown(source_at(home, eval_split="train", rate=16_000, samples=1_600))
    assert len(clip) == 1_600
    expected = 9_000 * np.sin(np.arange(1_600) / 18)
    assert np.abs(clip - expected)[200:-200].max() < 30


def test_recordings_without_sound_are_counted(tmp_path):
    clips = [np.zeros(0, np.int64), CLIPS[0]]
    write_tfds_audio(tmp_path, {"train": split_of(clips, NAMES[:2])}, shards=1)
    source = source_at(tmp_path, eval_split="train", loudness=Loudness())
    assert source.notes()[1:] == ["2 recordings hold no sound: their length is 0"]  # of both splits
    clips, batch = shown(source)
    assert_same(clips, [[], CLIPS[0]])
    assert batch["gain"][0] == 1.0


def test_floats_that_are_no_numbers(tmp_path):
    bad = [np.array([0.5, value], np.float32) for value in (0, np.nan, np.inf)]
    write_tfds_audio(tmp_path, {"train": split_of(bad, NAMES[:3])}, shards=1, dtype=np.float32)
    with pytest.raises(DataError, match="record 1 holds NaN or infinity"):
        source_at(tmp_path, eval_split="train").check()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"name": "tiny_"}, DataError, r"prepared there: tiny\): run `vqjax prepare tiny_ "),
        ({"split": "trian"}, DataError, "no split 'trian': did you mean 'train'"),
        ({"eval_split": None}, UsageError, "set one of them, got None and None"),
        ({"hold_out": "0"}, UsageError, "set one of them, got 'test' and '0'"),
        ({"audio_key": "adio"}, DataError, "no feature 'adio': did you mean 'audio'"),
        ({"audio_key": "label"}, DataError, r"not numbers \[n\] or \[n, C\]"),
        ({"audio_key": "audio/filename"}, DataError, r"not numbers \[n\] or \[n, C\]"),
        ({"label_key": "audio/filename"}, DataError, "no whole number in 'audio/filename'"),
        ({"leave_out": "_1", "name_key": "nam"}, DataError, r"no file names in 'nam' \(name_key\)"),
        ({"leave_out": "("}, UsageError, r"TFDSAudio: leave_out='\(' is no regular expression"),
        ({"leave_out": "nobody"}, DataError, "leave_out='nobody' is found in none of 32 names"),
        ({"classes": {"gain": "(a)"}}, UsageError, "a class cannot be named 'gain'"),
        ({"classes": {"who": "a"}}, UsageError, r"classes\['who'\]='a' has no group"),
        ({"classes": {"who": "_(ann)_"}}, DataError, "finds no class in the name '0_bob_0.wav'"),
        ({"classes": {"label": "(a)"}, "label_key": "label"}, UsageError, "be named 'label'"),
        ({"rate": 1}, UsageError, "rate lies in 1000..768000, got 1"),
        ({"scale": 0}, UsageError, "scale is greater than 0, got 0"),
        ({"scale": float("nan")}, UsageError, "scale is greater than 0, got nan"),
        ({"cache_bytes": -1}, UsageError, "cache_bytes is 0 or more"),
        ({"samples": 0}, UsageError, "TFDSAudio: samples is at least 1"),
        ({"crop": "end"}, UsageError, "TFDSAudio: crop is"),
    ],
)
def test_wrong_settings_are_one_line(tiny, settings, error, message):
    with pytest.raises(error, match=message) as raised:
        source_at(tiny, **{"eval_split": "test", **settings}).check()
    assert "\n" not in str(raised.value)


def test_classes_without_names(tiny):
    with pytest.raises(UsageError, match="no names of classes 'lable': did you mean 'label'"):
        source_at(tiny, eval_split="test").class_names("lable")


def test_pictures_are_no_sound(tmp_path):
    write_tfds(tmp_path, {"train": {"image": np.zeros((3, 4, 4, 1), np.uint8)}}, shards=1)
    for key in ("image", "audio"):
        with pytest.raises(DataError, match="not numbers|no feature 'audio'"):
            source_at(tmp_path, eval_split="train", audio_key=key).check()


def test_sound_that_tfds_keeps_as_files_is_not_read(tmp_path):
    from vqjax.data.tf_data import tensorflow_datasets

    audio = tensorflow_datasets().features.Audio(file_format="wav", lazy_decode=True)
    write_prepared(tmp_path, {"audio": audio, "other": audio}, {}, shards=1)
    with pytest.raises(DataError, match="feature 'audio' of 'tiny' is Audio"):
        source_at(tmp_path, eval_split="train", rate=8_000).check()


@pytest.mark.parametrize("rate", [1, 4_000_000_000 >> 1])
def test_rates_that_no_sound_has(tmp_path, rate):
    write_tfds_audio(tmp_path, {"train": split_of(CLIPS)}, shards=1, sample_rate=rate)
    with pytest.raises(DataError, match=f"has 'audio' at {rate} Hz: 1000..768000 are read"):
        source_at(tmp_path, eval_split="train", rate=8_000).check()


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
@pytest.mark.parametrize("damage", ["cut", "gone", "empty", "flipped"])
def test_damaged_shards_are_one_line(tiny, cache_bytes, damage):
    path = sorted((tiny / "tiny" / "1.0.0").glob("tiny-train*"))[1]
    content = path.read_bytes()
    flipped = bytes([*content[:500], content[500] ^ 1, *content[501:]])
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": content[:-9], "empty": b"", "flipped": flipped}[damage])
    with pytest.raises(DataError) as raised:
        source_at(tiny, eval_split="test", cache_bytes=cache_bytes).check()
    assert "\n" not in str(raised.value) and path.name in str(raised.value)


def test_what_is_read_at_each_visit_is_looked_through_once(tiny, monkeypatch):
    settings = {"hold_out": r"_0\.wav$", "loudness": Loudness(), "cache_bytes": 0}
    first = shown(source_at(tiny, **settings))
    with monkeypatch.context() as patch:
        patch.setattr("vqjax.data.tfds_recordings._decoded", None)
        again = shown(source_at(tiny, **settings))
        with pytest.raises(TypeError):  # other gains, so it is looked through again
            shown(source_at(tiny, **{**settings, "loudness": Loudness(-20.0)}))
        with pytest.raises(TypeError):
            shown(source_at(tiny, **{**settings, "cache_bytes": 1 << 30}))
    assert_same(first[0], again[0])
    for name in first[1]:
        np.testing.assert_array_equal(first[1][name], again[1][name])
    splits = {"train": split_of([clip[:5] for clip in CLIPS])}
    source = source_at(tiny, **settings)
    source.check()
    write_tfds_audio(tiny / "other", splits, shards=3)
    for path in (tiny / "other" / "tiny" / "1.0.0").glob("tiny-train*"):
        path.replace(tiny / "tiny" / "1.0.0" / path.name)
    assert_same(shown(source_at(tiny, **settings))[0], [CLIPS[i][:5] for i in (0, 5, 10, 15)])
    with pytest.raises(DataError, match="has another length than when it was first read"):
        shown(source)


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_reading_needs_no_pydub(tiny, monkeypatch, cache_bytes):
    monkeypatch.setitem(sys.modules, "pydub", None)
    assert_same(shown(source_at(tiny, eval_split="train", cache_bytes=cache_bytes))[0], CLIPS)


@pytest.mark.skipif(not os.path.isdir(SHARED), reason="TFDS_DATA_DIR names no directory")
def test_spoken_digits():
    if find_prepared("spoken_digit", None) is None:
        pytest.skip(f"spoken_digit is not prepared in {SHARED}")
    classes = {"speaker": r"^\d+_([a-z]+)_", "digit": r"^(\d)_"}
    settings = {"hold_out": r"_[0-4]\.wav$", "leave_out": "theo", "classes": classes}
    source = TFDSAudio("spoken_digit", 4_096, **settings, loudness=Loudness())
    source.check()
    assert (source.num_train(), source.num_eval()) == (2_250, 250)
    assert source.example_spec()["audio"].rate == 8_000.0
    speakers = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
    assert source.class_names("speaker") == speakers
    assert source.class_names("label") == source.class_names("digit") == tuple("0123456789")
    (batch,) = source.eval(250, np.arange(250))
    np.testing.assert_array_equal(batch["label"], batch["digit"])
    assert np.bincount(batch["speaker"], minlength=6).tolist() == [50, 50, 50, 50, 0, 50]
    assert source.clip_lengths("train").min() == 1_149
    streamed = TFDSAudio("spoken_digit", 4_096, **settings, loudness=Loudness(), cache_bytes=0)
    a, b = (next(s.train(16, 0, 3, np.arange(16))) for s in (source, streamed))
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
