"""The law, for every source: the batch of step n is a pure function of (seed, n)."""

import dataclasses
import itertools
import zipfile

import numpy as np
import pytest

from tests.data.makers import (
    pictures,
    recordings,
    write_folder,
    write_pairs,
    write_sound_folder,
    write_tfds,
    write_tfds_audio,
)
from vqjax import data
from vqjax.data import RandomCrop, RandomFlip, Resize
from vqjax.data.shapes import splits
from vqjax.data.texts import to_text
from vqjax.types import ArraySpec, DataError, VqjaxError

BATCH = 8
AUGMENT = (RandomCrop(6), RandomFlip())
TRAIN = {"image": pictures(21), "label": np.arange(21) % 10}
HELD_OUT = {"image": pictures(11, seed=1), "label": np.arange(11) % 10}


def _arrays(home):
    return data.Arrays(TRAIN, HELD_OUT, augment=AUGMENT)


def _tfds(home, **settings):
    write_tfds(home, {"train": TRAIN, "test": HELD_OUT}, shards=2)
    return data.TFDS("tiny", data_dir=str(home), augment=AUGMENT, **settings)


def _folder(home, **settings):
    write_folder(home / "folder", pictures(30, seed=2))
    lines = [f"c{i % 3}/{i:03d}.png,{i} {k}" for i in range(30) for k in range(i % 4)]
    (home / "folder" / "captions.csv").write_text("\n".join(["file,caption", *lines]))
    plan = {"image_size": 6, "resize": 8, "eval_fraction": 0.3, "caption_bytes": 9}
    return data.Folder(str(home / "folder"), augment=AUGMENT, **plan, **settings)


def _tfds_audio(home, **settings):
    clips = recordings(32)
    names = [f"{'ab'[i % 2]}_{i // 2}.wav" for i in range(32)]
    clips = {"audio": clips, "audio/filename": names, "label": np.arange(32) % 10}
    write_tfds_audio(home, {"train": clips}, shards=2)
    plan = {"samples": 24, "hold_out": r"_\d\.wav$", "leave_out": r"b_0\.wav"}
    plan |= {"loudness": data.Loudness(), "classes": {"speaker": "^(.)_"}}
    return data.TFDSAudio("tiny", data_dir=str(home), **plan, **settings)


def _sound_folder(home, **settings):
    write_sound_folder(home / "folder", recordings(30))
    lines = [f"c{i % 3}/{i:03d}.wav,{i} {k}" for i in (0, 15) for k in range(3)]
    (home / "folder" / "captions.csv").write_text("\n".join(["file,caption", *lines]))
    plan = {"samples": 24, "eval_fraction": 0.3, "loudness": data.Loudness(), "caption_bytes": 9}
    return data.SoundFolder(str(home / "folder"), 8_000, **plan, **settings)


def _paired(home, **settings):
    """Pictures, and to each a sound and a text of the same label, where there is one."""
    for name in ("tfds", "sound"):
        (home / name).mkdir()
    sources = {
        "image": _tfds(home / "tfds", **settings),
        "sound": _sound_folder(home / "sound", **settings),
        "text": data.Captions(
            data.LabelledTexts((("zero", "null"), ("one", "eins"))), data.Bytes(), 5
        ),
    }
    return data.Paired(sources, eval_partners=2)


def _pairs(home, **settings):
    """Pictures, sound and words of a table, some of which its rows lack."""
    write_pairs(home / "folder", pictures(36, seed=3), recordings(36))
    columns = {
        "image": data.ImageColumn(6, resize=8, augment=AUGMENT, **settings),
        "audio": data.SoundColumn(8_000, 24, "random", data.Loudness(), **settings),
        "text": data.TextColumn(data.Bytes(), 9),
    }
    return data.PairsFolder(str(home / "folder"), columns, eval_fraction=0.3)


