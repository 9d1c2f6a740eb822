"""Folders: every kind of file, every kind of damage, and what decides class and split."""

import dataclasses
import os
import re
import struct
import sys
import types
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.data.makers import pictures, write_folder
from vqjax import config
from vqjax.data import CaptionsByLabel, Folder, RandomCrop
from vqjax.data.listing import chosen_for_eval, labels_of
from vqjax.media.image import (
    FIRST_FORMATS,
    FORMATS,
    BadPicture,
    is_readable,
    read_square,
    readable_formats,
)
from vqjax.types import ArraySpec, DataError, UsageError

ROWS = np.arange(8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    """Thirty good pictures in three classes."""
    write_folder(tmp_path / "pictures", pictures(30))
    return tmp_path / "pictures"


def huge_header() -> bytes:
    """A PNG that says it is 30000x30000 and is 70 bytes long."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def spoil(root) -> dict[str, str]:
    """Writes six bad files; returns {relative path: the word its reason must hold}."""
    good = (root / "c0" / "000.png").read_bytes()
    photo = root / "photo.jpg"
    Image.fromarray(pictures(1, side=64)[0]).save(photo)
    jpeg = photo.read_bytes()
    photo.unlink()
    bad = {
        "c0/empty.png": (b"", "empty"),
        "c0/cut.png": (good[:-30], "damaged"),
        "c1/cut.jpg": (jpeg[: len(jpeg) // 2], "damaged"),
        "c1/text.gif": (b"this is no picture at all", "not a picture"),
        "c2/huge.png": (huge_header(), "900000000 pixels"),
        "c2/flipped.png": (good[:60] + bytes([good[60] ^ 255]) + good[61:], "damaged"),
    }
    for name, (content, _) in bad.items():
        (root / name).write_bytes(content)
    return {name: reason for name, (_, reason) in bad.items()}


def pixels(source):
    return np.concatenate([b["image"][b["mask"]] for b in source.eval(8, ROWS)])


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_bad_files_are_skipped_counted_and_named(root, cache_bytes):
    bad = spoil(root)
    source = Folder(str(root), image_size=8, cache_bytes=cache_bytes)
    source.check()
    assert source.num_train() + source.num_eval() == 30
    (note,) = source.notes()
    assert note.startswith("skipped 6 of 36 files: ")
    for name, reason in bad.items():
        assert f"{name} ({reason}" in note
    ids = np.concatenate([b["example_id"] for b in _epoch(source)])[: source.num_train()]
    assert len(set(ids)) == source.num_train()


def _epoch(source):
    batches = source.train(8, 0, 0, ROWS)
    return [next(batches) for _ in range(-(-source.num_train() // 8))]


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_bad_files_are_fatal_by_choice(root, cache_bytes):
    Folder(str(root), image_size=8, on_bad="fail", cache_bytes=cache_bytes).check()
    bad = spoil(root)
    with pytest.raises(DataError, match="6 of 36 files") as raised:
        Folder(str(root), image_size=8, on_bad="fail", cache_bytes=cache_bytes).check()
    assert all(name in str(raised.value) for name in bad) and "\n" not in str(raised.value)


def test_bad_files_move_nobody_else(root):
    before = Folder(str(root), image_size=8)
    good = pixels(before)
    spoil(root)
    after = Folder(str(root), image_size=8)
    np.testing.assert_array_equal(pixels(after), good)
    assert after.num_train() == before.num_train()


@pytest.mark.parametrize("content", [{}, {"a/readme.txt": b"hello"}, {".hidden.png": b""}])
def test_no_pictures_at_all(tmp_path, content):
    root = tmp_path / "pictures"
    root.mkdir()
    for name, data in content.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(data)
    with pytest.raises(DataError, match="holds no pictures"):
        Folder(str(root), image_size=8).check()


def test_no_good_picture(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"no readable picture: a.png \(empty\)"):
        Folder(str(tmp_path), image_size=8).check()


def test_missing_folder_and_file_for_a_folder(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        Folder(str(tmp_path / "nowhere"), image_size=8).check()
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match="is a file"):
        Folder(str(tmp_path / "a.png"), image_size=8).check()


def test_a_file_that_goes_bad_later_is_named(root):
    source = Folder(str(root), image_size=8, cache_bytes=0)
    source.check()
    for path in root.rglob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match=r"\.png was good when the run began, now: it is gone"):
        next(source.train(8, 0, 0, ROWS))


def test_verdicts_are_kept_and_made_again_when_files_change(root, tmp_path):
    Folder(str(root), image_size=8, cache_bytes=0).check()
    (cached,) = (tmp_path / "cache" / "vqjax" / "folders").iterdir()
    stamp = cached.stat().st_mtime_ns
    Folder(str(root), image_size=8, cache_bytes=0).check()
    assert cached.stat().st_mtime_ns == stamp
    (root / "c0" / "000.png").write_bytes(b"")
    source = Folder(str(root), image_size=8, cache_bytes=0)
    source.check()
    assert source.notes() == ["skipped 1 of 30 files: c0/000.png (empty)"]


SAVED = {
    "rgb.png": ("RGB", {}), "rgb.jpg": ("RGB", {"quality": 95}), "rgb.jpeg": ("RGB", {}),
    "rgb.webp": ("RGB", {"lossless": True}), "rgb.bmp": ("RGB", {}), "RGB.PNG": ("RGB", {}),
    "palette.gif": ("P", {}), "palette.png": ("P", {}), "grey.png": ("L", {}),
    "grey.jpg": ("L", {}), "one.png": ("1", {}), "rgba.png": ("RGBA", {}), "la.png": ("LA", {}),
    "cmyk.jpg": ("CMYK", {"quality": 95}), "rgb.tiff": ("RGB", {}), "grey.tif": ("L", {}),
    "cmyk.tif": ("CMYK", {"compression": "tiff_lzw"}), "rgb.avif": ("RGB", {"quality": 95}),
}  # fmt: skip


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_file(tmp_path, name, channels):
    mode, options = SAVED[name]
    Image.new("RGB", (20, 12), (200, 200, 200)).convert(mode).save(tmp_path / name, **options)
    pixels = read_square(str(tmp_path / name), 8, channels, 1 << 20)
    assert pixels.shape == (8, 8, channels) and pixels.dtype == np.uint8
    # Dithering makes of the grey one black and white; their mean is the same.
    assert abs(pixels.mean() - 200) < (16 if mode == "1" else 3)


def test_transparency_is_laid_on_white(tmp_path):
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    clear.save(tmp_path / "a.png")
    clear.save(tmp_path / "b.webp", lossless=True)
    half = Image.new("LA", (8, 8), (0, 128))
    half.save(tmp_path / "c.png")
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([0, 0, 0] * 256)
    palette.save(tmp_path / "d.png", transparency=0)
    for name, grey in (("a.png", 255), ("b.webp", 255), ("c.png", 127), ("d.png", 255)):
        pixels = read_square(str(tmp_path / name), 8, 3, 1 << 20)
        assert (np.abs(pixels.astype(int) - grey) <= 1).all(), name


def test_sixteen_bits_are_scaled(tmp_path):
    Image.fromarray(np.full((8, 8), 128 * 256, np.uint16)).save(tmp_path / "a.png")
    assert (read_square(str(tmp_path / "a.png"), 8, 1, 1 << 20) == 128).all()


def test_a_tiff_of_other_numbers_than_grey_levels_is_bad(tmp_path):
    Image.fromarray(np.full((8, 8), 128 * 256, np.uint16)).save(tmp_path / "a.tif")
    assert (read_square(str(tmp_path / "a.tif"), 8, 1, 1 << 20) == 128).all()
    for dtype in (np.float32, np.int32):
        Image.fromarray(np.full((8, 8), 0.5).astype(dtype)).save(tmp_path / "b.tif")
        with pytest.raises(BadPicture, match="32 bits per value"):
            read_square(str(tmp_path / "b.tif"), 8, 1, 1 << 20)


def test_exif_rotation_is_applied(tmp_path):
    upright = np.zeros((8, 8, 3), np.uint8)
    upright[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    stored = Image.fromarray(np.rot90(upright).copy())
    stored.save(tmp_path / "a.jpg", exif=exif, quality=100)
    pixels = read_square(str(tmp_path / "a.jpg"), 8, 3, 1 << 20)
    assert pixels[:4].mean() > 240 and pixels[4:].mean() < 15


def test_an_animation_shows_its_first_frame(tmp_path):
    frames = [Image.new("L", (8, 8), grey) for grey in (10, 250)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (read_square(str(tmp_path / "a.gif"), 8, 1, 1 << 20) == 10).all()


def test_the_middle_square_is_taken(tmp_path):
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 255
    Image.fromarray(wide).save(tmp_path / "a.png")
    assert (read_square(str(tmp_path / "a.png"), 8, 3, 1 << 20) == 255).all()


def test_shrinking_is_antialiased(tmp_path):
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    Image.fromarray(stripes).save(tmp_path / "a.png")
    assert (np.abs(read_square(str(tmp_path / "a.png"), 8, 3, 1 << 20)[:, 1:-1] - 100.0) < 4).all()


def test_max_pixels_is_the_border(tmp_path):
    Image.new("RGB", (10, 10)).save(tmp_path / "a.png")
    read_square(str(tmp_path / "a.png"), 8, 3, 100)
    with pytest.raises(BadPicture, match="100 pixels, more than max_pixels=99"):
        read_square(str(tmp_path / "a.png"), 8, 3, 99)


def test_classes_are_first_directories():
    assert labels_of(["b/x.png", "a/y/z.png", "a/x.png"]).tolist() == [1, 0, 0]
    assert labels_of(["b/x.png", "top.png", "a/x.png"]).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("tops", "evaluated", "train", "words"),
    [
        (("train", "val", "test"), "val", 6, "6 pictures for training, 6 for evaluation .*6 for n"),
        (("Train", "Validation"), "Validation", 6, "taken as splits, not as classes: Train/, Val"),
        (("train", "test"), "test", 6, "6 for evaluation .eval_fraction does not count"),
        (("train",), None, None, "a share of these for evaluation"),
        (("train", "cars"), "", None, "as classes, not as splits: train/ .there are others beside"),
        (("test", "val"), "", None, "as classes, not as splits: test/, val/ .there is no train/"),
    ],
)
def test_directories_that_are_splits(tmp_path, tops, evaluated, train, words):
    for seed, top in enumerate(tops):
        write_folder(tmp_path / top, pictures(6, seed=seed), classes=3)
    source = Folder(str(tmp_path), image_size=8, eval_fraction=0.5)
    (note,) = source.notes()
    assert re.search(words, note)
    labels = np.concatenate([source.at_hand(part, "label") for part in ("train", "eval")])
    assert set(labels) == (set(range(len(tops))) if evaluated == "" else {0, 1, 2})
    if train is not None:
        assert source.num_train() == train
        shown = {image.tobytes() for image in pixels(source)}
        assert shown == {p.tobytes() for p in pictures(6, seed=tops.index(evaluated))}
        assert source.at_hand("eval", "label").tolist() == [0, 0, 1, 1, 2, 2]
    old = dataclasses.replace(source, reading=1)
    assert set(np.concatenate([old.at_hand(p, "label") for p in ("train", "eval")])) == set(
        range(len(tops))
    )


def test_formats_that_are_not_read_are_counted(root):
    image = Image.fromarray(pictures(1)[0])
    for i in range(14):
        image.save(root / f"{i}.tiff")
    image.save(root / "a.avif")
    for name in ("a.heic", "b.HEIC", "c.svg", "notes.txt"):
        (root / name).write_bytes(b"x")
    source = Folder(str(root), image_size=8)
    assert source.num_train() + source.num_eval() == 30 + 15
    note = "left out, of formats that are not read: 2 heic, 1 svg"
    if "heic" not in readable_formats():
        assert source.notes() == [f"{note}; heic needs pillow-heif installed when a run begins"]
    old = Folder(str(root), image_size=8, formats=FIRST_FORMATS)
    assert old.num_train() + old.num_eval() == 30
    assert old.notes()[0].startswith("left out, of formats that are not read: 14 tiff, 2 heic, 1 a")


@pytest.fixture
def pillow_heif(monkeypatch):
    """A package that reads "HEIF": these files are PNG here."""
    from PIL import PngImagePlugin

    module = types.ModuleType("pillow_heif")
    opener = PngImagePlugin.PngImageFile, lambda prefix: prefix.startswith(b"\x89PNG")
    module.register_heif_opener = lambda: monkeypatch.setitem(Image.OPEN, "HEIF", opener)
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    is_readable.cache_clear()
    yield module
    is_readable.cache_clear()


def test_heic_where_its_package_is(root, pillow_heif, monkeypatch):
    (root / "a.heic").write_bytes((root / "c0" / "000.png").read_bytes())
    source = Folder(str(root), image_size=8).fitted()
    assert source.formats == tuple(FORMATS) and source.notes() == []
    assert source.num_train() + source.num_eval() == 31
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as on another machine
    is_readable.cache_clear()
    with pytest.raises(DataError, match="holds heic files.*pip install pillow-heif"):
        dataclasses.replace(source).check()
    assert Folder(str(root), image_size=8).fitted(source).formats == tuple(FORMATS)
    assert "heic" not in Folder(str(root), image_size=8).fitted().formats


def test_a_run_goes_on_reading_as_it_began(root):
    record = config.encode(Folder(str(root), image_size=8))
    assert record.pop("reading") is None and record.pop("formats") is None
    old = config.decode(record)  # as it was written before there were such fields
    assert (old.reading, old.formats) == (1, FIRST_FORMATS)
    again = Folder(str(root), image_size=8)
    assert again.fitted(old) == old
    wrapped = CaptionsByLabel(again, ("a",)).fitted(CaptionsByLabel(old, ("a",)))
    assert wrapped.source == old
    new = again.fitted()
    assert (new.reading, new.formats) == (2, readable_formats())
    assert again.fitted(new) == config.decode(config.encode(new)) == new
    explicit = dataclasses.replace(again, reading=2)
    assert (explicit.fitted(old).reading, explicit.fitted(old).formats) == (2, FIRST_FORMATS)


def test_the_split_is_stable():
    names = [f"c/{i}.png" for i in range(2_000)]
    chosen = chosen_for_eval(names, 0.1)
    assert 160 < chosen.sum() < 240
    np.testing.assert_array_equal(chosen_for_eval(names[:500], 0.1), chosen[:500])
    assert (chosen_for_eval(names, 0.2) >= chosen).all()
    assert not chosen_for_eval(names, 0).any() and chosen_for_eval(names, 1).all()


@pytest.mark.parametrize("num", [2, 3])
def test_a_few_pictures_are_still_split(num):
    names = [f"{i}.png" for i in range(num)]
    for fraction in (0.01, 0.99):
        assert 0 < chosen_for_eval(names, fraction).sum() < num


def test_cropping_from_a_larger_picture(root):
    source = Folder(str(root), image_size=8, resize=12, augment=(RandomCrop(8),))
    assert source.example_spec()["image"] == ArraySpec((8, 8, 3), "uint8")
    plain = Folder(str(root), image_size=8, resize=12)
    np.testing.assert_array_equal(pixels(source), pixels(plain))  # the middle in evaluation
    assert next(plain.train(8, 0, 0, ROWS))["image"].shape == (8, 8, 8, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"on_bad": "ignore"}, "'skip' or 'fail'"),
        ({"channels": 4}, "1 or 3"),
        ({"eval_fraction": 1.5}, r"\[0, 1\]"),
        ({"resize": 4}, "resize"),
        ({"image_size": 0}, "at least 1"),
        ({"reading": 3}, "reading is 1 or 2, got 3"),
        ({"formats": ("jpg",)}, "'jpg': did you mean 'jpeg'"),
        ({"formats": ()}, "names none of"),
    ],
)
def test_wrong_settings_are_refused_at_once(settings, message):
    with pytest.raises(UsageError, match=message):
        Folder(**{"path": "nowhere", "image_size": 8, **settings})


def test_augment_must_leave_the_size(root):
    with pytest.raises(UsageError, match="leaves 4x4, less than image_size=8"):
        Folder(str(root), image_size=8, augment=(RandomCrop(4),)).example_spec()


def test_odd_names_and_links(root):
    image = (root / "c0" / "000.png").read_bytes()
    (root / "c0" / "line\nbreak.png").write_bytes(b"")
    (root / "c0" / "grüße.png").write_bytes(image)
    (root / "c0" / "._000.png").write_bytes(b"")  # macOS leaves these
    os.symlink(root, root / "c1" / "loop")
    with open(os.fsencode(root) + b"/c2/\xff.png", "wb") as file:
        file.write(image)
    source = Folder(str(root), image_size=8, cache_bytes=0)
    source.check()
    assert source.num_train() + source.num_eval() == 32
    assert source.notes() == [r"skipped 1 of 33 files: c0/line\nbreak.png (empty)"]
    assert all(note.isprintable() for note in source.notes())
    assert len(_epoch(source)) == -(-source.num_train() // 8)


@pytest.mark.parametrize("path", ["", "~nobody1/x", "gs://bucket/x"])
def test_what_is_no_path_is_one_line(path):
    with pytest.raises(UsageError, match="Folder.path: "):
        Folder(path, image_size=8).check()
