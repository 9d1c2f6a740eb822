"""Masks from files: white is white in whatever mode, and an empty one is never taken in silence."""

import numpy as np
import pytest
from PIL import Image

from vqjax.cli.masks import HALVES, half, read_mask
from vqjax.types import DataError, UsageError

WHITE = np.zeros((4, 6), bool)
WHITE[1:3, 2:] = True


def _palette(colours):
    image = Image.fromarray(WHITE.astype(np.uint8))
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette(colours)
    return image


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(WHITE.astype(np.uint8)),  # 0 and 1
        Image.fromarray(WHITE * np.uint8(255)),
        Image.fromarray(WHITE * np.uint8(130)),  # nearer to white than to black
        Image.fromarray(WHITE),  # mode "1"
        Image.fromarray((WHITE * np.uint8(255))[..., None].repeat(3, -1)),
        Image.fromarray(WHITE[..., None].repeat(3, -1).astype(np.uint8)),
        Image.fromarray(WHITE * np.uint8(255)).convert("RGBA"),
        Image.fromarray(WHITE * np.uint8(255)).convert("LA"),
        Image.fromarray(WHITE.astype(np.uint16)),
        Image.fromarray(WHITE * np.uint16(255)),
        Image.fromarray(WHITE * np.uint16(65_535)),
        _palette([0, 0, 0, 255, 255, 255]),
        _palette([0, 0, 0, 1, 1, 1]),
    ],
    ids=lambda image: f"{image.mode} {image.getextrema()}",
)
def test_white_is_read_in_any_mode(tmp_path, image):
    image.save(tmp_path / "mask.png")
    mask = read_mask(str(tmp_path / "mask.png"), 100)
    assert mask.dtype == np.uint8 and mask.shape == (4, 6, 1)
    np.testing.assert_array_equal(mask[..., 0] > 127, WHITE)


def _with_alpha(colour, alpha):
    return np.dstack([np.broadcast_to(colour, (4, 6, 3)), alpha]).astype(np.uint8)


@pytest.mark.parametrize(
    ("levels", "line"),
    [
        (np.zeros((4, 6), np.uint8), "no pixel is white.*its levels are 0 to 0 of 1$"),
        (WHITE * np.uint8(100), "no pixel is white.*its levels are 0 to 100 of 255"),
        (WHITE * np.uint8(7), "0 to 7 of 255"),
        (_with_alpha([255, 0, 0], np.full((4, 6), 255)), "its levels are 76 to 76 of 255"),
        (_with_alpha([0, 0, 0], WHITE * 255), "67% of its pixels are transparent"),
        (_with_alpha([255, 255, 255], WHITE * 255), "white is drawn anew"),
        (_with_alpha([255, 255, 255], np.full((4, 6), 254)), "100% of its pixels are transparent"),
    ],
)
def test_what_is_none_is_one_line(tmp_path, levels, line):
    Image.fromarray(levels).save(tmp_path / "mask.png")
    with pytest.raises(UsageError, match=line):
        read_mask(str(tmp_path / "mask.png"), 100)


def test_a_transparent_colour_is_seen(tmp_path):
    image = _palette([0, 0, 0, 255, 255, 255])
    image.save(tmp_path / "mask.png", transparency=0)
    with pytest.raises(UsageError, match="67% of its pixels are transparent"):
        read_mask(str(tmp_path / "mask.png"), 100)


def test_what_is_no_picture_or_too_large_is_one_line(tmp_path):
    Image.fromarray(WHITE).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match="24 pixels, more than 23"):
        read_mask(str(tmp_path / "mask.png"), 23)
    (tmp_path / "mask.png").write_bytes(b"\x89PNG torn")
    with pytest.raises(DataError, match="mask.png: "):
        read_mask(str(tmp_path / "mask.png"), 100)


def test_halves():
    masks = {name: half(name, (3, 5))[..., 0] > 0 for name in HALVES}
    assert (masks["top"] ^ masks["bottom"]).all() and (masks["left"] ^ masks["right"]).all()
    assert masks["top"].sum() == 5 and masks["left"].sum() == 6
