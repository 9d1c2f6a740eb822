"""The page of `vqjax compare`: the table, rate against distortion, and the same pictures through
each run.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from vqjax.files import write_output
from vqjax.media.gallery import Gallery, Sheet, read_sheet
from vqjax.media.markup import NOTHING, Content, Markup, element, fragment
from vqjax.media.scatter import Point, scatter
from vqjax.reports.compare import Comparison
from vqjax.reports.compare_table import (
    BITS_PER_PIXEL,
    PICTURE_RANK,
    PSNR,
    Row,
    columns_of,
    html_table,
)
from vqjax.reports.glossary import reading
from vqjax.reports.legend import READING
from vqjax.reports.page import captioned, png, quiet, strips, whole_page
from vqjax.runs.drawn import newest_samples
from vqjax.runs.examples import held_out
from vqjax.runs.load import load
from vqjax.types import VqjaxError

REMADE = 16  # pictures, of which the first row is shown
PRIORS = 4  # newest pictures of a prior that are shown, per run


@dataclasses.dataclass
class Strip:
    """The same originals, uint8 [h, W, 3], through several runs, each with such a band."""

    of: str
    originals: np.ndarray
    through: list[tuple[Row, np.ndarray]]

    def has_same(self, originals: np.ndarray) -> bool:
        return np.array_equal(self.originals, originals)


def _newest(row: Row) -> Sheet | None:
    """What the run's newest evaluation drew."""
    if row.sheet is not None:
        return row.sheet
    sheets = (read_sheet(path) for _, path in reversed(row.record.samples))
    return next((sheet for sheet in sheets if sheet is not None), None)


def _bands_of(row: Row) -> tuple[np.ndarray, np.ndarray] | None:
    """The first line of the first row, and of the last, of a run that reconstructs."""
    newest = _newest(row) if row.record.reconstructs else None
    return None if newest is None or len(newest.rows) < 2 else _ends(newest)


def _ends(sheet: Sheet) -> tuple[np.ndarray, np.ndarray]:
    return sheet.bands(sheet.rows[0])[0], sheet.bands(sheet.rows[-1])[0]


class _Remaker:
    """Sends the eval images of one run through others."""

    def __init__(self, first: Row, params: str, trust: Sequence[str]) -> None:
        self._first, self._options = first, {"params": params, "trust": tuple(trust)}
        self._images: np.ndarray | None = None

    def __call__(self, row: Row) -> tuple[np.ndarray, np.ndarray]:
        """Bands of originals and reconstructions.

        Raises:
            VqjaxError: the run does not take these images, or images or run are not at hand.
        """
        if self._images is None:
            self._images = held_out(self._first.record.experiment, REMADE)
        run = load(row.record.path, **self._options)
        rows = {"originals": self._images, "reconstructions": run.reconstruct(self._images)}
        return _ends(Gallery(rows).sheet())


def strips_of(
    rows: Sequence[Row], params: str, trust: Sequence[str], say: Callable[[str], None]
) -> list[Strip]:
    """The first run's originals through every run that takes them; others with their own."""
    strips: list[Strip] = []
    remake: _Remaker | None = None
    for row in rows:
        own = _bands_of(row)
        if not strips and own is not None:
            strips.append(Strip(row.name, own[0], [(row, own[1])]))
            remake = _Remaker(row, params, trust)
            continue
        if own is not None and strips[0].has_same(own[0]):
            strips[0].through.append((row, own[1]))
            continue
        if not row.record.reconstructs:
            continue
        if remake is not None and row.record.experiment is not None:
            try:
                originals, copy = remake(row)
                if strips[0].has_same(originals):
                    strips[0].through.append((row, copy))
                    continue
                why = f"the eval split of {strips[0].of} has changed since"
            except Exception as error:  # whatever a stranger's classes do
                why = (
                    str(error)
                    if isinstance(error, VqjaxError)
                    else f"{type(error).__name__}: {error}"
                )
            say(f"{row.name}: its own pictures are shown: {why}")
        if own is not None:
            known = next((strip for strip in strips if strip.has_same(own[0])), None)
            if known is None:
                strips.append(known := Strip(row.name, own[0], []))
            known.through.append((row, own[1]))
    return strips


