"""A page: of one run, of several, or of `vqjax compare`.

Reports gather what is on it, `templates/` lay it out, all text escaped. No script, no font, no
picture or sound from elsewhere: the file can be mailed, archived and opened offline, and its policy
makes the browser run nothing and ask for nothing.
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
from vqjax.media.gallery import pillow_image
from vqjax.reports.glossary import Entry
from vqjax.reports.tables import Fact, Table

POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
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
        buffer, image = io.BytesIO(), pillow_image(picture)
        share = (SHOWN_PIXELS / (image.width * image.height)) ** 0.5
        if share < 1:
            image = Images.fromarray(picture)  # without a palette: colours are mixed
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
class Sound:
    """A file of sound inside the page, and its media type."""

    base64: str
    kind: str


@dataclasses.dataclass(frozen=True)
class Take:
    """A spectrogram, and beneath it a player where the page has the sound; `label` is for those who
    cannot see it.
    """

    name: str
    image: Image
    sound: Sound | None
    label: str


@dataclasses.dataclass(frozen=True)
class Clip:
    """One sound as it was and as it became, side by side where there is room."""

    name: str
    caption: str
    takes: Sequence[Take]


@dataclasses.dataclass(frozen=True)
class Example:
    """One example of any medium: a picture, a spectrogram with a player where the page has the
    sound, or a text; `label` is for those who cannot see the player.
    """

    image: Image | None = None
    sound: Sound | None = None
    text: str = ""
    is_sound: bool = False
    label: str = ""


@dataclasses.dataclass(frozen=True)
class Examples:
    """Lines of examples under heads, one of each."""

    heads: Sequence[str]
    lines: Sequence[Sequence[Example]]
    more: Sequence[Sequence[Example]] = ()  # that a click shows


@dataclasses.dataclass(frozen=True)
class Figure:
    """A sheet, strips beneath each other, clips, or a table of examples."""

    caption: str = ""
    detail: str = ""  # of the caption, in smaller letters
    link: tuple[str, str] | None = None  # (anchor, name) of its run, where the page has several
    image: Image | None = None  # the sheet
    strips: Sequence[Strip] = ()
    clips: Sequence[Clip] = ()
    more: Sequence[Clip] = ()  # that a click shows
    examples: Examples | None = None
    note: str = ""  # beneath clips and examples
    smooth: bool = False  # whether pixels are mixed where an image is enlarged
    headings: Sequence[tuple[str, int]] = ()  # (text, columns beneath it) over the sheet
    width: int | None = None  # of the sheet in pixels, at most; None: that of the page
    least_width: int = 0  # likewise, in characters; where there is less, it scrolls


@dataclasses.dataclass(frozen=True)
class Section:
    """One run; "", None and empty lists stand for what is not known of it."""

    anchor: str
    name: str  # that it begins with among several, and `summary`; "": it is the page's own
    summary: str
    facts: Sequence[Fact]
    shows: str  # heading of its pictures; "": it makes none
    pictures: Sequence[Figure]
    no_pictures: str  # why there are none
    charts: Sequence[Chart]
    rates: Sequence[Chart]  # quality against bitrate
    rate_table: Table | None
    numbers: Table | None
    levels: Table | None  # of each codebook
    sizes: Table | None
    command: str
    experiment: str
    log: str


@dataclasses.dataclass(frozen=True)
class Compared:
    """What only `vqjax compare` shows."""

    plots: Sequence[Chart]  # of rate and distortion; beside a single one stands the legend
    legend: Sequence[Entry]  # of the table's columns
    medium: str  # what `pictures` are of: "pictures", "sounds"
    pictures: Sequence[Figure]  # the same originals through each run
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
    """One HTML file; it shows no more than it gets."""

    kind: str  # what wrote it
    title: str
    lead: str = ""  # a sentence on what it shows
    path: str = ""  # of the run, where it is of one
    drawn: Sequence[Figure] = ()  # what `sample` and `edit` drew
    table: Table | None = None  # the runs side by side
    notes: Sequence[str] = ()  # on the table
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
