"""Examples of several media on one sheet, read back as they were drawn."""

import json

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from vqjax.media.clips import clip_files, clip_path
from vqjax.media.gallery import CAPTION, Gallery, StreamRow, image_of, png_file, read_sheet
from vqjax.media.stream_gallery import StreamGallery, Texts, row_name, streams_of

IMAGES = np.arange(2 * 3 * 16, dtype=np.uint8).reshape(6, 4, 4, 1) * 2
SOUNDS = [np.sin(np.arange(n) / 5)[:, None] / 2 for n in (900, 400, 700)]
ROWS = ("sound", "image|sound", "text|sound", "image", "sound|image", "text|image")


def gallery():
    texts = Texts({"text|sound": ["a", "零", "\x1b" + "x" * 999], "text|image": ["b", "", " "]})
    images = Gallery({"image": IMAGES[:3], "image|sound": IMAGES[3:]}, "image")
    sounds = Gallery({"sound": SOUNDS, "sound|image": SOUNDS[::-1]}, "audio", 8_000)
    return StreamGallery({"sound": sounds, "image": images, "text": texts}, "hot \x1b")


def test_names_of_rows():
    assert [row_name(*pair) for pair in map(streams_of, ROWS)] == list(ROWS)
    assert streams_of("text|image") == ("text", "image") and streams_of("text") == ("text", "text")


def test_a_sheet_has_each_condition_before_what_is_drawn_for_it(tmp_path):
    (tmp_path / "a.png").write_bytes(png_file(drawn := gallery().sheet()))
    sheet = read_sheet(tmp_path / "a.png")
    np.testing.assert_array_equal(sheet.image, drawn.image)
    assert sheet.streams == drawn.streams and sheet.rows == ROWS and sheet.note == "hot \\x1b"
    assert [row.count for row in sheet.streams] == [3] * 6
    assert [row.is_sound for row in sheet.streams] == [True, False, False, False, True, False]
    height, width = sheet.streams[1].size
    for number in range(3):
        cell = sheet.example("image|sound", number)[:height, :width]
        np.testing.assert_array_equal(cell, image_of(IMAGES[3 + number]))
    first, second, third = sheet.streams[2].texts
    assert (first, second) == ("a", "零")
    assert third.startswith("\\x1bxx") and len(third) == CAPTION
    assert sheet.streams[5].texts == ("b", "", " ")
    np.testing.assert_array_equal(sheet.example("sound", 0), sheet.example("sound|image", 2))


def test_texts_can_be_read_on_the_sheet():
    sheet = gallery().sheet()
    inks = [(sheet.example("text|sound", i) != 250).any(-1).mean() for i in range(2)]
    blank = (sheet.example("text|image", 1) != 250).any(-1).mean()
    assert all(ink > blank for ink in inks)


def test_its_sounds_are_files(tmp_path):
    files = clip_files(3, gallery())
    assert len(files) == 6
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for row in ("sound", "sound|image"):
        assert all(clip_path(tmp_path, 3, number, row, ROWS) for number in range(3))
    assert clip_path(tmp_path, 3, 0, "image", ROWS) is None


def test_streams_of_words_alone_are_eight_side_by_side():
    words = {f"w{i}": Texts({f"w{i}": ["x"] * 9, f"w{i}|w{1 - i}": ["y"] * 9}) for i in range(2)}
    sheet = StreamGallery(words).sheet()
    assert (sheet.lines, sheet.columns) == (8, 8) and StreamGallery(words).clips() == {}
    assert sheet.rows == ("w0", "w1|w0", "w1", "w0|w1")


ROW = {"count": 1, "size": [64, 64], "is_sound": False, "texts": []}
LAYOUT = {"lines": 2, "columns": 1, "rows": ["a", "b"]}


@pytest.mark.parametrize(
    "streams",
    [
        1, None, [ROW], [ROW] * 3, [ROW, 1], [ROW, {}], [ROW, {**ROW, "count": 2}],
        [ROW, {**ROW, "count": 0}], [ROW, {**ROW, "count": True}], [ROW, {**ROW, "size": [64]}],
        [ROW, {**ROW, "size": [65, 64]}], [ROW, {**ROW, "size": [0, 64]}],
        [ROW, {**ROW, "size": [1.5, 2]}], [ROW, {**ROW, "texts": ["a", "b"]}],
        [ROW, {**ROW, "texts": [1]}], [ROW, {**ROW, "texts": None}],
    ],
    ids=str,
)  # fmt: skip
def test_what_a_file_cannot_have_is_left_out(tmp_path, streams):
    found = []
    for given in (streams, [ROW, {**ROW, "texts": ["\x1b"], "is_sound": 1}]):
        info = PngImagePlugin.PngInfo()
        info.add_itxt("Layout", json.dumps({**LAYOUT, "streams": given}))
        Image.new("RGB", (68, 134)).save(tmp_path / "a.png", pnginfo=info)
        found.append(read_sheet(tmp_path / "a.png"))
    assert found[0].streams == () and found[0].rows == ("a", "b")
    row = StreamRow(1, (64, 64))
    assert found[1].streams == (row, StreamRow(1, (64, 64), False, ("\\x1b",)))
