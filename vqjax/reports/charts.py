"""The charts of one run: how good it got, what it lost, how it uses its codes."""

import statistics
from collections.abc import Callable, Iterable, Mapping

from vqjax.format import span
from vqjax.media.chart import Chart, Mark, Points, Series, line_chart
from vqjax.numbers import NUMBERS
from vqjax.reports.history import REACHED, Record
from vqjax.tasks.adversary import ADVERSARIAL

FEW = 2  # codebooks that have curves of their own


def _over_time(record: Record, name: str) -> Chart | None:
    """A number over seconds or minutes of training; over steps where nothing was timed."""
    what = NUMBERS[name]
    points = record.curve("eval", name)
    timed = [(record.seconds_at(int(step)), value) for step, value in points]
    timed = [(seconds, value) for seconds, value in timed if seconds is not None]
    by_time = bool(points) and len(timed) == len(points)
    if not by_time:
        title = f"{what.label} over training"
        return line_chart(title, [Series(what.label, points)], "step", what.titled)
    unit, units = (60.0, "minutes") if timed[-1][0] >= 180 else (1.0, "seconds")
    timed = [(seconds / unit, value) for seconds, value in timed]
    reached, mark, note = record.reached() if name == "psnr" else None, None, ""
    if reached is not None:
        seconds = record.seconds_at(int(reached[0])) or 0.0
        mark = Mark(seconds / unit, reached[1], f"{REACHED:.0%} after {span(seconds)}")
        note = (
            f"{REACHED:.0%} of the final {what.label} was first seen at step {reached[0]:,.0f}, "
            f"after {span(seconds)} of training."
        )
    return line_chart(
        f"{what.label} over wall time",
        [Series(what.label, timed)],
        f"{units} of training, all starts",
        what.titled,
        mark=mark,
        note=note,
    )


def _mel_chart(record: Record) -> Chart | None:
    series = [Series("mel distance", record.curve("eval", "mel_distance"))]
    return line_chart("Mel distance, on the eval split", series, "step", "lower is better")


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
    """Usage and perplexity on one axis, as shares of the codebook; of many codebooks the least
    usage and the mean perplexity.
    """
    levels = () if record.footprint is None else record.footprint.levels
    sizes = {level.name: level.codebook_size for level in levels}
    used: dict[str, Points] = {}
    perplexity: dict[str, Points] = {}
    for name in record.names("eval"):
        points = record.curve("eval", name)
        kind, _, level = name.partition("/")
        size = sizes[level] if level in sizes else max(sizes.values(), default=0)
        if kind == "codebook_usage":
            used[f"codes in use {level}".strip()] = _scaled(points, 100.0)
        if kind == "perplexity" and size:
            label = f"perplexity of {size:,} {level}".strip()
            perplexity[label] = _scaled(points, 100.0 / size)
    if len(used) > FEW:
        used = {f"codes in use, the least of {len(used)} codebooks": _over(min, used)}
    if len(perplexity) > FEW:
        mean = _over(statistics.fmean, perplexity)
        perplexity = {f"perplexity, the mean of {len(perplexity)} codebooks": mean}
    series = [Series(name, points) for name, points in {**used, **perplexity}.items()]
    return line_chart("Codebook, on the eval split", series, "step", "% of codes", floor=0.0)


def _over(summary: Callable[[Iterable[float]], float], curves: Mapping[str, Points]) -> Points:
    """One curve of several, of the steps that all have."""
    values = [dict(points) for points in curves.values()]
    steps = sorted(set(values[0]).intersection(*values[1:]))
    return [(step, summary([of[step] for of in values])) for step in steps]


def _scaled(points: Points, factor: float) -> Points:
    return [(x, y * factor) for x, y in points]


def _detail_chart(record: Record) -> Chart | None:
    names = {"ssim": "SSIM", "high_frequency_ratio": "high-frequency ratio"}
    series = [Series(shown, record.curve("eval", name)) for name, shown in names.items()]
    return line_chart("Structure and sharpness", series, "step", "1.0 = as the original")


def charts(record: Record) -> list[Chart]:
    """Those that the run has numbers for."""
    found = [_over_time(record, "psnr"), _over_time(record, "si_sdr"), _mel_chart(record)]
    found.append(_accuracy_chart(record))
    found += [_likelihood_chart(record), *_loss_charts(record)]
    found += [_codebook_chart(record), _detail_chart(record)]
    return [chart for chart in found if chart is not None]
