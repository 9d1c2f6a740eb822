"""`vqjax report`: one self-contained HTML page of one or several runs.

It is made from what lies in the run directory, at any time, also while the run is going on.
"""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from vqjax import arguments
from vqjax.config import describe
from vqjax.files import check_output
from vqjax.format import fixed, printable
from vqjax.media.gallery import GAP, MAX_PIXELS, Sheet, read_sheet
from vqjax.paths import as_path
from vqjax.reports.charts import charts
from vqjax.reports.compare import notes_on_data
from vqjax.reports.compare_table import REPORTED, Row, names_of, page_table, titles_of
from vqjax.reports.drawn import drawn_figures
from vqjax.reports.glossary import glossary
from vqjax.reports.history import Record, read_record
from vqjax.reports.levels import is_of_first, level_names, level_table, rate_charts, rate_table
from vqjax.reports.opening import opening, summary
from vqjax.reports.page import Figure, Image, Page, Section, Strip
from vqjax.reports.players import clips_figure, has_clips
from vqjax.reports.stream_examples import stream_figures
from vqjax.reports.tables import facts, numbers_table, run_table
from vqjax.types import UsageError

PAGE = "report.html"  # of a run
OVER_TIME = 5  # steps shown in the picture over training time
SOUND_OVER_TIME, SPECTROGRAMS = 3, 2  # likewise of sounds, and how many of each step


def _chosen(samples: list[tuple[int, pathlib.Path]], most: int) -> list[tuple[int, Sheet]]:
    """Up to `most` readable sheets, evenly spread over the run, the newest always."""
    readable = [(step, path) for step, path in samples if read_sheet(path) is not None]
    indices = np.linspace(0, len(readable) - 1, min(most, len(readable)))
    chosen = [readable[i] for i in dict.fromkeys(np.rint(indices).astype(int).tolist())]
    again = [(step, read_sheet(path)) for step, path in chosen]  # not all of them at once
    return [(step, sheet) for step, sheet in again if sheet is not None]


def _strips(chosen: list[tuple[int, Sheet]], record: Record) -> list[Strip]:
    """The first line of every row but the last, and beneath them that of the last step by step."""
    psnr, ratio = (dict(record.curve("eval", name)) for name in ("psnr", "si_sdr"))
    rows = chosen[-1][1].rows
    if len(rows) < 2 or len(chosen) < 2 or any(sheet.rows != rows for _, sheet in chosen):
        return []
    newest, strips = chosen[-1][1], []
    for name in rows[:-1]:
        strips.append(Strip(Image.of(_band(newest, name), printable(name)), printable(name)))
    for step, sheet in chosen:
        value = psnr.get(step, ratio.get(step))
        decibels = "" if value is None else f"{fixed(value, '.1f')} dB"
        image = Image.of(_band(sheet, rows[-1]), f"step {step}")
        strips.append(Strip(image, decibels, name=f"step {step:,}"))
    return strips


def _band(sheet: Sheet, row: str) -> np.ndarray:
    """The first line of a row; of spectrograms, which are wide, the first two."""
    if not has_clips(sheet):
        return sheet.bands(row)[0]
    count = min(SPECTROGRAMS, sheet.columns)
    width = (sheet.image.shape[1] - GAP) // sheet.columns
    return sheet.bands(row)[0][:, : count * width + GAP]


def _row_names(rows: Sequence[str]) -> str:
    """What the rows of a sheet are, in words."""
    if not rows:
        return ""
    first, *others = map(printable, rows)
    return f"held-out {first}, each row with its {', '.join(others)}" if others else first


def _pictures(record: Record, share: float) -> list[Figure]:
    """The newest sheet, and how the pictures changed over training time; of sounds the newest ones,
    which may take `share` of what a page holds.
    """
    chosen = _chosen(record.samples, OVER_TIME if record.sound is None else SOUND_OVER_TIME)
    if not chosen:
        return []
    step, newest = chosen[-1]
    if newest.streams:
        return stream_figures(record, step, newest, share)
    strips = _strips(chosen, record)
    over_time = (
        [Figure("Over training time", strips=strips, smooth=has_clips(newest))] if strips else []
    )
    if has_clips(newest):
        return [clips_figure(record, step, newest, share), *over_time]
    image = Image.of(newest.image, f"pictures at step {step}")
    figures = [Figure(f"Step {step:,}", _row_names(newest.rows), image=image)]
    return figures + over_time