def saved(home):
    """The same examples in a file: its path."""
    parts = {"train": TRAIN, "eval": HELD_OUT}
    arrays = {f"{part}_{k}": v for part, values in parts.items() for k, v in values.items()}
    np.savez(home / "examples.npz", **arrays)
    return str(home / "examples.npz")


@dataclasses.dataclass(frozen=True)
class Saved(data.ArraySource):
    """A source as somebody may write it."""

    path: str
    augment: tuple = ()

    def load(self, part):
        with np.load(self.path) as file:
            return {name: file[f"{part}_{name}"] for name in ("image", "label")}


# How each is made in a directory of its own, pictures with AUGMENT; all but the digits are tiny.
SOURCES = {
    "arrays": _arrays,
    "saved": lambda home: Saved(saved(home), augment=AUGMENT),
    "digits": lambda home: data.Digits(augment=AUGMENT),
    "shapes": lambda home: data.Shapes(augment=(Resize(8), *AUGMENT)),
    "tfds-cached": _tfds,
    "tfds-indexed": lambda home: _tfds(home, cache_bytes=0),
    "folder-cached": _folder,
    "folder-streamed": lambda home: _folder(home, cache_bytes=0),
    "tones": lambda home: data.Tones(24, 21, 11),
    "sound-folder-cached": _sound_folder,
    "sound-folder-streamed": lambda home: _sound_folder(home, cache_bytes=0),
    "tfds-audio-cached": _tfds_audio,
    "tfds-audio-streamed": lambda home: _tfds_audio(home, cache_bytes=0),
    "paired-cached": _paired,
    "paired-streamed": lambda home: _paired(home, cache_bytes=0),
    "pairs-cached": _pairs,
    "pairs-streamed": lambda home: _pairs(home, cache_bytes=0),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """{name: source}."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        for split, num in (("train", 21), ("train_held_out", 1), ("test", 11), ("held_out", 1)):
            patch.setitem(splits.NUM_EXAMPLES, split, num)
        yield {name: make(tmp_path_factory.mktemp("source")) for name, make in SOURCES.items()}


@pytest.fixture(params=SOURCES)
def source(request, sources):
    return sources[request.param]


def inputs(batch):
    """What a network learns from, also as specs; the first where there are several."""
    return next(batch[name] for name in ("audio", "image", "image.image") if name in batch)


def train(source, steps, start=0, seed=0, rows=None):
    rows = np.arange(BATCH) if rows is None else rows
    return list(itertools.islice(source.train(BATCH, seed, start, rows), steps))


def assert_same(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert x.keys() == y.keys()
        for name in x:
            np.testing.assert_array_equal(x[name], y[name], err_msg=name)
            assert x[name].dtype == y[name].dtype


def test_batches_are_as_example_spec_says(source):
    source.check()
    spec = source.example_spec()
    if "audio" in spec:
        assert spec["audio"] == ArraySpec((24, 1), "int16", medium="audio", rate=8_000.0)
        assert spec["length"].dtype == "int32"
    else:
        assert inputs(spec).dtype == "uint8" and inputs(spec).shape[:2] == (6, 6)
    assert spec["example_id"].dtype == "int64"
    assert "label" not in spec or spec["label"].dtype == "int32"
    assert "label" in spec or isinstance(source, data.PairsFolder)
    rows = np.arange(BATCH)
    batches = {"train": train(source, 1)[0], "eval": next(iter(source.eval(BATCH, rows)))}
    assert batches["eval"].pop("mask").dtype == bool
    for batch in batches.values():
        assert {k: (v.shape[1:], v.dtype.name) for k, v in batch.items()} == {
            k: (v.shape, v.dtype) for k, v in spec.items()
        }
        assert all(len(v) == BATCH for v in batch.values())


def test_captions_are_drawn_by_seed_and_position(sources):
    """Each of a picture's captions comes up, none of another one's; evaluation has the first."""
    source, captions = sources["folder-cached"], {}
    for batch in train(source, 40):
        for i, caption in zip(batch["example_id"], batch["caption"], strict=True):
            captions.setdefault(int(i), set()).add(to_text(caption))
    assert {len(texts) for texts in captions.values()} == {1, 2, 3}
    for texts in captions.values():
        assert len({caption.split(" ")[0] for caption in texts}) == 1
    redrawn = [b["caption"] for b in train(source, 4, seed=1)]
    assert any((a != b["caption"]).any() for a, b in zip(redrawn, train(source, 4), strict=True))
    (shown,) = {
        tuple(to_text(c)[-1:] for c in b["caption"]) for b in source.eval(32, np.arange(32))
    }
    assert set(shown) == {"0", ""}


def test_the_same_again_and_another_seed_differs(source):
    first = train(source, 3)
    assert_same(first, train(source, 3))
    other = train(source, 3, seed=1)
    assert any((inputs(a) != inputs(b)).any() for a, b in zip(first, other, strict=True))


def test_resuming_needs_the_step_alone(source):
    whole = train(source, 7)
    assert_same(whole[4:], train(source, 3, start=4))


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_hosts_together_make_the_global_batch(source, hosts):
    whole = train(source, 4)
    shares = [train(source, 4, rows=rows) for rows in np.split(np.arange(BATCH), hosts)]
    joined = [
        {name: np.concatenate([share[name] for share in step]) for name in step[0]}
        for step in zip(*shares, strict=True)
    ]
    assert_same(whole, joined)


def test_rows_in_any_order(source):
    rows = np.array([5, 0, 3])
    whole, some = train(source, 2), train(source, 2, rows=rows)
    assert_same([{k: v[rows] for k, v in batch.items()} for batch in whole], some)


def test_every_epoch_shows_each_example_once(source):
    num = source.num_train()
    steps = -(-2 * num // BATCH)
    ids = np.concatenate([batch["example_id"] for batch in train(source, steps)])
    epochs = ids[:num], ids[num : 2 * num]  # batches straddle them: no num divides by 8
    assert num % BATCH
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(num))
    assert (epochs[0] != epochs[1]).any()


def test_augmentation_differs_from_epoch_to_epoch(source):
    num = source.num_train()
    visits = {}
    for batch in train(source, -(-2 * num // BATCH)):
        for i, shown in zip(batch["example_id"], inputs(batch), strict=True):
            visits.setdefault(int(i), []).append(shown.tobytes())
    assert sum(len(set(shown[:2])) == 2 for shown in visits.values()) > num // 2


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_eval_shows_each_example_once_on_all_hosts(source, hosts):
    shares = [list(source.eval(BATCH, rows)) for rows in np.split(np.arange(BATCH), hosts)]
    assert {len(share) for share in shares} == {-(-source.num_eval() // BATCH)}
    batches = [batch for share in shares for batch in share]
    assert sum(batch["mask"].sum() for batch in batches) == source.num_eval()
    ids = np.concatenate([batch["example_id"][batch["mask"]] for batch in batches])
    np.testing.assert_array_equal(np.sort(ids), np.arange(source.num_eval()))


def test_eval_is_in_file_order_and_never_random(source):
    rows = np.arange(BATCH)
    once = list(source.eval(BATCH, rows))
    assert_same(once, list(source.eval(BATCH, rows)))
    ids = np.concatenate([batch["example_id"][batch["mask"]] for batch in once])
    np.testing.assert_array_equal(ids, np.arange(source.num_eval()))


@pytest.mark.parametrize("part", ["train", "eval"])
@pytest.mark.parametrize(
    "name", [name for name in SOURCES if any(word in name for word in ("tones", "audio", "sound"))]
)
def test_whole_clips_are_those_that_windows_are_of(sources, name, part):
    source = sources[name]
    lengths = source.clip_lengths(part)
    num = source.num_train() if part == "train" else source.num_eval()
    assert lengths.shape == (num,) and lengths.dtype == np.int64
    indices = np.array([3, 0, 3])
    whole = source.clips(part, indices, int(lengths.max()) + 5)
    np.testing.assert_array_equal(whole["length"], lengths[indices])
    np.testing.assert_array_equal(whole["audio"][0], whole["audio"][2])
    (shown,) = itertools.islice(source.in_order(part, 8), 1)
    assert shown.keys() == {*whole, "mask"}
    for name in whole.keys() - {"audio", "length"}:
        np.testing.assert_array_equal(whole[name], shown[name][indices])
    windows = shown["audio"][indices]
    for clip, length, window in zip(whole["audio"], lengths[indices], windows, strict=True):
        assert clip[:length].any() and not clip[length:].any()
        np.testing.assert_array_equal(clip[:24], window)


@pytest.mark.parametrize(
    ("cached", "streamed"),
    [
        ("tfds-cached", "tfds-indexed"),
        ("folder-cached", "folder-streamed"),
        ("sound-folder-cached", "sound-folder-streamed"),
        ("tfds-audio-cached", "tfds-audio-streamed"),
        ("paired-cached", "paired-streamed"),
        ("pairs-cached", "pairs-streamed"),
        ("arrays", "tfds-cached"),
        ("arrays", "saved"),
    ],
)
def test_the_path_taken_does_not_show(sources, cached, streamed):
    assert_same(train(sources[cached], 6), train(sources[streamed], 6))
    rows = np.arange(BATCH)
    assert_same(list(sources[cached].eval(BATCH, rows)), list(sources[streamed].eval(BATCH, rows)))


def test_the_path_taken_does_not_show_behind_fixed_transforms(sources):
    augment = (Resize(9), RandomCrop(6), RandomFlip())
    cached, streamed = (
        dataclasses.replace(sources[name], augment=augment)
        for name in ("tfds-cached", "tfds-indexed")
    )
    assert_same(train(cached, 3), train(streamed, 3))


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_the_number_of_shards_does_not_show(tmp_path, monkeypatch, cache_bytes):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    splits = {"train": {"image": pictures(23)}, "test": {"image": pictures(9, seed=1)}}
    batches = {}
    for shards in (1, 7):
        write_tfds(tmp_path / str(shards), splits, shards)
        source = data.TFDS(
            "tiny", data_dir=str(tmp_path / str(shards)), augment=AUGMENT, cache_bytes=cache_bytes
        )
        batches[shards] = [*train(source, 5), *source.eval(BATCH, np.arange(BATCH))]
    assert_same(batches[1], batches[7])


@pytest.mark.parametrize(
    "rows", [np.array([8]), np.array([-1]), np.array([], int), np.array([0.0])]
)
def test_rows_outside_the_batch_are_refused(sources, rows):
    with pytest.raises(ValueError, match="rows"):
        sources["arrays"].train(BATCH, 0, 0, rows)


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        (OSError("no such file"), "train cannot be loaded: no such file"),
        (KeyError("train_image"), "train cannot be loaded: 'train_image'"),
        (zipfile.BadZipFile("File is not a zip file"), "cannot be loaded: File is not a zip"),
        (EOFError(), "train cannot be loaded: EOFError"),
        (DataError("as it says"), "^as it says$"),
        ({"label": np.arange(3)}, "augment transforms 'image', there is label"),
        ([1], "must map names to arrays"),
        ({"image": pictures(3), "label": np.arange(2)}, "differ in their first axis"),
        ({"image": np.float32(3)}, "is no array with a first axis"),
        ({"image": pictures(3), "mask": np.arange(3)}, "would hide which examples pad"),
    ],
)
def test_a_load_that_is_not_as_it_should_be(arrays, line):
    class Wrong(data.ArraySource):
        augment = AUGMENT

        def load(self, part):
            if isinstance(arrays, Exception):
                raise arrays
            return arrays

    with pytest.raises(VqjaxError, match=line):
        Wrong().check()
