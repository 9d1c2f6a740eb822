"""`vqjax report`: one self-contained HTML page of one or several runs.

It is made from what lies in the run directory, at any time, also while the run is going on.
"""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from vqjax.config import describe
from vqjax.evaluation.comparison import notes_on_data
from vqjax.evaluation.comparison_table import REPORTED, Row, html_table, names_of
from vqjax.evaluation.pictures import bands
from vqjax.evaluation.report_chart import Mark, Series, line_chart, number
from vqjax.evaluation.report_page import (
    description,
    escape,
    png,
    read_picture,
    whole_page,
)
from vqjax.evaluation.report_records import REACHED, Record, read_record
from vqjax.evaluation.report_tables import facts, numbers_table, run_table, span
from vqjax.files import write_output

OVER_TIME = 5  # steps shown in the picture over training time
ADVERSARIAL = ("generator", "discriminator")
MADE_BY = {"prior": "Samples", "inpaint": "Inpainting", "upscale": "Upscaling"}
MADE_BY |= {name: name.capitalize() for name in ("outpaint", "variations", "interpolation")}
SMALL_SHEET = 800  # pixels; narrower sheets stand side by side


def _chosen(samples: list[tuple[int, pathlib.Path]]) -> list[tuple[int, np.ndarray]]:
    """Up to `OVER_TIME` readable pictures, evenly spread over the run, the newest always."""
    pictures = [(step, read_picture(path)) for step, path in samples]
    readable = [(step, picture) for step, picture in pictures if picture is not None]
    places = np.linspace(0, len(readable) - 1, min(OVER_TIME, len(readable)))
    return [readable[i] for i in dict.fromkeys(np.rint(places).astype(int).tolist())]


def _strips(chosen: list[tuple[int, np.ndarray]], record: Record) -> str:
    """The first row of originals, and beneath it its reconstructions step by step."""
    psnr = dict(record.curve("eval", "psnr"))
    cut = [(step, *bands(picture)) for step, picture in chosen]
    if not record.reconstructs or len(cut) < 2 or not all(x for _, x, _ in cut):
        return ""
    rows = [f"<span>original</span>{png(cut[-1][1][0], 'originals')}"]
    for step, _, reconstructions in cut:
        decibels = f"{psnr[step]:.1f} dB" if step in psnr else ""
        label = f"<b>step {step:,}</b>{decibels}"
        rows.append(f"<span>{label}</span>{png(reconstructions[0], f'step {step}')}")
    return (
        '<figure class="sheet"><figcaption>Over training time</figcaption>'
        f'<div class="strips">{"".join(rows)}</div></figure>'
    )


def _pictures(record: Record) -> str:
    chosen = _chosen(record.samples)
    if not chosen:
        return '<p class="quiet">No pictures yet: the first come with the first evaluation.</p>'
    step, newest = chosen[-1]
    size = "sheets small" if newest.shape[1] <= SMALL_SHEET else "sheets"
    what = "held-out originals, each row with its reconstructions"
    caption = f"Step {step:,} <small>{what if record.reconstructs else 'samples'}</small>"
    return (
        f'<div class="{size}"><figure class="sheet"><figcaption>{caption}</figcaption>'
        f"{png(newest, f'pictures at step {step}')}</figure>{_strips(chosen, record)}</div>"
    )


def _made_later(record: Record) -> str:
    """Pictures that `sample` and `edit` left beside those of the training."""
    paths = (path for path in (record.path / "samples").glob("*.png") if path.is_file())
    paths = (path for path in paths if not path.stem.isdigit())
    sheets = []
    for path in sorted(paths):
        picture, name = read_picture(path), path.stem.split("_")[0]
        if picture is not None:
            said = description(path)
            title = MADE_BY.get(name, name) + (f" <small>{escape(said)}</small>" if said else "")
            caption = f"<figcaption>{title}</figcaption>"
            sheets.append(f'<figure class="sheet">{caption}{png(picture, name)}</figure>')
    if not sheets:
        return ""
    return f'<h2>Drawn to order</h2><div class="sheets">{"".join(sheets)}</div>'


def _quality_chart(record: Record) -> str:
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


def _accuracy_chart(record: Record) -> str:
    series = [Series("accuracy", _scaled(record.curve("eval", "accuracy"), 100.0))]
    return line_chart("Accuracy, on the eval split", series, "step", "%")


def _loss_charts(record: Record) -> list[str]:
    """Terms that stay above zero on a logarithmic axis, the two players' terms on a plain one.

    Where there are two players, the sum of what both lose says nothing: `total` is left out.
    """
    names = record.loss_names
    players = [name for name in names if name in ADVERSARIAL]
    names = [name for name in names if not players or name not in (*players, "total")]
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


