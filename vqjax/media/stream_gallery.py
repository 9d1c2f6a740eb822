"""Examples of streams of several media: conditions, and what a model draws for each of them."""

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vqjax.format import printable
from vqjax.media.gallery import (
    CAPTION,
    INK,
    PAPER,
    SHOWN,
    SOUNDS,
    Gallery,
    Sheet,
    StreamRow,
    lay_rows,
)

COLUMNS = 8  # side by side, where nothing is a sound
LINE, LINES = 28, 4  # letters and lines of a text that is drawn, at most
TEXT_WIDTH = 176  # pixels of such a line
BAR = "|"  # "audio|image": of stream audio, given stream image


def row_name(stream: str, condition: str) -> str:
    """The name of the row of a stream's examples for those of another; of the conditions
    themselves, where these are the same, that of the stream.
    """
    return stream if stream == condition else f"{stream}{BAR}{condition}"


def streams_of(row: str) -> tuple[str, str]:
    """`row_name` backwards: a stream and its condition."""
    stream, bar, condition = row.partition(BAR)
    return stream, condition if bar else stream


@dataclasses.dataclass(frozen=True)
class Texts:
    """Rows of texts, named as those of a `Gallery`, as many in each."""

    rows: Mapping[str, Sequence[str]]

    def cells(self) -> dict[str, list[np.ndarray]]:
        """{row: its texts as images}, uint8 [H, W, 3] each."""
        return {name: list(map(_drawn, row)) for name, row in self.rows.items()}


@dataclasses.dataclass(frozen=True)
class StreamGallery:
    """Examples to look at, of each stream as many for every condition.

    Attributes:
        streams: {name: its examples}, whose rows `row_name` names: its own, where it is a
            condition, and those drawn for each condition.
        note: on how these were drawn.
    """

    streams: Mapping[str, Gallery | Texts]
    note: str = ""

    @property
    def rows(self) -> tuple[str, ...]:
        """Their names: those of each condition after each other, its own first."""
        found = [row for shown in self.streams.values() for row in shown.rows]
        conditions = dict.fromkeys(streams_of(row)[1] for row in found)
        order = [name for name in self.streams if name in conditions]
        return tuple(
            row
            for condition in order
            for row in sorted(found, key=lambda row: row != condition)  # its own first
            if streams_of(row)[1] == condition
        )

    def clips(self) -> dict[str, tuple[list[np.ndarray], float]]:
        """See `Gallery.clips`."""
        galleries = [shown for shown in self.streams.values() if isinstance(shown, Gallery)]
        return {row: clips for shown in galleries for row, clips in shown.clips().items()}

    def sheet(self) -> Sheet:
        """All rows as one image, and what they are of."""
        cells = {
            row: drawn for shown in self.streams.values() for row, drawn in shown.cells().items()
        }
        heard = self.clips()
        texts = {
            row: tuple(printable(text, CAPTION) for text in examples)
            for shown in self.streams.values()
            if isinstance(shown, Texts)
            for row, examples in shown.rows.items()
        }
        cells = {row: cells[row] for row in self.rows}
        streams = tuple(
            StreamRow(len(drawn), drawn[0].shape[:2], row in heard, texts.get(row, ()))
            for row, drawn in cells.items()
        )
        laid = lay_rows(cells, SOUNDS if heard else COLUMNS)
        return dataclasses.replace(laid, streams=streams, note=printable(self.note, CAPTION))


def _drawn(text: str) -> np.ndarray:
    """A text as an image, uint8 [SHOWN, TEXT_WIDTH, 3]; letters that the font lacks as "?"."""
    known = printable(text, LINE * LINES).encode("latin-1", "replace").decode("latin-1")
    image = Image.new("RGB", (TEXT_WIDTH, SHOWN), PAPER)
    lines = "\n".join(textwrap.wrap(known, LINE)[:LINES])
    ImageDraw.Draw(image).multiline_text((6, 4), lines, INK, ImageFont.load_default())
    return np.asarray(image)
