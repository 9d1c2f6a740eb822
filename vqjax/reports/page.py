"""A page: of one run, of several, or of `vqjax compare`.

Reports gather what is on it, `templates/` lay it out, all text escaped. No script, no font, no
picture from elsewhere: the file can be mailed, archived and opened offline, and its policy makes
the browser run nothing and ask for nothing.
"""

import base64
import dataclasses
import functools
import importlib.resources
import io
import os
import pathlib
from collections.abc import Sequence

import jinja2
import numpy as np
from PIL import Image as Images

from vqjax._version import __version__
from vqjax.files import GENERATOR, write_output
from vqjax.format import printable_lines
from vqjax.media.chart import Chart
from vqjax.reports.glossary import Entry
from vqjax.reports.tables import Fact, Table

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
SHOWN_PIXELS = 4 << 20  # of a picture on a page; larger ones are made smaller


@dataclasses.dataclass(frozen=True)
class Image:
    """A PNG inside the page. Its size keeps the page from jumping."""

    base64: str
    width: int
    height: int
    text: str

    @classmethod
    def of(cls, picture: np.ndarray, text: str) -> "Image":
        """A picture uint8 [H, W, C]; `text` is for those who cannot see it."""
        buffer, image = io.BytesIO(), Images.fromarray(picture)
        share = (SHOWN_PIXELS / (image.width * image.height)) ** 0.5
        if share < 1:
            image.thumbnail((image.width * share, image.height * share), Images.Resampling.LANCZOS)
        image.save(buffer, "PNG", optimize=True)
        return cls(base64.b64encode(buffer.getvalue()).decode(), *image.size, text)


@dataclasses.dataclass(frozen=True)
class Strip:
    """One line of pictures. On its left stands `name` in bold, and `label`."""

    image: Image
    label: str
    name: str = ""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A sheet, or strips beneath each other.

    Attributes:
        caption: what it shows; "": nothing is above it.
        detail: more of that in smaller letters.
        link: (id of the section, name) of the run that it is of, where the page has several.
        image: the sheet; None: there are strips.
        headings: (text, columns that it is over) above the sheet.
        width: of the sheet in pixels, at most; None: as its place on the page.
        least_width: of a sheet under headings, in characters; narrower pages scroll.
    """

    caption: str = ""
    detail: str = ""
    link: tuple[str, str] | None = None
    image: Image | None = None
    strips: Sequence[Strip] = ()
    headings: Sequence[tuple[str, int]] = ()
    width: int | None = None
    least_width: int = 0


@dataclasses.dataclass(frozen=True)
class Section:
    """One run.

    Attributes:
        anchor: its id on the page.
        name, summary: what it begins with among several; "" on a page of its own.
        facts: the band of numbers on top.
        shows: heading of its pictures; "": it makes none.
        pictures: of its newest evaluations.
        no_pictures: why there are none.
        charts: of its training.
        numbers, sizes: tables; None: nothing is known.
        command, experiment, log: how it was made; "": not known.
    """

    anchor: str
    name: str
    summary: str
    facts: Sequence[Fact]
    shows: str
    pictures: Sequence[Figure]
    no_pictures: str
    charts: Sequence[Chart]
    numbers: Table | None
    sizes: Table | None
    command: str
    experiment: str
    log: str


@dataclasses.dataclass(frozen=True)
class Compared:
    """What only `vqjax compare` shows.

    Attributes:
        plot: rate and distortion; None where no run has both.
        legend: what the columns of the table mean.
        pictures: the same originals through each run.
        samples: what priors made.
    """

    plot: Chart | None
    legend: Sequence[Entry]
    pictures: Sequence[Figure]
    samples: Sequence[Figure]


@functools.cache
def environment() -> jinja2.Environment:
    """Where templates are found, and what may become of values in them: text, escaped."""
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_visible,
    )


def _template(name: str) -> str:
    """A file, of which the lines of a template are joined: their indentation is for people."""
    text = importlib.resources.files("vqjax.reports").joinpath("templates", name).read_text("utf-8")
    return text if name.endswith(".css") else "".join(map(str.strip, text.splitlines()))


def _visible(value: object) -> object:
    """Text with its control characters as escapes; what is made of elements stays as it is."""
    return value if hasattr(value, "__html__") else printable_lines(str(value))


@dataclasses.dataclass(frozen=True)
class Page:
    """One HTML file.

    Attributes:
        kind: what wrote it.
        title: of the page and its window.
        lead: a sentence on what it shows.
        path: of the run that it is of; "": it is of several.
        drawn: sheets of `sample` and `edit`.
        table: the runs side by side, and `notes` on it.
        compared: what only `vqjax compare` shows.
        sections: one for each run.
        glossary: what the numbers mean.
    """

    kind: str
    title: str
    lead: str = ""
    path: str = ""
    drawn: Sequence[Figure] = ()
    table: Table | None = None
    notes: Sequence[str] = ()
    compared: Compared | None = None
    sections: Sequence[Section] = ()
    glossary: Sequence[Entry] = ()

    def html(self) -> str:
        """The text of the file."""
        template = environment().get_template("page.html.j2")
        made = {"generator": GENERATOR, "policy": POLICY, "version": __version__}
        return template.render(page=self, **made) + "\n"

    def write(self, path: str | os.PathLike, *, overwrite: bool = False) -> pathlib.Path:
        """Writes the file and returns its path.

        Raises:
            UsageError: `path` cannot be written, or must not be (`vqjax.files.check_output`).
        """
        return write_output(path, self.html(), overwrite=overwrite)
