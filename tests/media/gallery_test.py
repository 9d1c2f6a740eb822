"""How outputs are drawn."""

import json

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from vqjax.media import gallery as gallery_module
from vqjax.media.gallery import (
    CAPTION,
    GAP,
    GAP_SHADE,
    Gallery,
    description,
    draw,
    image_of,
    pillow_image,
    png_file,
    read_sheet,
    to_uint8,
)


def test_floats_become_the_nearest_level_and_nan_does_not_fail():
    x = np.array([-1.0, -0.999, 0.0, 1.0, 3.0, np.nan], np.float32)
    np.testing.assert_array_equal(to_uint8(x), [0, 0, 128, 255, 255, 128])


def test_small_pictures_are_enlarged_by_a_whole_factor_and_large_ones_are_not():
    image = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    shown = image_of(image)
    assert shown.shape == (64, 64, 3)
    np.testing.assert_array_equal(shown[::8, ::8, 0], image[..., 0])
    assert image_of(np.zeros((28, 28, 1), np.uint8)).shape == (56, 56, 3)
    assert image_of(np.zeros((70, 100, 3), np.uint8)).shape == (70, 100, 3)


def test_a_clip_is_shown_by_its_middle_frame():
    clip = np.stack([np.full((64, 64, 3), v, np.uint8) for v in (0, 90, 200)])
    assert (image_of(clip) == 90).all()


def test_a_signal_is_drawn_as_a_curve():
    flat, wave = (np.sin(np.linspace(0, n, 200))[:, None].astype(np.float32) for n in (0, 20))
    assert (image_of(flat) != image_of(wave)).any()
    assert image_of(wave[:1]).shape == image_of(wave).shape


def test_originals_stand_above_their_reconstructions():
    x = np.stack([np.full((64, 64, 1), v, np.uint8) for v in range(10, 21)])
    x_hat = x + 100
    sheet = draw(x, x_hat)
    cell = 64 + GAP
    assert sheet.shape == (4 * cell + GAP, 8 * cell + GAP, 3)
    assert (sheet[GAP : GAP + 64, GAP : GAP + 64] == 10).all()
    assert (sheet[cell + GAP : cell + GAP + 64, GAP : GAP + 64] == 110).all()
    assert (sheet[2 * cell + GAP : 2 * cell + GAP + 64, GAP : GAP + 64] == 18).all()
    assert (sheet[-1] == GAP_SHADE).all()