def _codebook_chart(record: Record) -> str:
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


def _detail_chart(record: Record) -> str:
    names = {"ssim": "SSIM", "high_frequency_ratio": "high-frequency ratio"}
    series = [Series(shown, record.curve("eval", name)) for name, shown in names.items()]
    return line_chart("Structure and sharpness", series, "step", "1.0 = as the original")


def _charts(record: Record) -> str:
    quality = _quality_chart(record) if record.draws else _accuracy_chart(record)
    charts = [quality, *_loss_charts(record)]
    charts += [_codebook_chart(record), _detail_chart(record)]
    drawn = "".join(chart for chart in charts if chart)
    if not drawn:
        return '<p class="quiet">No numbers yet.</p>'
    return f'<div class="charts">{drawn}</div>'


def _behind(record: Record) -> str:
    """Command, machine, experiment and log."""
    tree = record.unreadable if record.experiment is None else describe(record.experiment)
    command = f"<pre>{escape(record.command)}</pre>" if record.command else ""
    log = "\n".join(record.log)
    shown_log = f"<details><summary>Log, last lines</summary><pre>{escape(log)}</pre></details>"
    return (
        f"{command}<details><summary>Experiment</summary><pre>{escape(tree)}</pre></details>"
        f"{shown_log if log else ''}"
    )


def _samples(record: Record) -> str:
    """What the run makes, under a heading; "" for one that makes no pictures."""
    if not record.draws:
        return ""
    heading = "Reconstructions" if record.reconstructs else "Samples"
    return f"{_made_later(record)}<h2>{heading}</h2>{_pictures(record)}"


def _section(record: Record, heading: str, anchor: str) -> str:
    return (
        f'<section id="{anchor}">{heading}{facts(record)}'
        f"{_samples(record)}"
        f"<h2>Training</h2>{_charts(record)}"
        f'<h2>Numbers</h2><div class="pair">{numbers_table(record)}{run_table(record)}</div>'
        f"<h2>How it was made</h2>{_behind(record)}</section>"
    )


def page(records: Sequence[Record]) -> str:
    """The whole page."""
    if len(records) == 1:
        record = records[0]
        title = record.name
        kind = f"vqjax run · {record.path}"
        head = f'<p class="kind">vqjax run</p><h1>{escape(record.name)}</h1>{_lead(record)}'
        body = _section(record, f"<header>{head}</header>", "run")
    else:
        title = f"{len(records)} runs"
        kind = "vqjax report"
        head = f'<p class="kind">vqjax report</p><h1>{title}</h1>'
        rows = [
            Row.of(record, name) for record, name in zip(records, names_of(records), strict=True)
        ]
        anchors = [f"run-{i}" for i in range(len(rows))]
        notes = notes_on_data(rows)
        table = html_table(rows, REPORTED, anchors, ranked=not notes)
        noted = "".join(f'<p class="quiet">Note: {escape(note)}</p>' for note in notes)
        sections = [
            _section(r.record, f'<h2 class="run">{escape(r.name)}</h2>{_lead(r.record)}', anchor)
            for r, anchor in zip(rows, anchors, strict=True)
        ]
        alike = len({record.reconstructs for record in records}) == 1  # else nothing compares
        compared = f"<h2>Side by side</h2>{table}{noted}" if alike else ""
        body = f"<header>{head}</header>{compared}{''.join(sections)}"
    return whole_page(title, body, kind)


def _lead(record: Record) -> str:
    """One sentence: what goes in, what comes out."""
    sizes = record.footprint
    if sizes is None:
        return f'<p class="lead"><code>{escape(record.path)}</code></p>'
    example = " × ".join(map(str, sizes.shape))
    if not sizes.levels:
        latents = " × ".join(map(str, sizes.latents))
        return f'<p class="lead">{example} values become {latents} real numbers.</p>'
    grids = " + ".join(
        f"{' × '.join(map(str, v.grid))} tokens of {v.codebook_size:,} codes" for v in sizes.levels
    )
    times = "" if sizes.compression is None else f", {number(sizes.compression, 3)} times smaller"
    return f'<p class="lead">{example} values become {grids}{times}.</p>'


def write_report(
    runs: Sequence[str | os.PathLike],
    out: str | os.PathLike | None = None,
    trust: Sequence[str] = (),
) -> pathlib.Path:
    """Writes the page of `runs` and returns its path.

    Args:
        runs: run directories; with several, a comparison comes first.
        out: the page; None: report.html in the first run.
        trust: modules or files whose classes may be built.

    Raises:
        DataError: one of `runs` is no run directory.
        UsageError: `out` cannot be written.
    """
    records = [read_record(os.fspath(run), trust) for run in runs]
    return write_output(out if out is not None else records[0].path / "report.html", page(records))
