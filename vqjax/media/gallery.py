"""How outputs are shown: the one place that turns examples of any rank into an image.

Images are shown as they are, clips by their middle frame, sound as spectrograms of common scales,
other signals as drawn curves.
"""

import dataclasses
import io
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import chex
import numpy as np
from PIL import Image, ImageDraw, PngImagePlugin

from vqjax.files import GENERATOR, SOFTWARE
from vqjax.format import LINE, number, printable
from vqjax.media.spectrogram import MOST_SAMPLES, Scales, draw_sound

SHOWN = 64  # pixels; smaller images are enlarged by a whole factor to at least nearly this
GAP = 2  # pixels between images
GAP_SHADE = 128
MAX_PIXELS = 160 << 20  # of a sheet that is read; a run on 2,048 x 2,048 draws 16,402 x 8,202
LAYOUT, DESCRIPTION = "Layout", "Description"  # chunks of a PNG
NAME = 80  # characters of a row's name
CAPTION = 160  # likewise, of an example's caption
MEDIA = ("image", "audio", "video")
AUDIO = "audio"  # the medium that is drawn as spectrograms
SOUNDS = 4  # side by side at most
STREAM_ROWS = 64  # of a sheet of several media that is read, those of eight streams
FEW = 256  # colours that a PNG has a palette of
PACKED = 4 << 20  # pixels of an image whose colours are counted, at most
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
    if x.dtype == np.int16:
        return x.astype(np.float32) / 32_768
    return x.astype(np.float32) / 127.5 - 1 if x.dtype == np.uint8 else x.astype(np.float32)


