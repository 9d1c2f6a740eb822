"""The sheets of `sample` and `edit`, on top of a report: each column under what it is of."""

import pathlib
import re
from collections.abc import Sequence

import numpy as np

from vqjax.media.gallery import AUDIO, GAP_SHADE, Sheet, description, lay, read_sheet
from vqjax.reports.history import Record
from vqjax.reports.page import Figure, Image
from vqjax.runs.drawn import conditions_in_names, sheets_of, slug, title_of

COLUMNS = 20  # of a sheet with a heading over each column; `vqjax sample` makes no more of them
ENLARGED = 1.6  # on the page, at most: cells of all sheets have one size
LETTERS = 9  # of the longest word of a heading; a longer one is broken
SHOWN_FIRST = ("the original", "the mask")  # as `vqjax edit` describes its sheets
RESULTS = {
    "edit-inpaint": "edited",
    "edit-outpaint": "outpainted",
    "edit-upscale": "upscaled",
    "edit-variations": "variations",
}
Heading = tuple[str, int]  # its text, and over how many columns


def drawn_figures(
    records: Sequence[Record], links: Sequence[tuple[str, str] | None]
) -> list[Figure]:
    """What `sample` and `edit` left in the runs.

    Args:
        records: the runs, in the page's order.
        links: (anchor, name) of each of them, for the captions; None: there is one run.
    """
    figures = [
        _figure(path, link)
        for record, link in zip(records, links, strict=True)
        for path in sorted(sheets_of(record.path / "samples"), key=_is_edit)
    ]
    return [figure for figure in figures if figure is not None]


def _is_edit(path: pathlib.Path) -> bool:
    return path.stem.startswith("edit")


def _figure(path: pathlib.Path, link: tuple[str, str] | None) -> Figure | None:
    """One sheet; None for what is no picture."""
    sheet = read_sheet(path)
    if sheet is None:
        return None
    title, summary = title_of(path), description(path)
    picture, headings = _headed(path, sheet, summary)
    # Pictures that are small for their headings are scrolled to: words keep their size.
    words = [word for text, columns in headings if columns == 1 for word in text.split()]
    letters = min(max(map(len, words), default=0), LETTERS)
    return Figure(
        title,
        "" if headings else summary,
        link,
        Image.of(picture, f"{title} {summary}".strip()),
        smooth=sheet.medium == AUDIO,
        headings=headings,
        width=round((1 if sheet.medium == AUDIO else ENLARGED) * picture.shape[1]),
        least_width=letters * sum(columns for _, columns in headings),
    )


def _headed(path: pathlib.Path, sheet: Sheet, summary: str) -> tuple[np.ndarray, list[Heading]]:
    """The sheet as it is shown, and its headings; none where its columns are not known."""
    count = sheet.columns
    kind, summary = path.stem.split("_")[0], summary.strip()
    if not 0 < count <= COLUMNS or not summary:
        return sheet.image, []
    if kind in RESULTS:
        return _edited(sheet, kind, summary)
    if kind != "sample":
        return sheet.image, []
    kinds = _kinds(path, summary)
    if 1 < len(kinds) <= COLUMNS and count <= len(kinds):
        return sheet.image, [(kind, 1) for kind in kinds[:count]]
    return sheet.image, [(" · ".join(kinds) if kinds else summary, count)]


def _kinds(path: pathlib.Path, summary: str) -> list[str]:
    """The prompts or classes of a sheet; [] where a comma might be part of a prompt.

    A sheet's name ends in what its prompts alone make, which shows whether they were read rightly.
    """
    words = summary.split(", ")
    if all(re.fullmatch(r"-1|\d{1,9}", word) for word in words):
        (classes,) = conditions_in_names([int(word) for word in words])
        if path.stem.endswith(f"_{slug(classes)}"):
            return ["no class" if word == "-1" else f"class {word}" for word in words]
    return words if path.stem.endswith(f"_{slug(conditions_in_names(words)[0])}") else []


def _edited(sheet: Sheet, kind: str, summary: str) -> tuple[np.ndarray, list[Heading]]:
    """The original and the mask in columns of their own, all results to their right."""
    words = summary.split(", ")
    first = [word.removeprefix("the ") for word in words if word in SHOWN_FIRST]
    results = sheet.columns - len(first)
    if results < 1 or words[len(first) : len(first) + 1] != ["results"]:
        return sheet.image, []
    of = ", ".join(words[len(first) + 1 :])
    headings = [(name, 1) for name in first]
    headings.append((f"{RESULTS[kind]}: {of}" if of else RESULTS[kind], results))
    if sheet.lines == 1:
        return sheet.image, headings
    cells = [sheet.cell(i, j) for i in range(sheet.lines) for j in range(sheet.columns)]
    blank = np.full_like(cells[0], GAP_SHADE)
    while (cells[-1] == blank).all() and len(cells) > sheet.columns:  # the end of the last line
        cells.pop()
    shown, rest = cells[: len(first)], cells[len(first) :]
    parts = [rest[i : i + results] for i in range(0, len(rest), results)]
    lead = [shown, *([[blank] * len(first)] * (len(parts) - 1))]
    return lay([a + b for a, b in zip(lead, parts, strict=True)]).image, headings
