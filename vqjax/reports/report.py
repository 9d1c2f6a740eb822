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
from vqjax.format import fixed, printable, span
from vqjax.media.chart import Chart, Mark, Points, Series, line_chart
from vqjax.media.gallery import MAX_PIXELS, Sheet, read_sheet
from vqjax.paths import as_path
from vqjax.reports.compare import notes_on_data
from vqjax.reports.compare_table import REPORTED, Row, names_of, page_table, titles_of
from vqjax.reports.drawn import drawn_figures
from vqjax.reports.glossary import glossary
from vqjax.reports.history import REACHED, Record, read_record
from vqjax.reports.opening import opening, summary
from vqjax.reports.page import Figure, Image, Page, Section, Strip
from vqjax.reports.tables import facts, numbers_table, run_table
from vqjax.tasks.adversary import ADVERSARIAL
from vqjax.types import UsageError

PAGE = "report.html"  # of a run
OVER_TIME = 5  # steps shown in the picture over training time


def _chosen(samples: list[tuple[int, pathlib.Path]]) -> list[tuple[int, Sheet]]:
    """Up to `OVER_TIME` readable sheets, evenly spread over the run, the newest always."""
    readable = [(step, path) for step, path in samples if read_sheet(path) is not None]
    indices = np.linspace(0, len(readable) - 1, min(OVER_TIME, len(readable)))
    chosen = [readable[i] for i in dict.fromkeys(np.rint(indices).astype(int).tolist())]
    again = [(step, read_sheet(path)) for step, path in chosen]  # not all of them at once
    return [(step, sheet) for step, sheet in again if sheet is not None]


def _strips(chosen: list[tuple[int, Sheet]], record: Record) -> list[Strip]:
    """The first line of every row but the last, and beneath them that of the last step by step."""
    psnr = dict(record.curve("eval", "psnr"))
    rows = chosen[-1][1].rows
    if len(rows) < 2 or len(chosen) < 2 or any(sheet.rows != rows for _, sheet in chosen):
        return []
    newest, strips = chosen[-1][1], []
    for name in rows[:-1]:
        strips.append(Strip(Image.of(newest.bands(name)[0], printable(name)), printable(name)))
    for step, sheet in chosen:
        decibels = f"{fixed(psnr[step], '.1f')} dB" if step in psnr else ""
        image = Image.of(sheet.bands(rows[-1])[0], f"step {step}")
        strips.append(Strip(image, decibels, name=f"step {step:,}"))
    return strips


def _row_names(rows: Sequence[str]) -> str:
    """What the rows of a sheet are, in words."""
    if not rows:
        return ""
    first, *others = map(printable, rows)
    return f"held-out {first}, each row with its {', '.join(others)}" if others else first


def _pictures(record: Record) -> list[Figure]:
    """The newest sheet, and how the pictures changed over training time."""
    chosen = _chosen(record.samples)
    if not chosen:
        return []
    step, newest = chosen[-1]
    image = Image.of(newest.image, f"pictures at step {step}")
    figures = [Figure(f"Step {step:,}", _row_names(newest.rows), image=image)]
    strips = _strips(chosen, record)
    return figures + ([Figure("Over training time", strips=strips)] if strips else [])


def _no_pictures(record: Record) -> str:
    """Why none is shown."""
    if not record.samples:
        return "No pictures yet: the first come with the first evaluation."
    most = f"{MAX_PIXELS >> 20} million pixels"
    return f"No picture can be shown: each is damaged, or of more than {most}."


def _quality_chart(record: Record) -> Chart | None:
    """PSNR over seconds or minutes of training; over steps where nothing was timed."""
    points = record.curve("eval", "psnr")
    timed = [(record.seconds_at(int(step)), value) for step, value in points]
    timed = [(seconds, value) for seconds, value in timed if seconds is not None]
    by_time = bool(points) and len(timed) == len(points)
    if not by_time:
        return line_chart("PSNR over training", [Series("psnr", points)], "step", "PSNR, dB")
    unit, name = (60.0, "minutes") if timed[-1][0] >= 180 else (1.0, "seconds")
    timed = [(seconds / unit, value) for seconds, value in timed]
    reached, mark, note = record.reached(), None, ""
    if reached is not None:
        seconds = record.seconds_at(int(reached[0])) or 0.0
        mark = Mark(seconds / unit, reached[1], f"{REACHED:.0%} after {span(seconds)}")
        note = (
            f"{REACHED:.0%} of the final PSNR was first seen at step {reached[0]:,.0f}, "
            f"after {span(seconds)} of training."
        )
    return line_chart(
        "PSNR over wall time",
        [Series("PSNR", timed)],
        f"{name} of training, all starts",
        "PSNR, dB",
        mark=mark,
        note=note,
    )


