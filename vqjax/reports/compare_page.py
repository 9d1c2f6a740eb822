"""The page of `vqjax compare`: the table, rate against distortion, and the same pictures through
each run.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from vqjax.media.chart import Chart
from vqjax.media.gallery import Gallery, Sheet, read_sheet
from vqjax.media.scatter import Point, scatter
from vqjax.reports.compare import Comparison
from vqjax.reports.compare_table import (
    BITRATE,
    BITS_PER_PIXEL,
    PICTURE_RANK,
    PSNR,
    SI_SDR,
    Row,
    are_sounds,
    columns_of,
    page_table,
)
from vqjax.reports.legend import READING, READING_OF_SOUND
from vqjax.reports.levels import rate_charts
from vqjax.reports.page import Compared, Figure, Image, Page, Strip
from vqjax.runs.drawn import newest_samples
from vqjax.runs.examples import held_out
from vqjax.runs.load import load
from vqjax.types import VqjaxError

REMADE = 16  # pictures, of which the first row is shown
PRIORS = 4  # newest pictures of a prior that are shown, per run


@dataclasses.dataclass
class SharedOriginals:
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
) -> list[SharedOriginals]:
    """The first run's originals through every run that takes them; others with their own."""
    strips: list[SharedOriginals] = []
    remake: _Remaker | None = None
    for row in rows:
        own = _bands_of(row)
        if not strips and own is not None:
            strips.append(SharedOriginals(row.name, own[0], [(row, own[1])]))
            remake = _Remaker(row, params, trust)
            continue
        if own is not None and strips[0].has_same(own[0]):
            strips[0].through.append((row, own[1]))
            continue
        if not row.record.reconstructs:
            continue
        if remake is not None and row.record.experiment is not None and not row.record.sound:
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
                strips.append(known := SharedOriginals(row.name, own[0], []))
            known.through.append((row, own[1]))
    return strips


def _distortion_and_rate(row: Row) -> str:
    words = []
    if SI_SDR.value(row) is not None:
        words.append(f"SI-SDR {SI_SDR.cell(row)} dB")
    if BITRATE.value(row) is not None:
        return " · ".join([*words, f"{BITRATE.cell(row)} kbit/s"])
    if PSNR.value(row) is not None:
        words.append(f"{PSNR.cell(row)} dB")
    if BITS_PER_PIXEL.value(row) is not None:
        words.append(f"{BITS_PER_PIXEL.cell(row)} {_rate_unit([row])}")
    return " · ".join(words)


def _rate_unit(rows: Sequence[Row]) -> str:
    shapes = [row.sizes.shape for row in rows if row.sizes is not None]
    pictures = all(len(shape) == PICTURE_RANK for shape in shapes)
    return "bits/pixel" if pictures else "bits/position"


def _pictures(shared: Sequence[SharedOriginals], rows: Sequence[Row]) -> list[Figure]:
    """The strips; and whole, sheets of runs in none of them, as older versions drew them."""
    figures = []
    for one in shared:
        strips = [Strip(Image.of(one.originals, "originals"), "original")]
        for row, band in one.through:
            image = Image.of(band, f"through {row.name}")
            strips.append(Strip(image, _distortion_and_rate(row), row.name))
        smooth = any(row.record.sound is not None for row, _ in one.through)
        title = "" if one is shared[0] else f"Of {one.of}"
        figures.append(Figure(title, strips=strips, smooth=smooth))
    through = [row.name for one in shared for row, _ in one.through]
    for row in rows:
        if row.record.reconstructs and row.name not in through and (sheet := _newest(row)):
            image = Image.of(sheet.image, row.name)
            figures.append(Figure(row.name, _distortion_and_rate(row), image=image))
    return figures


def _samples(rows: Sequence[Row]) -> list[Figure]:
    """What `vqjax sample` drew."""
    figures = []
    for row in rows:
        for path in newest_samples(row.record.path / "samples", PRIORS):
            sheet = read_sheet(path)
            if sheet is not None:
                image = Image.of(sheet.image, f"{row.name}, {path.stem}")
                figures.append(Figure(row.name, path.stem, image=image))
    return figures


def _plots(rows: Sequence[Row]) -> list[Chart]:
    """Rate against distortion; where codebooks can be left out, a curve for each run."""
    if charts := rate_charts([(row.name, row.numbers) for row in rows]):
        return charts
    points = [
        Point(row.name, BITS_PER_PIXEL.value(row), PSNR.value(row), "no tokens")
        for row in rows
        if PSNR.value(row) is not None
    ]
    unit = _rate_unit(rows).replace("/", " per ")
    chart = scatter("Rate and distortion", points, unit, "PSNR, dB")
    return [] if chart is None else [chart]


def comparison_page(comparison: Comparison, shared: Sequence[SharedOriginals]) -> Page:
    """The page of `comparison` and what `strips_of` found for it."""
    rows = comparison.rows
    sounds = are_sounds(rows)
    return Page(
        "vqjax compare",
        rows[0].name if len(rows) == 1 else f"{len(rows)} runs",
        table=page_table(rows, columns_of(rows), ranked=comparison.same_data),
        notes=comparison.notes,
        compared=Compared(
            _plots(rows),
            READING_OF_SOUND if sounds else READING,
            "sounds" if sounds else "pictures",
            _pictures(shared, rows),
            _samples(rows),
        ),
    )


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
    shared = strips_of(comparison.rows, params, trust, say)
    return comparison_page(comparison, shared).write(out, overwrite=overwrite)
