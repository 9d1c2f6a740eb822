"""Numbers of several codebooks: quality against bitrate as more of them are decoded, and how each
is used.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from vqjax.format import NONE, printable
from vqjax.media.chart import Chart, Series, line_chart
from vqjax.numbers import NUMBERS, Number, described
from vqjax.reports.history import Record, is_number
from vqjax.reports.tables import NAME, Table, compact_table, shown_value

FIRST = "first_"  # n: the level of a number of the first n codebooks
RATE = "kbits_per_second"
QUALITIES = ("si_sdr", "mel_distance", "stft_distance")
CODES = ("perplexity", "codebook_usage")  # numbers that a codebook has
DRAWN = QUALITIES[:2]
MANY = 3  # levels that have a table of their own


def is_of_first(name: str) -> bool:
    """Whether a number is one of the first few codebooks alone."""
    return name.partition("/")[2].startswith(FIRST)


def by_count(numbers: Mapping[str, Any]) -> dict[int, dict[str, float]]:
    """{codebooks decoded: {kind of number: value}}, of numbers of an evaluation; {} where there is
    no choice.
    """
    found: dict[int, dict[str, float]] = {}
    for name in numbers:
        kind, _, level = name.partition("/")
        count = level.removeprefix(FIRST)
        # Of what a stranger wrote, too: at most four digits.
        if level != count and count.isdecimal() and len(count) <= 4 and is_number(numbers, name):
            found.setdefault(int(count), {})[kind] = float(numbers[name])
    if found:
        kinds = {kind for values in found.values() for kind in values}
        whole = {kind: float(numbers[kind]) for kind in kinds if is_number(numbers, kind)}
        found[max(found) + 1] = whole
    return dict(sorted(found.items()))


def rate_table(record: Record) -> Table | None:
    """Bitrate and quality for each number of codebooks; None where there is no choice."""
    counts = by_count(record.final)
    kinds = [k for k in (RATE, *QUALITIES) if any(k in values for values in counts.values())]
    if not kinds:
        return None
    head = ["Codebooks\ndecoded", *(_head(NUMBERS[kind]) for kind in kinds)]
    rows = [
        [str(n), *(shown_value(record, k, values[k]) if k in values else NONE for k in kinds)]
        for n, values in counts.items()
    ]
    return compact_table(head, rows)


def rate_charts(named: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Chart]:
    """Quality against bitrate, a point for each number of codebooks; [] where there is but one.

    Args:
        named: (name, numbers of an evaluation) of each run; where there is one, "" will do.
    """
    charts: list[Chart] = []
    for kind in DRAWN:
        what, series = NUMBERS[kind], []
        for name, numbers in named:
            counts = [*by_count(numbers).values()] or [numbers]
            points = [
                (float(values[RATE]), float(values[kind]))
                for values in counts
                if is_number(values, RATE) and is_number(values, kind)
            ]
            series.append(Series(name or what.label, sorted(points)))
        if sum(len(one.points) for one in series) > 1:
            title = f"{what.label} against bitrate"
            charts.append(line_chart(title, series, "kbit/s", what.titled))
    return charts


def level_names(record: Record) -> list[str]:
    """The levels of the newest evaluation, if they have a table of their own; else []."""
    names = (n.partition("/")[2] for n in record.final if "/" in n and not is_of_first(n))
    levels = list(dict.fromkeys(names))
    return levels if len(levels) >= MANY else []


def level_table(record: Record) -> Table | None:
    """How each of many codebooks is used; None where there are few."""
    levels = level_names(record)
    ends = tuple(f"/{level}" for level in levels)
    kinds = [n.partition("/")[0] for n in record.final if n.endswith(ends) and levels]
    kinds = list(dict.fromkeys(kinds))
    if not kinds:
        return None
    heads = [_head(described(kind, record.numbers)) for kind in kinds]
    rows = []
    for level in levels:
        names = [f"{kind}/{level}" for kind in kinds]
        cells = [
            shown_value(record, name, record.final[name]) if is_number(record.final, name) else NONE
            for name in names
        ]
        rows.append([printable(level, NAME), *cells])
    of_codes = any(kind in CODES for kind in kinds)
    return compact_table(["Codebook" if of_codes else "Of", *heads], rows)


def _head(what: Number) -> str:
    return what.head or printable(what.titled, NAME)
