"""How an output is looked at: the one place that turns examples of any rank into a picture.

Pictures are shown as they are, clips by their middle frame, signals as a drawn curve.
"""

import io
from collections.abc import Sequence

import chex
import numpy as np
from PIL import Image, ImageDraw, PngImagePlugin

from vqjax.files import GENERATOR, SOFTWARE
from vqjax.format import printable

SHOWN = 64  # pixels; smaller pictures are enlarged by a whole factor to at least nearly this
GAP = 2  # pixels between pictures
GAP_SHADE = 128
MAX_PAIRS = 8  # of rows that `bands` looks for
CURVE_SIZE = (96, 256)  # height and width of a drawn signal
INK, PAPER, AXIS = (38, 84, 150), (250, 250, 250), (205, 205, 205)


def to_uint8(x: np.ndarray) -> np.ndarray:
    """uint8 stays; floats in [-1, 1] become 0 to 255, rounded, what lies outside clipped."""
    x = np.asarray(x)
    if x.dtype == np.uint8:
        return x
    return np.rint((np.clip(np.nan_to_num(x.astype(np.float32)), -1, 1) + 1) * 127.5).astype(
        np.uint8
    )


def _to_float(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    return x.astype(np.float32) / 127.5 - 1 if x.dtype == np.uint8 else x.astype(np.float32)


def _enlarge(picture: np.ndarray) -> np.ndarray:
    factor = max(1, SHOWN // max(picture.shape[:2]))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _as_rgb(picture: np.ndarray) -> np.ndarray:
    """uint8 [H, W, C] -> [H, W, 3]; of other than three channels the first is shown in grey."""
    return picture[..., :3] if picture.shape[-1] >= 3 else picture[..., :1].repeat(3, axis=-1)


def _curve(signal: np.ndarray) -> np.ndarray:
    """The first channel of a signal [T, C] in [-1, 1] as a drawn curve, uint8 [H, W, 3]."""
    height, width = CURVE_SIZE
    image = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(image)
    pen.line([(0, height // 2), (width, height // 2)], fill=AXIS)
    values = np.clip(np.nan_to_num(signal[:, 0]), -1, 1)
    across = np.linspace(2, width - 3, len(values)) if len(values) > 1 else np.array([width / 2])
    down = (height - 1) / 2 - values * (height / 2 - 4)
    pen.line(list(zip(across.tolist(), down.tolist(), strict=True)), fill=INK, width=1)
    return np.asarray(image)


def picture_of(example: np.ndarray) -> np.ndarray:
    """One example as a picture, uint8 [H, W, 3].

    Args:
        example: [T, C] signal, [H, W, C] picture or [T, H, W, C] clip (its middle frame is
            shown); uint8 0 to 255 or float in [-1, 1].
    """
    example = np.asarray(example)
    if example.ndim == 2:
        return _curve(_to_float(example))
    if example.ndim == 4:
        example = example[len(example) // 2]
    chex.assert_rank(example, 3)
    return _as_rgb(_enlarge(to_uint8(example)))


def tile(rows: list[list[np.ndarray]]) -> np.ndarray:
    """Pictures uint8 [H, W, 3] in rows; each sits in a cell of the largest size among them."""
    height = max(p.shape[0] for row in rows for p in row) + GAP
    width = max(p.shape[1] for row in rows for p in row) + GAP
    columns = max(len(row) for row in rows)
    sheet = np.full((len(rows) * height + GAP, columns * width + GAP, 3), GAP_SHADE, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            h, w = picture.shape[:2]
            top, left = i * height + GAP, j * width + GAP
            sheet[top : top + h, left : left + w] = picture
    return sheet


def draw(x: Sequence[np.ndarray], x_hat: Sequence[np.ndarray], columns: int = 8) -> np.ndarray:
    """Originals with their reconstructions beneath.

    Args:
        x: examples [*S, C], at least one: uint8 0 to 255 or float in [-1, 1].
        x_hat: as many, of the same shapes.
        columns: examples per row of originals; rows alternate: originals, reconstructions.

    Returns:
        uint8 [H, W, 3].
    """
    if len(x) != len(x_hat) or not len(x):
        raise ValueError(f"{len(x)} originals and {len(x_hat)} reconstructions")
    shown = [[picture_of(a) for a in arrays] for arrays in (x, x_hat)]
    rows = []
    for first in range(0, len(x), columns):
        rows += [pictures[first : first + columns] for pictures in shown]
    return tile(rows)


def bands(sheet: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Cuts what `draw` made into rows.

    Args:
        sheet: uint8 [H, W, 3].

    Returns:
        The rows of originals and, one for each, the rows of reconstructions, uint8 [h, W, 3];
        both empty where `sheet` does not look like one of `draw`.
    """
    count = rows_in(sheet, range(2 * MAX_PAIRS, 0, -2))
    height = (len(sheet) - GAP) // count if count else 0
    rows = [sheet[i * height + GAP : (i + 1) * height] for i in range(count)]
    return rows[::2], rows[1::2]


def rows_in(sheet: np.ndarray, counts: Sequence[int]) -> int:
    """The first of `counts` that `sheet`, uint8 [H, W, 3], can be cut into: so many rows of equal
    height with a gap around each; 0 where it is none of them.
    """
    for count in counts:
        height, rest = divmod(len(sheet) - GAP, count)
        edges = [i * height + j for i in range(count + 1) for j in range(GAP)]
        if not rest and height > GAP and (sheet[edges] == GAP_SHADE).all():
            return count
    return 0


def png_file(picture: np.ndarray, description: str = "") -> bytes:
    """The PNG of a picture uint8 [H, W, C] of 1 to 4 channels, with the mark of what vqjax writes
    and, where there is one, a description.
    """
    info = PngImagePlugin.PngInfo()
    info.add_text(SOFTWARE, GENERATOR)  # first: `vqjax.files` looks for it behind the header
    if description:
        info.add_itxt("Description", printable(description))
    buffer = io.BytesIO()
    plain = picture[..., 0] if picture.shape[-1] == 1 else picture
    Image.fromarray(plain).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()
