"""Folders of sound: any rate, any format, any damage; what decides class and split."""

import dataclasses
import itertools
import os
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from tests.data.makers import recordings, write_sound_folder
from tests.media.hostile_sounds import FEW, encoded, hostile_sounds, tone
from vqjax import config
from vqjax.data import CaptionsByLabel, Loudness, SoundFolder, sound_files
from vqjax.data.in_threads import in_order, workers
from vqjax.data.listing import chosen_for_eval
from vqjax.data.texts import to_text
from vqjax.media.audio import FORMATS, read_sound, resample, write_sound
from vqjax.media.sound_file import OpenSound
from vqjax.types import ArraySpec, DataError, UsageError

RATE, ROWS = 8_000, np.arange(8)
PATHS = {"cached": 1 << 30, "streamed": 0}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    """Thirty good files in three classes, of five kinds."""
    write_sound_folder(tmp_path / "sound", recordings(30))
    return tmp_path / "sound"


@pytest.fixture(params=PATHS)
def cache_bytes(request):
    return PATHS[request.param]


def shown(source, part="eval"):
    """All examples of a part, in order, as one batch."""
    batches = list(source.in_order(part, 8))
    joined = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    return {name: array[joined["mask"]] for name, array in joined.items() if name != "mask"}


def names_of(root, source, part):
    """The files of a part, in order."""
    names = sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())
    chosen = chosen_for_eval(names, source.eval_fraction) == (part == "eval")
    return [name for name, is_of_part in zip(names, chosen, strict=True) if is_of_part]


@pytest.mark.parametrize("part", ["train", "eval"])
def test_examples_are_the_files(root, cache_bytes, part):
    source = SoundFolder(str(root), RATE, 400, 0.3, loudness=Loudness(), cache_bytes=cache_bytes)
    source.check()
    assert source.notes() == []
    names, batch = names_of(root, source, part), shown(source, part)
    assert len(names) == len(batch["audio"]) > 3
    lengths = source.clip_lengths(part)
    for i, name in enumerate(names):
        clip = read_sound(root / name, RATE).samples
        assert lengths[i] == len(clip) and batch["length"][i] == min(len(clip), 400)
        window = np.zeros(400, np.int16)
        window[: len(clip[:400])] = clip[:400]
        np.testing.assert_array_equal(batch["audio"][i, :, 0], window)
        assert batch["gain"][i] == Loudness().gain(clip)
        assert source.class_names("label")[batch["label"][i]] == name.split("/")[0]
    assert source.class_names("label") == ("c0", "c1", "c2") and source.sample_rate == RATE
    np.testing.assert_array_equal(source.at_hand(part, "label"), batch["label"])


def test_the_spec_is_known_without_files():
    plan = {"loudness": Loudness(), "caption_bytes": 12}
    assert SoundFolder("nowhere", 16_000, 99, **plan).example_spec() == {
        "audio": ArraySpec((99, 1), "int16", medium="audio", rate=16_000.0),
        "length": ArraySpec((), "int32"),
        "gain": ArraySpec((), "float32"),
        "label": ArraySpec((), "int32"),
        "caption": ArraySpec((12,), "uint8"),
        "example_id": ArraySpec((), "int64"),
    }
    assert {"gain", "caption"}.isdisjoint(SoundFolder("nowhere", 16_000, 99).example_spec())
    assert SoundFolder("nowhere", 16_000, 99).at_hand("train", "label") is None