def test_a_sheet_comes_back_from_its_file_with_its_rows(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (11, 8, 8, 1)).astype(np.uint8)
    drawn = Gallery({"sources": x, "targets": x // 2, "restored": 255 - x}).sheet()
    assert (drawn.lines, drawn.columns) == (6, 8)
    (tmp_path / "a.png").write_bytes(png_file(drawn, "said"))
    sheet = read_sheet(tmp_path / "a.png")
    np.testing.assert_array_equal(sheet.image, drawn.image)
    assert (sheet.lines, sheet.columns, sheet.rows) == (6, 8, ("sources", "targets", "restored"))
    sources, restored = sheet.bands("sources"), sheet.bands("restored")
    assert len(sources) == len(restored) == 2 and description(tmp_path / "a.png") == "said"
    np.testing.assert_array_equal(sources[0][:64, GAP : GAP + 64], image_of(x[0]))
    np.testing.assert_array_equal(restored[0][:64, GAP : GAP + 64], image_of(255 - x[0]))
    np.testing.assert_array_equal(sources[1][:64, GAP : GAP + 64], image_of(x[8]))
    np.testing.assert_array_equal(sheet.cell(5, 2), image_of(255 - x[10]))


LAYOUT = {"lines": 2, "columns": 1, "rows": ["a", "b"]}


@pytest.mark.parametrize(
    "layout",
    [
        None, "", "null", "[]", "{", "1" * 5_000, json.dumps({**LAYOUT, "lines": 3}),
        json.dumps({**LAYOUT, "lines": 0}), json.dumps({**LAYOUT, "lines": 2.0}),
        json.dumps({**LAYOUT, "columns": 132}), json.dumps({**LAYOUT, "rows": ["a"] * 2}),
        json.dumps({**LAYOUT, "rows": [1, 2]}), json.dumps({**LAYOUT, "rows": ["a", "b" * 999]}),
        json.dumps({**LAYOUT, "rows": list("abc")}), "[" * 100_000,
    ],
    ids=lambda layout: str(layout)[:40],
)  # fmt: skip
def test_what_a_file_says_lies_there_must_fit(tmp_path, layout):
    info = PngImagePlugin.PngInfo()
    if layout is not None:
        info.add_itxt("Layout", layout)
    Image.new("RGB", (68, 134)).save(tmp_path / "a.png", pnginfo=info)
    sheet = read_sheet(tmp_path / "a.png")
    assert (sheet.lines, sheet.columns, sheet.rows) == (0, 0, ())


def test_what_is_no_picture_is_none(tmp_path):
    (tmp_path / "a.png").write_bytes(b"PNG")
    assert read_sheet(tmp_path / "a.png") is None and description(tmp_path / "a.png") == ""


def test_sounds_are_drawn_as_long_as_they_are_four_side_by_side(tmp_path):
    sounds = [np.sin(np.arange(n) / 3)[:, None] for n in (800, 400, 200, 100, 50)]
    captions = [f"clip {n}" for n in range(4)] + ["\x1b" + "x" * 999]
    gallery = Gallery({"a": sounds, "b": sounds[::-1]}, "audio", 8_000.0, captions=captions)
    (tmp_path / "a.png").write_bytes(png_file(drawn := gallery.sheet()))
    sheet = read_sheet(tmp_path / "a.png")
    np.testing.assert_array_equal(sheet.image, drawn.image)
    assert (sheet.lines, sheet.columns, sheet.rows, sheet.medium) == (4, 4, ("a", "b"), "audio")
    assert sheet.captions[:4] == tuple(captions[:4]) and len(sheet.captions) == 5
    assert sheet.captions[4].startswith("\\x1b") and len(sheet.captions[4]) == CAPTION
    np.testing.assert_array_equal(sheet.example("a", 4), sheet.cell(2, 0))
    np.testing.assert_array_equal(sheet.example("b", 1), sheet.cell(1, 1))
    np.testing.assert_array_equal(sheet.example("a", 4), sheet.example("b", 0))
    same = Gallery({"a": sounds}, "audio", 8_000.0)
    samples = Gallery({"a": [np.rint(32_767 * x).astype(np.int16) for x in sounds]}, "audio", 8e3)
    apart = same.sheet().image.astype(int) - samples.sheet().image
    assert (apart != 0).any(-1).mean() < 0.01


def test_of_a_long_sound_the_first_part_is_drawn_and_the_caption_says_so(monkeypatch):
    monkeypatch.setattr(gallery_module, "MOST_SAMPLES", 4_000)
    sounds = [np.zeros((n, 1)) for n in (4_000, 12_000)]
    for captions, expected in ((), ("", "{}")), (("x", "y"), ("x", "y, {}")):
        gallery = Gallery({"a": sounds}, "audio", 8_000.0, captions=captions)
        assert [len(sound) for sound in gallery.sounds()["a"]] == [4_000, 4_000]
        part = "the first 0.5 s of 1.5 s"
        assert gallery.sheet().captions == tuple(text.format(part) for text in expected)


def test_signals_without_a_rate_stay_curves():
    signals = np.sin(np.arange(200))[None, :, None]
    sheet = Gallery({"a": signals}, "audio").sheet()
    np.testing.assert_array_equal(sheet.cell(0, 0), image_of(signals[0]))


@pytest.mark.parametrize("colours", [1, 2, 256, 257])
def test_a_png_has_the_same_pixels_with_a_palette(colours):
    codes = np.arange(32 * 40).reshape(32, 40) % colours
    image = np.stack([codes % 256, codes // 256, 255 - codes % 256], -1).astype(np.uint8)
    packed = pillow_image(image)
    assert packed.mode == ("P" if colours <= 256 else "RGB")
    np.testing.assert_array_equal(np.asarray(packed.convert("RGB")), image)


@pytest.mark.parametrize("captions", [1, None, ["a", 1], ["a"] * 3], ids=str)
def test_captions_that_cannot_be_are_left_out(tmp_path, captions):
    info = PngImagePlugin.PngInfo()
    info.add_itxt("Layout", json.dumps({**LAYOUT, "captions": captions, "medium": captions}))
    Image.new("RGB", (68, 134)).save(tmp_path / "a.png", pnginfo=info)
    sheet = read_sheet(tmp_path / "a.png")
    assert (sheet.captions, sheet.medium, sheet.rows) == ((), None, ("a", "b"))


def test_captions_are_of_every_example():
    with pytest.raises(ValueError, match="2 captions"):
        Gallery({"a": [1]}, captions=("a", "b"))


@pytest.mark.parametrize("rows", [{}, {"a": []}, {"a": [1], "b": [1, 2]}], ids=str)
def test_nothing_to_draw_is_an_error(rows):
    with pytest.raises(ValueError, match="wanted equally many, at least one"):
        Gallery(rows)
