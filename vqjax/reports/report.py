"""`vqjax report`: one self-contained HTML page of one or several runs.

It is made from what lies in the run directory, at any time, also while the run is going on.
"""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from vqjax import arguments
from vqjax.config import describe
from vqjax.files import check_output, write_output
from vqjax.format import fixed, printable, span
from vqjax.media.chart import Mark, Series, line_chart
from vqjax.media.gallery import MAX_PIXELS, Sheet, read_sheet
from vqjax.media.markup import NOTHING, Content, Markup, element, fragment
from vqjax.paths import as_path
from vqjax.reports.compare import notes_on_data
from vqjax.reports.compare_table import REPORTED, Row, html_table, names_of, titles_of
from vqjax.reports.drawn import drawn_to_order
from vqjax.reports.glossary import glossary
from vqjax.reports.history import REACHED, Record, read_record
from vqjax.reports.opening import opening, summary
from vqjax.reports.page import captioned, png, quiet, strips, whole_page
from vqjax.reports.tables import facts, numbers_table, run_table
from vqjax.tasks.adversary import ADVERSARIAL
from vqjax.types import UsageError

PAGE = "report.html"  # of a run
OVER_TIME = 5  # steps shown in the picture over training time
SMALL_SHEET = 800  # pixels; narrower sheets stand side by side


def _chosen(samples: list[tuple[int, pathlib.Path]]) -> list[tuple[int, Sheet]]:
    """Up to `OVER_TIME` readable sheets, evenly spread over the run, the newest always."""
    readable = [(step, path) for step, path in samples if read_sheet(path) is not None]
    places = np.linspace(0, len(readable) - 1, min(OVER_TIME, len(readable)))
    chosen = [readable[i] for i in dict.fromkeys(np.rint(places).astype(int).tolist())]
    again = [(step, read_sheet(path)) for step, path in chosen]  # not all of them at once
    return [(step, sheet) for step, sheet in again if sheet is not None]


def _strips(chosen: list[tuple[int, Sheet]], record: Record) -> Markup:
    """The first line of every row but the last, and beneath them that of the last step by step."""
    psnr = dict(record.curve("eval", "psnr"))
    rows = chosen[-1][1].rows
    if len(rows) < 2 or len(chosen) < 2 or any(sheet.rows != rows for _, sheet in chosen):
        return NOTHING
    newest, lines = chosen[-1][1], []
    for name in rows[:-1]:
        lines.append((printable(name), png(newest.bands(name)[0], printable(name))))
    for step, sheet in chosen:
        decibels = f"{fixed(psnr[step], '.1f')} dB" if step in psnr else ""
        label = (element("b", {}, f"step {step:,}"), decibels)
        lines.append((label, png(sheet.bands(rows[-1])[0], f"step {step}")))
    return captioned("Over training time", strips(lines))


def _what(rows: Sequence[str]) -> str:
    """What the rows of a sheet are, in words."""
    first, *others = map(printable, rows)
    return f"held-out {first}, each row with its {', '.join(others)}" if others else first


def _pictures(record: Record) -> Markup:
    chosen = _chosen(record.samples)
    if not chosen and record.samples:
        most = f"{MAX_PIXELS >> 20} million pixels"
        return quiet(f"No picture can be shown: each is damaged, or of more than {most}.")
    if not chosen:
        return quiet("No pictures yet: the first come with the first evaluation.")
    step, newest = chosen[-1]
    size = "sheets small" if newest.image.shape[1] <= SMALL_SHEET else "sheets"
    said = element("small", {}, _what(newest.rows)) if newest.rows else None
    sheet = captioned((f"Step {step:,} ", said), png(newest.image, f"pictures at step {step}"))
    return element("div", {"class": size}, sheet, _strips(chosen, record))


def _quality_chart(record: Record) -> Markup:
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


def _accuracy_chart(record: Record) -> Markup:
    series = [Series("accuracy", _scaled(record.curve("eval", "accuracy"), 100.0))]
    return line_chart("Accuracy, on the eval split", series, "step", "%")


def _likelihood_chart(record: Record) -> Markup:
    """What a prior is judged by: unlike its loss, it rises once the prior learns by heart."""
    series = [Series("nats per token", record.curve("eval", "nats_per_token"))]
    return line_chart("-log p, on the eval split", series, "step", "nats per token")


def _loss_charts(record: Record) -> list[Markup]:
    """Terms that stay above zero on a logarithmic axis, the two players' terms on a plain one."""
    players = [name for name in record.loss_names if name in ADVERSARIAL]
    names = [name for name in record.loss_names if name not in players]
    series = [Series(name, record.curve("train", name)) for name in names]
    series = [s for s in series if s.points]
    above = [s for s in series if min(value for _, value in s.points) > 0]
    rest = [s for s in series if s not in above]
    duel = [Series(name, record.curve("train", name)) for name in players]
    return [
        line_chart("Losses", above, "step", "unweighted, log scale", log=True),
        line_chart("Losses that change sign", rest, "step", "unweighted", floor=0.0),
        line_chart("Adversarial losses", duel, "step", "unweighted", floor=0.0),
    ]