def test_any_rate_and_channels(tmp_path):
    x = np.stack([tone(0.5, 44_100), -tone(0.5, 44_100) // 3], 1)
    (tmp_path / "a.flac").write_bytes(encoded(x, "FLAC", rate=44_100))
    (tmp_path / "b.wav").write_bytes(encoded(tone(0.5, 6_000) / 32_768, "WAV", "FLOAT", 6_000))
    source = SoundFolder(str(tmp_path), RATE, 4_000, 0.5)
    audio = np.concatenate([shown(source, part)["audio"][..., 0] for part in ("train", "eval")])
    expected = [
        np.rint(resample(x.astype(float).mean(axis=1), 44_100, RATE)),
        resample(tone(0.5, 6_000), 6_000, RATE),
    ]
    for clip in expected:
        assert min(np.abs(clip - one).max() for one in audio) <= 1


def test_windows_are_of_all_of_a_clip_and_only_they_are_read(root, monkeypatch):
    decoded = []

    def blocks(self, frames, values, original=OpenSound.blocks):
        for block in original(self, frames, values):
            decoded.append((self.header.format, len(block)))
            yield block

    (root / "c0" / "long.wav").write_bytes(encoded(tone(60.0), "WAV"))
    (root / "c0" / "long.flac").write_bytes(encoded(tone(60.0), "FLAC"))
    source = SoundFolder(str(root), RATE, 50, eval_fraction=0.0, cache_bytes=0)
    assert source.num_train() == 32
    whole = {name: read_sound(root / "c0" / name, RATE).samples for name in ("long.wav",)}
    monkeypatch.setattr(OpenSound, "blocks", blocks)
    windows = []
    for batch in itertools.islice(source.train(32, 0, 0, np.arange(32)), 30):
        long = source.clip_lengths("train")[batch["example_id"]] > 400_000
        windows += list(batch["audio"][long, :, 0])
    assert max(count for kind, count in decoded if kind in ("wav", "flac")) < 50 * 2 + 300
    where = [_find(whole["long.wav"], window) for window in windows]
    assert len(where) == 60 and len(set(where)) > 50
    assert min(where) < 100_000 and max(where) > 380_000


def _find(clip, window):
    """Where a window begins in a clip."""
    starts = np.flatnonzero(clip[: len(clip) - len(window) + 1] == window[0])
    return next(s for s in starts if (clip[s : s + len(window)] == window).all())


def test_a_window_from_the_start(root):
    source = SoundFolder(str(root), RATE, 50, crop="start")
    batch = next(source.train(8, 0, 0, ROWS))
    first = shown(source, "train")["audio"][batch["example_id"]]
    np.testing.assert_array_equal(batch["audio"], first)


# Bad files.


def spoil(root, names):
    """Writes hostile files into the folder; returns them without what is no file of sound."""
    files = {name: file for name, file in hostile_sounds().items() if name in names}
    for name, hostile in files.items():
        hostile.make(root / name)
    return {name: hostile for name, hostile in files.items() if name != "directory.wav"}


def check_spoilt(root, names, cache_bytes):
    files = spoil(root, names)
    source = SoundFolder(str(root), RATE, 100, 0.3, cache_bytes=cache_bytes)
    source.check()
    used = {name: file for name, file in files.items() if file.is_used}
    bad = {name: file for name, file in files.items() if not file.is_used}
    assert source.num_train() + source.num_eval() == 30 + len(used)
    (skipped,) = (note for note in source.notes() if note.startswith("skipped"))
    assert skipped.startswith(f"skipped {len(bad)} of {30 + len(files)} files: ")
    for name, file in bad.items():
        assert re.search(rf"{re.escape(name)} \([^)]*{re.escape(file.words)}", skipped), name
    odd = " ".join(note for note in source.notes() if note.startswith("used, but odd: "))
    for name in [name for name, file in used.items() if file.words][:3]:
        assert name in odd
    assert all(note.isprintable() for note in source.notes())
    count = -(-source.num_train() // 8)
    ids = [b["example_id"] for b in itertools.islice(source.train(8, 0, 0, ROWS), count)]
    assert len(set(np.concatenate(ids)[: source.num_train()])) == source.num_train()


def test_bad_files_are_skipped_counted_and_named(root, cache_bytes, capfd):
    check_spoilt(root, FEW, cache_bytes)
    assert capfd.readouterr().err == ""


@pytest.mark.slow  # the same for all of them
def test_all_bad_files(root, cache_bytes, capfd):
    check_spoilt(root, hostile_sounds(), cache_bytes)
    assert capfd.readouterr().err == ""


def test_bad_files_are_fatal_by_choice(root, cache_bytes):
    plan = {"on_bad": "fail", "cache_bytes": cache_bytes}
    SoundFolder(str(root), RATE, 100, **plan).check()
    spoil(root, ["loud.wav"])  # clipped, but whole
    SoundFolder(str(root), RATE, 100, **plan).check()
    spoil(root, ["cut.wav", "empty.wav"])
    with pytest.raises(DataError, match="2 of 33 files: cut.wav .ends early: 6.*empty.wav .empty"):
        SoundFolder(str(root), RATE, 100, **plan).check()


def test_bad_files_move_nobody_else(root, cache_bytes):
    plan = {"loudness": Loudness(-30.0), "cache_bytes": cache_bytes, "eval_fraction": 0.3}
    before = SoundFolder(str(root), RATE, 100, **plan)
    good, num = shown(before), before.num_train()
    spoil(root, [name for name in FEW if not hostile_sounds()[name].is_used])
    after = SoundFolder(str(root), RATE, 100, **plan)
    for name, array in shown(after).items():
        if name != "label":  # files at the top are a class of their own, the first
            np.testing.assert_array_equal(array, good[name])
    assert after.num_train() == num and after.class_names("label")[0] == "."


def test_no_sound_at_all(tmp_path):
    for name in ("a.txt", "b.m4a", ".hidden.wav"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=r"holds no sound files \(wav, .*aifc\) but 1 m4a$"):
        SoundFolder(str(tmp_path), RATE, 100).check()
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(DataError, match=r"no readable sound file: a.wav \(empty\)"):
        SoundFolder(str(tmp_path), RATE, 100).check()
    with pytest.raises(DataError, match="is a file, not a folder of sound"):
        SoundFolder(str(tmp_path / "a.wav"), RATE, 100).check()
    with pytest.raises(DataError, match="does not exist"):
        SoundFolder(str(tmp_path / "nowhere"), RATE, 100).check()


def test_a_long_file_is_bad(root):
    write_sound(root / "long.wav", tone(2.0), 16_000)
    source = SoundFolder(str(root), RATE, 100, max_seconds=1.5)
    assert source.notes() == ["skipped 1 of 31 files: long.wav (2 s, more than max_seconds=1.5)"]


def test_formats_that_are_not_read_are_counted(root):
    for name in ("a.m4a", "b.M4A", "c.wma", "notes.txt"):
        (root / name).write_bytes(b"x")
    source = SoundFolder(str(root), RATE, 100)
    assert source.notes() == ["left out, of formats that are not read: 2 m4a, 1 wma"]
    (root / "named.wav").write_bytes((root / "c1" / "001.flac").read_bytes())
    narrow = SoundFolder(str(root), RATE, 100, formats=("wav",))
    assert narrow.num_train() + narrow.num_eval() == 12
    skipped, left_out = narrow.notes()
    assert "named.wav (flac, which is not among the formats" in skipped
    assert left_out.endswith("6 aiff, 6 flac, 6 mp3, 2 m4a, 1 wma")


# Later.


def test_a_file_that_goes_bad_later_is_named(root):
    def rest():
        return next(source.train(8, 0, 0, ROWS))

    source = SoundFolder(str(root), RATE, 10, cache_bytes=0)
    source.check()
    for path in root.rglob("*.wav"):
        path.write_bytes(encoded(np.zeros(1, np.int16), "WAV", rate=RATE))
    with pytest.raises(DataError, match=r"\.wav was good when the run began, now: it is shorter"):
        rest()
    for path in root.rglob("*.wav"):
        path.unlink()
    with pytest.raises(DataError, match=r"\.wav was good when the run began, now: it is gone"):
        rest()


def test_verdicts_are_kept_and_made_again_when_files_change(root, monkeypatch):
    decoded = []

    def read(path, *arguments, original=sound_files.read_sound, **settings):
        decoded.append(path)
        return original(path, *arguments, **settings)

    monkeypatch.setattr(sound_files, "read_sound", read)
    plan = {"cache_bytes": 0, "loudness": Loudness()}
    (root / "c0" / "000.wav").write_bytes(b"")
    first = SoundFolder(str(root), RATE, 100, **plan)
    first.check()
    assert len(decoded) == 30
    again = SoundFolder(str(root), RATE, 100, **plan)
    assert again.notes() == first.notes() == ["skipped 1 of 30 files: c0/000.wav (empty)"]
    assert len(decoded) == 30
    np.testing.assert_array_equal(shown(again)["gain"], shown(first)["gain"])
    for changed in ({"loudness": Loudness(-20.0)}, {"max_seconds": 9.0}):
        decoded.clear()
        SoundFolder(str(root), RATE, 100, **{**plan, **changed}).check()
        assert len(decoded) == 30
    decoded.clear()
    (root / "c0" / "000.wav").write_bytes((root / "c0" / "015.wav").read_bytes())
    assert SoundFolder(str(root), RATE, 100, **plan).notes() == []
    assert len(decoded) == 30


def test_memory_is_used_up_to_cache_bytes(root):
    source = SoundFolder(str(root), RATE, 100)
    size = 2 * sum(int(source.clip_lengths(part).sum()) for part in ("train", "eval"))
    fits = dataclasses.replace(source, cache_bytes=size)
    beyond = dataclasses.replace(source, cache_bytes=size - 1)
    assert type(fits._scan.clips).__name__ == "FlatClips"
    assert type(beyond._scan.clips).__name__ == "FileClips"
    more = dataclasses.replace(beyond, cache_bytes=size)  # though the verdicts are on disk
    assert type(more._scan.clips).__name__ == "FlatClips"


# Splits, classes, captions.


def test_directories_that_are_splits(tmp_path):
    for seed, top in enumerate(("train", "val", "test")):
        write_sound_folder(tmp_path / top, recordings(6, seed=seed))
    source = SoundFolder(str(tmp_path), RATE, 100)
    (note,) = source.notes()
    assert "taken as splits, not as classes: test/, train/, val/; 6 sound files for train" in note
    assert (source.num_train(), source.num_eval()) == (6, 6)
    assert source.class_names("label") == ("c0", "c1", "c2")
    both = dataclasses.replace(source, hold_out="0")
    with pytest.raises(DataError, match="hold_out='0' is one division, and its directories are"):
        both.check()


def test_names_that_are_held_out_or_left_out(root):
    source = SoundFolder(str(root), RATE, 100, hold_out=r"^c1/", leave_out=r"00\d\.")
    source.check()
    assert source.notes() == ["left out by leave_out: 10 files"]
    assert (source.num_train(), source.num_eval()) == (13, 7)
    assert set(source.at_hand("eval", "label")) == {1}
    assert set(source.at_hand("train", "label")) == {0, 2}
    for changed, line in (
        ({"hold_out": "nobody"}, "hold_out='nobody' is found in none of 20 names"),
        ({"leave_out": "c"}, "leave_out='c' is found in all of 30 names"),
    ):
        with pytest.raises(DataError, match=line):
            dataclasses.replace(source, **changed).check()


def test_captions_are_beside_the_files_or_in_a_table(root):
    (root / "c0" / "000.wav.txt").write_text("a lion")
    (root / "c1" / "001.txt").write_text("a  bear\n")
    (root / "metadata.csv").write_text("file_name,text\nc2/002.mp3,one\nc2/002.mp3,two\nx.wav,no")
    source = SoundFolder(str(root), RATE, 100, caption_bytes=8, eval_fraction=0.0)
    texts = [to_text(caption) for caption in shown(source, "train")["caption"]]
    assert texts[0] == "a lion" and sorted(texts)[-3:] == ["a bear", "a lion", "one"]
    assert source.notes()[0].endswith("metadata.csv names 1 files that are no sound files: x.wav")
    assert source.notes()[1].startswith("1 of 30 sound files have several captions, 2 in all")
    assert source.notes()[2] == "27 of 30 sound files have no caption"
    drawn = set()
    for batch in itertools.islice(source.train(30, 0, 0, np.arange(30)), 20):
        drawn |= {to_text(caption) for caption in batch["caption"]}
    assert drawn == {"", "a bear", "a lion", "one", "two"}
    whole = source.clips("train", np.array([0]), 900)
    assert to_text(whole["caption"][0]) == "a lion" and whole["audio"].shape == (1, 900, 1)


def test_captions_by_label(root):
    source = SoundFolder(str(root), RATE, 100, caption_bytes=0)
    named = CaptionsByLabel(source, source.class_names("label"))
    batch = next(named.train(8, 0, 0, ROWS))
    texts = [to_text(caption) for caption in batch["caption"]]
    assert texts == [f"c{label}" for label in batch["label"]]


def test_odd_names_and_links(root):
    data = (root / "c0" / "000.wav").read_bytes()
    (root / "c0" / "line\nbreak.wav").write_bytes(b"")
    (root / "c0" / "grüße.wav").write_bytes(data)
    (root / "c0" / "._000.wav").write_bytes(b"")  # macOS leaves these
    os.symlink(root, root / "c1" / "loop")
    with open(os.fsencode(root) + b"/c2/\xff.wav", "wb") as file:
        file.write(data)
    source = SoundFolder(str(root), RATE, 100, cache_bytes=0)
    source.check()
    assert source.num_train() + source.num_eval() == 32
    assert source.notes() == [r"skipped 1 of 33 files: c0/line\nbreak.wav (empty)"]
    assert len(shown(source, "train")["audio"]) == source.num_train()


# Settings.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 10}, "SoundFolder: a sample rate is 1,000 to 768,000 Hz, got 10"),
        ({"samples": 0}, "samples is at least 1"),
        ({"crop": "end"}, "crop is 'random' or 'start'"),
        ({"on_bad": "ignore"}, "'skip' or 'fail'"),
        ({"eval_fraction": 1.5}, r"\[0, 1\]"),
        ({"max_seconds": 0.0}, "max_seconds is more than 0"),
        ({"cache_bytes": -1}, "cache_bytes is 0 or more, got -1"),
        ({"caption_bytes": -1}, "caption_bytes is 0 or more, got -1"),
        ({"formats": ("wave",)}, "'wave': did you mean 'wav'"),
        ({"formats": ()}, "names none of wav, flac"),
        ({"hold_out": "("}, "SoundFolder: hold_out='.' is no regular expression"),
    ],
)
def test_wrong_settings_are_refused_at_once(settings, message):
    with pytest.raises(UsageError, match=message):
        SoundFolder(**{"path": "nowhere", "rate": RATE, "samples": 100, **settings})


def test_a_run_goes_on_reading_as_it_began(root):
    source = SoundFolder(str(root), RATE, 100, loudness=Loudness(-20.0))
    fitted = source.fitted()
    assert fitted.formats == tuple(FORMATS)
    assert fitted.fitted() == config.decode(config.encode(fitted)) == fitted
    old = dataclasses.replace(source, formats=("wav", "flac"))
    assert source.fitted(old) == old


def test_no_tensorflow_is_needed(root):
    code = f"""
import sys
import numpy as np
from vqjax.data import SoundFolder
for size in (0, 1 << 30):
    source = SoundFolder({str(root)!r}, 8_000, 100, cache_bytes=size)
    source.check()
    train, evaluation = source.train(8, 0, 0, np.arange(8)), source.eval(8, np.arange(8))
    next(train), next(evaluation)  # and left there when the program ends
print([m for m in ("tensorflow", "tensorflow_datasets", "jax.experimental") if m in sys.modules])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "tensorflow" not in out.stdout and out.stdout.startswith("[") and out.stderr == ""


# Threads.


def test_calls_in_threads_are_in_order_and_a_few_ahead():
    calls = []

    def slow(i):
        calls.append(i)
        time.sleep(0.002 * (i % 3))
        return i, threading.current_thread().name

    results = list(itertools.islice(in_order(slow, itertools.count()), 20))
    assert [i for i, _ in results] == list(range(20)) and max(calls) < 20 + 2 * workers()
    assert all(name.startswith("vqjax-data") for _, name in results)
    assert list(in_order(slow, [])) == []
    assert [i for i, _ in in_order(slow, range(3))] == [0, 1, 2]


def test_what_a_call_raises_comes_in_its_turn():
    def fail(i):
        if i == 5:
            raise DataError("five")
        return i

    results = []
    with pytest.raises(DataError, match="five"):
        for result in in_order(fail, range(9)):
            results.append(result)
    assert results == [0, 1, 2, 3, 4]