def _accuracy_chart(record: Record) -> Chart | None:
    series = [Series("accuracy", _scaled(record.curve("eval", "accuracy"), 100.0))]
    return line_chart("Accuracy, on the eval split", series, "step", "%")


def _likelihood_chart(record: Record) -> Chart | None:
    """What a prior is judged by: unlike its loss, it rises once the prior overfits."""
    series = [Series("nats per token", record.curve("eval", "nats_per_token"))]
    return line_chart("-log p, on the eval split", series, "step", "nats per token")


def _loss_charts(record: Record) -> list[Chart | None]:
    """Terms that stay above zero on a logarithmic axis, the two players' terms on a plain one."""
    players = [name for name in record.loss_names if name in ADVERSARIAL]
    names = [name for name in record.loss_names if name not in players]
    series = [Series(name, record.curve("train", name)) for name in names]
    series = [s for s in series if s.points]
    above = [s for s in series if min(value for _, value in s.points) > 0]
    rest = [s for s in series if s not in above]
    adversarial = [Series(name, record.curve("train", name)) for name in players]
    return [
        line_chart("Losses", above, "step", "unweighted, log scale", log=True),
        line_chart("Losses that change sign", rest, "step", "unweighted", floor=0.0),
        line_chart("Adversarial losses", adversarial, "step", "unweighted", floor=0.0),
    ]


def _codebook_chart(record: Record) -> Chart | None:
    """Usage and perplexity on one axis, as shares of the codebook."""
    levels = () if record.footprint is None else record.footprint.levels
    sizes = {level.name: level.codebook_size for level in levels}
    series = []
    for name in record.names("eval"):
        points = record.curve("eval", name)
        kind, _, level = name.partition("/")
        size = sizes[level] if level in sizes else max(sizes.values(), default=0)
        if kind == "codebook_usage":
            series.append(Series(f"codes in use {level}".strip(), _scaled(points, 100.0)))
        if kind == "perplexity" and size:
            label = f"perplexity of {size:,} {level}".strip()
            series.append(Series(label, _scaled(points, 100.0 / size)))
    return line_chart("Codebook, on the eval split", series, "step", "% of codes", floor=0.0)


def _scaled(points: Points, factor: float) -> Points:
    return [(x, y * factor) for x, y in points]


def _detail_chart(record: Record) -> Chart | None:
    names = {"ssim": "SSIM", "high_frequency_ratio": "high-frequency ratio"}
    series = [Series(shown, record.curve("eval", name)) for name, shown in names.items()]
    return line_chart("Structure and sharpness", series, "step", "1.0 = as the original")


def _charts(record: Record) -> list[Chart]:
    charts = [_quality_chart(record), _accuracy_chart(record)]
    charts += [_likelihood_chart(record), *_loss_charts(record)]
    charts += [_codebook_chart(record), _detail_chart(record)]
    return [chart for chart in charts if chart is not None]


def _section(record: Record, anchor: str, name: str = "") -> Section:
    """One run; among several it begins with `name` and a sentence."""
    sentence = summary(record)
    return Section(
        anchor=anchor,
        name=name,
        summary=f"{sentence[0].upper()}{sentence[1:]}.",
        facts=facts(record),
        shows=record.shows or ("Pictures" if record.samples else ""),
        pictures=_pictures(record),
        no_pictures=_no_pictures(record),
        charts=_charts(record),
        numbers=numbers_table(record),
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
            sections=[_section(record, "run")],
            glossary=glossary(records),
        )
    records = sorted(records, key=lambda record: record.depth)
    names = names_of(records)
    anchors = [f"run-{i}" for i in range(len(records))]
    rows = [Row.of(record, name) for record, name in zip(records, names, strict=True)]
    alike = len({record.kind for record in records}) == 1  # else nothing compares
    notes = notes_on_data(rows) if alike else []
    return Page(
        "vqjax report",
        f"{len(records)} runs",
        opening(records, names),
        drawn=drawn_figures(records, list(zip(anchors, names, strict=True))),
        table=page_table(rows, REPORTED, anchors, ranked=not notes) if alike else None,
        notes=notes,
        sections=[_section(row.record, a, row.name) for row, a in zip(rows, anchors, strict=True)],
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