def _caption(row: Row) -> Content:
    words = []
    if PSNR.value(row) is not None:
        words.append(f"{PSNR.cell(row)} dB")
    if BITS_PER_PIXEL.value(row) is not None:
        words.append(f"{BITS_PER_PIXEL.cell(row)} {_rate_unit([row])}")
    return element("b", {}, row.name), " · ".join(words)


def _rate_unit(rows: Sequence[Row]) -> str:
    shapes = [row.sizes.shape for row in rows if row.sizes is not None]
    pictures = all(len(shape) == PICTURE_RANK for shape in shapes)
    return "bits/pixel" if pictures else "bits/position"


def _pictures(found: Sequence[Strip], rows: Sequence[Row]) -> Markup:
    """The strips; and whole, sheets of runs in none of them, as older versions drew them."""
    through = [row.name for strip in found for row, _ in strip.through]
    others = [row for row in rows if row.record.reconstructs and row.name not in through]
    wholes = [(row, sheet) for row in others if (sheet := _newest(row)) is not None]
    if not found and not wholes:
        return quiet("No reconstructions: the runs hold none.")
    out = []
    for strip in found:
        lines = [("original", png(strip.originals, "originals"))]
        for row, band in strip.through:
            lines.append((_caption(row), png(band, f"through {row.name}")))
        out.append(captioned(None if strip is found[0] else f"Of {strip.of}", strips(lines)))
    out += [captioned(_caption(row), png(sheet.image, row.name)) for row, sheet in wholes]
    return element("div", {"class": "sheets"}, out)


def _priors(rows: Sequence[Row]) -> Markup:
    """What `vqjax sample` drew."""
    figures = []
    for row in rows:
        for path in newest_samples(row.record.path / "samples", PRIORS):
            sheet = read_sheet(path)
            if sheet is not None:
                title = (f"{row.name} ", element("small", {}, path.stem))
                figures.append(captioned(title, png(sheet.image, f"{row.name}, {path.stem}")))
    if not figures:
        return NOTHING
    heading = element("h2", {}, "Samples")
    return fragment(heading, element("div", {"class": "sheets small"}, figures))


def _plot(rows: Sequence[Row]) -> Markup:
    points = [
        Point(row.name, BITS_PER_PIXEL.value(row), PSNR.value(row), "no tokens")
        for row in rows
        if PSNR.value(row) is not None
    ]
    unit = _rate_unit(rows).replace("/", " per ")
    return scatter("Rate and distortion", points, unit, "PSNR, dB")


def comparison_page(comparison: Comparison, found: Sequence[Strip]) -> str:
    """The whole page."""
    rows = comparison.rows
    title = rows[0].name if len(rows) == 1 else f"{len(rows)} runs"
    kind = element("p", {"class": "kind"}, "vqjax compare")
    body = (
        element("header", {}, kind, element("h1", {}, title)),
        element("h2", {}, "Side by side"),
        html_table(rows, columns_of(rows), ranked=comparison.same_data),
        [quiet(f"Note: {note}") for note in comparison.notes],
        element("div", {"class": "plot"}, _plot(rows), reading(READING)),
        element("h2", {}, "The same held-out pictures"),
        _pictures(found, rows),
        _priors(rows),
    )
    return whole_page(title, body, "vqjax compare", broad=True)


def write_comparison(
    comparison: Comparison,
    out: str | os.PathLike,
    *,
    params: str = "auto",
    trust: Sequence[str] = (),
    say: Callable[[str], None] = lambda line: None,
    overwrite: bool = False,
) -> pathlib.Path:
    """Writes the page and returns its path.

    Args:
        comparison: from `compare_runs`.
        out: the page.
        params: with which the numbers were made; `trust`, `say`: likewise.
        overwrite: whether `out` may replace a file without the mark of vqjax.

    Raises:
        UsageError: `out` cannot be written, or must not be.
    """
    found = strips_of(comparison.rows, params, trust, say)
    return write_output(out, comparison_page(comparison, found), overwrite=overwrite)