def _no_pictures(record: Record) -> str:
    """Why none is shown."""
    kind = "picture" if record.sound is None else "spectrogram"
    if not record.samples:
        return f"No {kind}s yet: the first come with the first evaluation."
    most = f"{MAX_PIXELS >> 20} million pixels"
    return f"No {kind} can be shown: each is damaged, or of more than {most}."


def _section(record: Record, anchor: str, share: float, name: str = "") -> Section:
    """One run; among several it begins with `name` and a sentence, and has only a share of the
    room for sounds.
    """
    sentence = summary(record)
    levels = level_names(record)
    in_others = [n for n in record.final if is_of_first(n) or n.partition("/")[2] in levels]
    return Section(
        anchor=anchor,
        name=name,
        summary=f"{sentence[0].upper()}{sentence[1:]}.",
        facts=facts(record),
        shows=record.shows or ("Pictures" if record.samples else ""),
        pictures=_pictures(record, share),
        no_pictures=_no_pictures(record),
        charts=charts(record),
        rates=rate_charts([("", record.final)]),
        rate_table=rate_table(record),
        numbers=numbers_table(record, in_others),
        levels=level_table(record),
        sizes=run_table(record),
        command=record.command,
        experiment=record.unreadable if record.experiment is None else describe(record.experiment),
        log="\n".join(record.log),
    )


def report_page(records: Sequence[Record]) -> Page:
    """The page of one or several runs: what `sample` and `edit` drew first, a tokenizer before the
    prior on its tokens.
    """
    if len(records) == 1:
        (record,) = records
        return Page(
            "vqjax run",
            record.name,
            opening(records, [record.name]),
            path=str(record.path),
            drawn=drawn_figures(records, [None]),
            sections=[_section(record, "run", 1.0)],
            glossary=glossary(records),
        )
    records = sorted(records, key=lambda record: record.depth)
    names = names_of(records)
    anchors = [f"run-{i}" for i in range(len(records))]
    rows = [Row.of(record, name) for record, name in zip(records, names, strict=True)]
    alike = len({record.kind for record in records}) == 1  # else nothing compares
    notes = notes_on_data(rows) if alike else []
    share = 1 / max(1, sum(record.sound is not None for record in records))
    return Page(
        "vqjax report",
        f"{len(records)} runs",
        opening(records, names),
        drawn=drawn_figures(records, list(zip(anchors, names, strict=True))),
        table=page_table(rows, REPORTED, anchors, ranked=not notes) if alike else None,
        notes=notes,
        sections=[
            _section(row.record, anchor, share, row.name)
            for row, anchor in zip(rows, anchors, strict=True)
        ],
        glossary=glossary(records, titles_of(rows, REPORTED) if alike else {}),
    )


def write_report(
    runs: Sequence[str | os.PathLike],
    out: str | os.PathLike | None = None,
    trust: Sequence[str] = (),
    *,
    overwrite: bool = False,
) -> pathlib.Path:
    """Writes the page of `runs` and returns its path.

    Args:
        runs: run directories; with several, a comparison comes first.
        out: the page; None: report.html in the first run, which is always replaced.
        trust: modules or files whose classes may be built.
        overwrite: whether `out` may replace a file without the mark of vqjax.

    Raises:
        DataError: one of `runs` is no run directory.
        UsageError: `out` cannot be written, or must not be.
    """
    runs = arguments.texts("runs", runs, '["runs/a", "runs/b"]')
    trust = tuple(arguments.texts("trust", trust, '["x.py"]'))
    if not runs:
        raise UsageError("no runs to report on: name at least one")
    own = [as_path(run).absolute() / PAGE for run in runs]
    path = own[0] if out is None else as_path(out)
    overwrite = overwrite or path.absolute() in own
    check_output(path, overwrite=overwrite)  # before anything that takes time
    records = [read_record(run, trust) for run in runs]
    return report_page(records).write(path, overwrite=overwrite)