def _codebook_chart(record: Record) -> Markup:
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


def _scaled(points: list[tuple[float, float]], factor: float) -> list[tuple[float, float]]:
    return [(x, y * factor) for x, y in points]


def _detail_chart(record: Record) -> Markup:
    names = {"ssim": "SSIM", "high_frequency_ratio": "high-frequency ratio"}
    series = [Series(shown, record.curve("eval", name)) for name, shown in names.items()]
    return line_chart("Structure and sharpness", series, "step", "1.0 = as the original")


def _charts(record: Record) -> Markup:
    charts = [_quality_chart(record), _accuracy_chart(record)]
    charts += [_likelihood_chart(record), *_loss_charts(record)]
    charts += [_codebook_chart(record), _detail_chart(record)]
    if not any(charts):
        return quiet("No numbers yet.")
    return element("div", {"class": "charts"}, charts)


def _behind(record: Record) -> Markup:
    """Command, machine, experiment and log."""
    tree = record.unreadable if record.experiment is None else describe(record.experiment)
    command = element("pre", {}, record.command) if record.command else NOTHING
    log = _folded("Log, last lines", "\n".join(record.log)) if record.log else NOTHING
    return fragment(command, _folded("Experiment", tree), log)


def _folded(summary: str, text: str) -> Markup:
    return element("details", {}, element("summary", {}, summary), element("pre", {}, text))


def _samples(record: Record) -> Markup:
    """What the run makes, under a heading; nothing for one that makes no pictures."""
    if not record.shows and not record.samples:
        return NOTHING
    return fragment(element("h2", {}, record.shows or "Pictures"), _pictures(record))


def _section(record: Record, heading: Content, anchor: str) -> Markup:
    tables = element("div", {"class": "pair"}, numbers_table(record), run_table(record))
    return element(
        "section",
        {"id": anchor},
        heading,
        facts(record),
        _samples(record),
        element("h2", {}, "Training"),
        _charts(record),
        element("h2", {}, "Numbers"),
        tables,
        element("h2", {}, "How it was made"),
        _behind(record),
    )


def page(records: Sequence[Record]) -> str:
    """The whole page: what was drawn to order first, a tokenizer before the prior on its tokens."""
    records = sorted(records, key=lambda record: record.depth)
    if len(records) == 1:
        return _page_of_one(records[0])
    rows = [Row.of(record, name) for record, name in zip(records, names_of(records), strict=True)]
    anchors = [f"run-{i}" for i in range(len(rows))]
    links = [
        element("a", {"href": f"#{anchor}"}, row.name)
        for row, anchor in zip(rows, anchors, strict=True)
    ]
    alike = len({record.kind for record in records}) == 1  # else nothing compares
    sections = [
        _section(r.record, (element("h2", {"class": "run"}, r.name), _lead(r.record)), anchor)
        for r, anchor in zip(rows, anchors, strict=True)
    ]
    title = f"{len(records)} runs"
    body = (
        _header("vqjax report", title, opening(records, [row.name for row in rows])),
        drawn_to_order(records, links),
        _side_by_side(rows, anchors) if alike else None,
        sections,
        glossary(records, titles_of(rows, REPORTED) if alike else {}),
    )
    return whole_page(title, body, "vqjax report")


def _page_of_one(record: Record) -> str:
    head = (
        _header("vqjax run", record.name, opening([record], [record.name])),
        drawn_to_order([record], [None]),
    )
    body = (_section(record, head, "run"), glossary([record]))
    return whole_page(record.name, body, f"vqjax run · {record.path}")


def _side_by_side(rows: Sequence[Row], anchors: Sequence[str]) -> Markup:
    notes = notes_on_data(rows)
    return fragment(
        element("h2", {}, "Side by side"),
        html_table(rows, REPORTED, anchors, ranked=not notes),
        [quiet(f"Note: {note}") for note in notes],
    )


def _header(kind: str, title: str, sentence: str) -> Markup:
    above = element("p", {"class": "kind"}, kind)
    lead = element("p", {"class": "lead"}, sentence)
    return element("header", {}, above, element("h1", {}, title), lead)


def _lead(record: Record) -> Markup:
    """One sentence on one of several runs."""
    said = summary(record)
    return element("p", {"class": "lead"}, f"{said[0].upper()}{said[1:]}.")


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
    return write_output(path, page(records), overwrite=overwrite)
