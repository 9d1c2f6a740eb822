"""The pictures that verbs drew, on top of a report: each column under what it is of."""

import pathlib
import re
from collections.abc import Sequence

import numpy as np

from vqjax.media.gallery import GAP_SHADE, Sheet, description, lay, read_sheet
from vqjax.media.markup import NOTHING, Content, Markup, element, fragment
from vqjax.reports.history import Record
from vqjax.reports.page import captioned, png
from vqjax.runs.drawn import conditions_in_names, sheets_of, slug, title_of

COLUMNS = 20  # of a sheet whose columns are told apart; `vqjax sample` makes no more of them
ENLARGED = 1.6  # on the page, at most: cells of all sheets have one size
LETTERS = 9  # of the longest word of a heading; a longer one is broken
SHOWN_FIRST = ("the original", "the mask")  # what `vqjax edit` says of its sheets
RESULTS = {
    "edit-inpaint": "edited",
    "edit-outpaint": "outpainted",
    "edit-upscale": "upscaled",
    "edit-variations": "variations",
}
Heading = tuple[str, int]  # what it says, and over how many columns


def drawn_to_order(records: Sequence[Record], whose: Sequence[Content]) -> Markup:
    """What `sample` and `edit` left in the runs; nothing where they left nothing.

    Args:
        records: the runs, in the page's order.
        whose: what the captions call each of them.
    """
    figures = [
        figure
        for record, name in zip(records, whose, strict=True)
        for path in sorted(sheets_of(record.path / "samples"), key=_is_edit)
        if (figure := _figure(path, name)) is not None
    ]
    if not figures:
        return NOTHING
    heading = element("h2", {}, "Drawn to order")
    return fragment(heading, element("div", {"class": "drawn"}, figures))


def _is_edit(path: pathlib.Path) -> bool:
    return path.stem.startswith("edit")


def _figure(path: pathlib.Path, whose: Content) -> Markup | None:
    """One sheet; None for what is no picture."""
    sheet = read_sheet(path)
    if sheet is None:
        return None
    name, said = title_of(path), description(path)
    shown, headings = _headed(path, sheet, said)
    small = (whose, None if headings or not said else f" {said}")
    caption = (name, " ", element("small", {}, small))
    width = f"width:{ENLARGED * shown.shape[1]:.0f}px"
    above = NOTHING
    if headings:
        count = sum(columns for _, columns in headings)
        words = [word for text, columns in headings if columns == 1 for word in text.split()]
        # Pictures that are small for their headings are scrolled to: words keep their size.
        width += f";min-width:{count * min(max(map(len, words), default=0), LETTERS)}ch"
        grid = f"grid-template-columns:repeat({count},minmax(0,1fr))"
        above = element("div", {"class": "heads", "style": grid}, [_heading(*h) for h in headings])
    picture = png(shown, f"{name} {said}".strip())
    inside = element("div", {"class": "headed", "style": width}, above, picture)
    return captioned(caption, element("div", {"class": "scroll"}, inside))


def _heading(text: str, columns: int) -> Markup:
    place = {"style": f"grid-column:span {columns}", "class": "over" if columns > 1 else None}
    return element("span", place, text)


def _headed(path: pathlib.Path, sheet: Sheet, said: str) -> tuple[np.ndarray, list[Heading]]:
    """The sheet as it is shown, and its headings; none where its columns are not known."""
    count = sheet.columns
    kind, said = path.stem.split("_")[0], said.strip()
    if not 0 < count <= COLUMNS or not said:
        return sheet.image, []
    if kind in RESULTS:
        return _edited(sheet, kind, said)
    if kind != "sample":
        return sheet.image, []
    kinds = _kinds(path, said)
    if 1 < len(kinds) <= COLUMNS and count <= len(kinds):
        return sheet.image, [(kind, 1) for kind in kinds[:count]]
    return sheet.image, [(" · ".join(kinds) if kinds else said, count)]


def _kinds(path: pathlib.Path, said: str) -> list[str]:
    """The prompts or classes of a sheet; [] where a comma might be part of a prompt.

    A sheet's name ends in what its prompts alone make, so it tells whether they were read rightly.
    """
    words = said.split(", ")
    if all(re.fullmatch(r"-1|\d{1,9}", word) for word in words):
        (classes,) = conditions_in_names([int(word) for word in words])
        if path.stem.endswith(f"_{slug(classes)}"):
            return ["no class" if word == "-1" else f"class {word}" for word in words]
    return words if path.stem.endswith(f"_{slug(conditions_in_names(words)[0])}") else []


def _edited(sheet: Sheet, kind: str, said: str) -> tuple[np.ndarray, list[Heading]]:
    """The original and the mask in columns of their own, all results to their right."""
    words = said.split(", ")
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