def _enlarge(image: np.ndarray) -> np.ndarray:
    factor = max(1, SHOWN // max(image.shape[:2]))
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def _as_rgb(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, C] -> [H, W, 3]; of other than three channels the first is shown in grey."""
    return image[..., :3] if image.shape[-1] >= 3 else image[..., :1].repeat(3, axis=-1)


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


def image_of(example: np.ndarray) -> np.ndarray:
    """One example as an image, uint8 [H, W, 3].

    Args:
        example: [T, C] signal, [H, W, C] image or [T, H, W, C] clip (its middle frame is
            shown); uint8 0 to 255, int16 of full scale 32,768 or float in [-1, 1].
    """
    example = np.asarray(example)
    if example.ndim == 2:
        return _curve(_to_float(example))
    if example.ndim == 4:
        example = example[len(example) // 2]
    chex.assert_rank(example, 3)
    return _as_rgb(_enlarge(to_uint8(example)))


@dataclasses.dataclass(frozen=True)
class StreamRow:
    """One row of a sheet whose rows are of several media.

    Attributes:
        count: examples, at least 1.
        size: height and width of each of them, in its cell's upper left corner.
        is_sound: whether they are spectrograms.
        texts: what they say, where they are texts; else ().
    """

    count: int
    size: tuple[int, int]
    is_sound: bool = False
    texts: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A gallery drawn as one image, and its layout.

    Attributes:
        image: uint8 [H, W, 3].
        lines: of cells, from the top; 0: unknown.
        columns: of cells.
        rows: names of the lines, repeated from the top; (): all lines are alike.
        medium: of the examples; None: unknown.
        captions: of the examples, in their order; (): they have none.
        streams: of each row what it is of, where they are of several media; (): they are not.
        note: on how they were made; "": there is none.
    """

    image: np.ndarray
    lines: int = 0
    columns: int = 0
    rows: tuple[str, ...] = ()
    medium: str | None = None
    captions: tuple[str, ...] = ()
    streams: tuple[StreamRow, ...] = ()
    note: str = ""

    def bands(self, row: str) -> list[np.ndarray]:
        """The lines of one row, uint8 [h, W, 3], without the gaps around them."""
        first, every = self.rows.index(row), len(self.rows)
        height = (len(self.image) - GAP) // self.lines
        lines = range(first, self.lines, every)
        return [self.image[i * height + GAP : (i + 1) * height] for i in lines]

    def cell(self, line: int, column: int) -> np.ndarray:
        """One cell, uint8 [h, w, 3]."""
        height = (self.image.shape[0] - GAP) // self.lines
        width = (self.image.shape[1] - GAP) // self.columns
        top, left = line * height + GAP, column * width + GAP
        return self.image[top : top + height - GAP, left : left + width - GAP]

    def example(self, row: str, number: int) -> np.ndarray:
        """The cell of one example of a row, uint8 [h, w, 3]."""
        line, column = divmod(number, self.columns)
        return self.cell(line * len(self.rows) + self.rows.index(row), column)


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Examples to look at, in named rows beneath each other.

    Attributes:
        rows: {name: examples [n, *S, C]}, as many in each row, uint8 0 to 255, int16 of full scale
            32,768 or float in [-1, 1]: {"originals": x, "reconstructions": x_hat}. Sounds may be of
            different lengths; what is drawn of them ends where they do.
        medium: what they are, "image", "audio" or "video"; None: as their rank says. What is
            "audio" and has a rate is drawn as spectrograms, whose scales the first row sets.
        rate: samples or frames per second, of what has a rate.
        columns: examples side by side.
        captions: of the examples, such as their classes; (): they have none.
    """

    rows: Mapping[str, Sequence[np.ndarray]]
    medium: str | None = None
    rate: float | None = None
    columns: int = 8
    captions: Sequence[str] = ()

    def __post_init__(self) -> None:
        counts = {name: len(examples) for name, examples in self.rows.items()}
        if len(set(counts.values())) != 1 or not all(counts.values()):
            raise ValueError(f"rows of {counts} examples: wanted equally many, at least one")
        if len(self.captions) not in (0, *counts.values()):
            raise ValueError(f"{len(self.captions)} captions of {counts} examples")

    @property
    def is_sound(self) -> bool:
        """Whether spectrograms are drawn: see `medium`."""
        return self.medium == AUDIO and bool(self.rate)

    def sounds(self) -> dict[str, list[np.ndarray]]:
        """{row: sounds float32[T]}, the mean of their channels, `MOST_SAMPLES` of each at most; of
        a gallery that `is_sound`.
        """
        return {
            row: [np.nan_to_num(_to_float(x[:MOST_SAMPLES]).mean(axis=-1)) for x in examples]
            for row, examples in self.rows.items()
        }

    def clips(self) -> dict[str, tuple[list[np.ndarray], float]]:
        """{row: (its `sounds`, samples per second)}; {} where nothing is heard."""
        if not self.is_sound:
            return {}
        return {row: (sounds, self.rate) for row, sounds in self.sounds().items()}

    def _captions(self) -> tuple[str, ...]:
        """What is drawn, per example; of a sound that is cut also how much of it."""
        if not self.is_sound:
            return tuple(self.captions)
        lengths = [len(x) for x in next(iter(self.rows.values()))]
        parts = [
            f"the first {number(MOST_SAMPLES / self.rate, 3)} s of {number(n / self.rate, 3)} s"
            if n > MOST_SAMPLES
            else ""
            for n in lengths
        ]
        captions = self.captions or [""] * len(lengths)
        return tuple(", ".join(filter(None, pair)) for pair in zip(captions, parts, strict=True))

    def sheet(self) -> Sheet:
        """The gallery as one image: `columns` examples of every row, then the next ones."""
        columns = min(self.columns, SOUNDS) if self.is_sound else self.columns
        captions = tuple(printable(caption, CAPTION) for caption in self._captions())
        laid = lay_rows(self.cells(), columns)
        return dataclasses.replace(laid, medium=self.medium, captions=captions)

    def cells(self) -> dict[str, list[np.ndarray]]:
        """{row: its examples as images}, uint8 [H, W, 3] each."""
        if not self.is_sound:
            return {name: list(map(image_of, row)) for name, row in self.rows.items()}
        sounds = self.sounds()
        scales = Scales.of(list(sounds.values()), self.rate)
        return {name: [draw_sound(x, scales) for x in row] for name, row in sounds.items()}


def lay_rows(rows: Mapping[str, Sequence[np.ndarray]], columns: int) -> Sheet:
    """Rows of images uint8 [H, W, 3], `columns` of every row, then the next ones."""
    starts = range(0, max(map(len, rows.values())), columns)
    lines = [row[first : first + columns] for first in starts for row in rows.values()]
    return lay(lines, tuple(rows))


def lay(lines: Sequence[Sequence[np.ndarray]], rows: tuple[str, ...] = ()) -> Sheet:
    """Images uint8 [H, W, 3] in lines; each sits in a cell of the largest size among them."""
    height = max(image.shape[0] for line in lines for image in line) + GAP
    width = max(image.shape[1] for line in lines for image in line) + GAP
    columns = max(len(line) for line in lines)
    sheet = np.full((len(lines) * height + GAP, columns * width + GAP, 3), GAP_SHADE, np.uint8)
    for i, line in enumerate(lines):
        for j, image in enumerate(line):
            h, w = image.shape[:2]
            top, left = i * height + GAP, j * width + GAP
            sheet[top : top + h, left : left + w] = image
    return Sheet(sheet, len(lines), columns, rows)


def draw(x: Sequence[np.ndarray], x_hat: Sequence[np.ndarray], columns: int = 8) -> np.ndarray:
    """Originals with their reconstructions beneath, uint8 [H, W, 3]: see `Gallery`."""
    return Gallery({"originals": x, "reconstructions": x_hat}, columns=columns).sheet().image


def png_file(image: np.ndarray | Sheet, description: str = "") -> bytes:
    """The PNG of a sheet, or of an image uint8 [H, W, C] of 1 to 4 channels, with the mark of what
    vqjax writes, the layout of a sheet and, where there is one, a description.
    """
    info = PngImagePlugin.PngInfo()
    info.add_text(SOFTWARE, GENERATOR)  # first: `vqjax.files` looks for it behind the header
    if isinstance(image, Sheet):
        layout = {"lines": image.lines, "columns": image.columns, "rows": list(image.rows)}
        layout |= {"medium": image.medium, "captions": list(image.captions)}
        if image.streams:
            layout["streams"] = [dataclasses.asdict(row) for row in image.streams]
        if image.note:
            layout["note"] = image.note
        info.add_itxt(LAYOUT, json.dumps(layout))
        image = image.image
    if description:
        info.add_itxt(DESCRIPTION, printable(description))
    buffer = io.BytesIO()
    pillow_image(image).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def pillow_image(image: np.ndarray) -> Image.Image:
    """uint8 [H, W, C] of 1 to 4 channels for Pillow. Colours of at most `FEW` kinds, as drawings
    have, come with a palette: the same pixels in fewer bytes.
    """
    if image.shape[-1] != 3 or image[..., 0].size > PACKED:
        return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    codes = image.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)  # [H, W]
    colours, indices = np.unique(codes, return_inverse=True)
    if len(colours) > FEW:
        return Image.fromarray(image)
    packed = Image.fromarray(indices.reshape(codes.shape).astype(np.uint8))
    channels = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], -1)
    packed.putpalette(channels.astype(np.uint8).tobytes())
    return packed


def read_sheet(path: str | os.PathLike) -> Sheet | None:
    """A sheet from its PNG, with the layout that the file has, if any. None for all but a PNG of
    at most `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=("PNG",)) as file:
            if file.width * file.height > MAX_PIXELS:
                return None
            layout = file.info.get(LAYOUT)
            image = np.asarray(file.convert("RGB"))
    except Exception:  # half written by a run that is going on, or damaged in any way
        return None
    return _with_layout(image, layout)


def _with_layout(image: np.ndarray, text: Any) -> Sheet:
    """The sheet with the layout in a file's text; without it where the image cannot have it."""
    try:
        layout = json.loads(text)
        lines, columns = layout["lines"], layout["columns"]
        rows = tuple(name for name in layout["rows"] if isinstance(name, str) and len(name) <= NAME)
        height, width = image.shape[:2]
        counted = type(lines) is int and type(columns) is int and min(lines, columns) > 0
        named = len({*rows}) == len(layout["rows"]) and lines % max(len(rows), 1) == 0
        sizes = divmod(height - GAP, lines), divmod(width - GAP, columns)
        if not (counted and named and all(size > GAP and not rest for size, rest in sizes)):
            return Sheet(image)
    except (ValueError, TypeError, KeyError, ZeroDivisionError, RecursionError):
        return Sheet(image)
    sheet = Sheet(image, lines, columns, rows, *_examples(layout, lines * columns))
    note = layout["note"] if isinstance(layout.get("note"), str) else ""
    return dataclasses.replace(
        sheet, streams=_streams(layout, sheet), note=printable(note, CAPTION)
    )


def _examples(layout: Mapping[str, Any], cells: int) -> tuple[str | None, tuple[str, ...]]:
    """The medium and the captions in a file's layout; nothing where they cannot be."""
    medium, captions = layout.get("medium"), layout.get("captions")
    medium = medium if medium in MEDIA else None
    counted = isinstance(captions, list) and len(captions) * max(len(layout["rows"]), 1) <= cells
    if not counted or not all(isinstance(text, str) for text in captions):
        return medium, ()
    return medium, tuple(printable(text, CAPTION) for text in captions)


def _streams(layout: Mapping[str, Any], sheet: Sheet) -> tuple[StreamRow, ...]:
    """What a file's layout says of the rows of a sheet; () where that cannot be."""
    if "streams" not in layout or not 0 < len(sheet.rows) <= STREAM_ROWS:
        return ()
    most = sheet.lines // len(sheet.rows) * sheet.columns
    height, width = sheet.cell(0, 0).shape[:2]
    found = []
    try:
        for row in layout["streams"]:
            (h, w), count, texts = row["size"], row["count"], row["texts"]
            whole = all(type(n) is int and n > 0 for n in (h, w, count))
            if not (whole and h <= height and w <= width and count <= most):
                return ()
            if len(texts) not in (0, count) or not all(isinstance(t, str) for t in texts):
                return ()
            shown = tuple(printable(text, CAPTION) for text in texts)
            found.append(StreamRow(count, (h, w), row["is_sound"] is True, shown))
    except (ValueError, TypeError, KeyError):
        return ()
    return tuple(found) if len(found) == len(sheet.rows) else ()


def description(path: str | os.PathLike) -> str:
    """The description in a PNG; "" where there is none."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=("PNG",)) as image:
            return printable(str(image.info.get(DESCRIPTION, "")), LINE)
    except Exception:  # as above
        return ""
