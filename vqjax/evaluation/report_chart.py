"""Line charts as inline SVG: axes, ticks, a legend, light and dark by the page's colours.

Text and strokes take their colours from the CSS variables of `report_style`.
"""

import dataclasses
import html
import itertools
import math
from collections.abc import Sequence

Points = list[tuple[float, float]]

WIDTH, HEIGHT = 620, 300
LEFT, RIGHT, TOP, BOTTOM = 60, 24, 12, 46
COLOURS = 8  # --c0 to --c7
DENSE = 40  # curves with more points than this are drawn faint, with a smooth line over them
DRAWN = 500  # points per curve
SMOOTH = 0.04  # the smooth line averages over about this share of the curve


@dataclasses.dataclass(frozen=True)
class Series:
    """A curve: its `name` in the legend and its points, x increasing."""

    name: str
    points: Points


@dataclasses.dataclass(frozen=True)
class Mark:
    """A dashed line from the axis up to (x, y), with `text` beside it."""

    x: float
    y: float
    text: str


def number(value: float, digits: int = 4) -> str:
    """A number for people: `digits` significant ones, thousands grouped, no needless zeros."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude < -4:
        return f"{value:.{digits - 1}g}"
    text = f"{value:,.{max(0, digits - 1 - magnitude)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def nice_ticks(low: float, high: float, wanted: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) within [low, high]."""
    if not high > low:
        return [low]
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten within [low, high]; 2 and 5 times these too where few would fit."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    span = math.log10(high / low)
    if span < 0.6:
        return [t for t in nice_ticks(low, high, 4) if t > 0]
    digits = (1, 2, 5) if span < 2 else (1,)
    ticks = [m * 10.0**d for d in decades for m in digits]
    ticks = [t for t in ticks if low * 0.999 <= t <= high * 1.001]
    return ticks[:: math.ceil(len(ticks) / 8)] if ticks else ticks


def _thin(points: Points, limit: int = DRAWN) -> Points:
    """At most `limit` points: means over equally many neighbours."""
    size = math.ceil(len(points) / limit)
    if size <= 1:
        return points
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
        for group in groups
    ]


def _smooth(points: Points) -> Points:
    """Means over the neighbours on both sides, fewer towards the ends: no lag."""
    reach = max(1, round(SMOOTH * len(points) / 2))
    sums = list(itertools.accumulate((y for _, y in points), initial=0.0))
    out = []
    for i, (x, _) in enumerate(points):
        side = min(reach, i, len(points) - 1 - i)
        out.append((x, (sums[i + side + 1] - sums[i - side]) / (2 * side + 1)))
    return out


@dataclasses.dataclass(frozen=True)
class Scale:
    """From values to places along one axis."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = (math.log10(v) for v in (low, high, max(value, low)))
        share = (value - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.end - self.start), 1)


def _limits(values: Sequence[float], log: bool, floor: float | None) -> tuple[float, float]:
    low, high = min(values), max(values)
    if log:
        return low / 1.15, high * 1.15
    if floor is not None:
        low, high = min(low, floor), max(high, floor)
    room = (high - low or abs(high) or 1.0) * 0.06
    return (low if low == floor else low - room), (high if high == floor else high + room)


def _path(points: Points, x: Scale, y: Scale, kind: str, colour: int) -> str:
    places = " ".join(f"{x(a)},{y(b)}" for a, b in points)
    return f'<polyline class="{kind}" style="stroke:var(--c{colour})" points="{places}"/>'


def _curve(series: Series, x: Scale, y: Scale, colour: int, unit: str) -> list[str]:
    if len(series.points) > DENSE:
        thin = _thin(series.points)
        return [
            _path(thin, x, y, "faint", colour),
            _path(_thin(_smooth(series.points)), x, y, "line", colour),
        ]
    dots = [
        f'<circle cx="{x(a)}" cy="{y(b)}" r="2.8" style="fill:var(--c{colour})">'
        f"<title>{html.escape(series.name)} {number(b)} at {number(a)} {html.escape(unit)}</title>"
        "</circle>"
        for a, b in series.points
    ]
    return [_path(series.points, x, y, "line", colour), *dots]


def axes(
    x: Scale, y: Scale, x_label: str, y_label: str, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> list[str]:
    """Axes with round ticks and their labels, for a drawing of `size` (width, height)."""
    right, base = size[0] - RIGHT, size[1] - BOTTOM
    out = []
    for tick in log_ticks(y.low, y.high) if y.log else nice_ticks(y.low, y.high):
        out.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y(tick)}" y2="{y(tick)}"/>')
        out.append(f'<text class="tick y" x="{LEFT - 8}" y="{y(tick) + 4}">{number(tick)}</text>')
    for tick in log_ticks(x.low, x.high) if x.log else nice_ticks(x.low, x.high):
        out.append(
            f'<line class="axis" x1="{x(tick)}" x2="{x(tick)}" y1="{base}" y2="{base + 5}"/>'
        )
        out.append(f'<text class="tick x" x="{x(tick)}" y="{base + 19}">{number(tick)}</text>')
    out.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{base}" y2="{base}"/>')
    middle = (LEFT + right) / 2
    out.append(f'<text class="label" x="{middle}" y="{size[1] - 5}">{html.escape(x_label)}</text>')
    out.append(
        f'<text class="label" transform="translate(13 {(TOP + base) / 2}) rotate(-90)">'
        f"{html.escape(y_label)}</text>"
    )
    return out


def _marked(mark: Mark, x: Scale, y: Scale) -> list[str]:
    base, place = HEIGHT - BOTTOM, x(mark.x)
    on_left = place > (LEFT + WIDTH) * 0.55
    anchor, shift = ("end", -8) if on_left else ("start", 8)
    return [
        f'<line class="mark" x1="{place}" x2="{place}" y1="{base}" y2="{y(mark.y)}"/>',
        f'<circle class="mark" cx="{place}" cy="{y(mark.y)}" r="5"/>',
        f'<text class="note" text-anchor="{anchor}" x="{place + shift}" y="{base - 12}">'
        f"{html.escape(mark.text)}</text>",
    ]


def _legend(series: Sequence[Series]) -> str:
    entries = "".join(
        f'<li><i style="background:var(--c{i % COLOURS})"></i>{html.escape(s.name)} '
        f"<b>{number(s.points[-1][1], 3)}</b></li>"
        for i, s in enumerate(series)
    )
    return f'<ul class="legend">{entries}</ul>'


def line_chart(
    title: str,
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    log: bool = False,
    floor: float | None = None,
    mark: Mark | None = None,
    note: str = "",
) -> str:
    """One chart as an HTML figure.

    Args:
        title: heading.
        series: curves with at least one point in all; with `log`, points with y > 0 alone count.
        x_label: what is along the lower axis, with its unit.
        y_label: what is along the left axis, with its unit.
        log: logarithmic upright axis.
        floor: a value that the upright axis shows, such as 0.
        mark: a point to point out.
        note: a sentence beneath.
    """
    if log:
        series = [Series(s.name, [p for p in s.points if p[1] > 0]) for s in series]
    series = [s for s in series if s.points]
    if not series:
        return ""
    # Limits follow what is drawn boldly: one outlier must not press all curves flat.
    bold = [_smooth(s.points) if len(s.points) > DENSE else s.points for s in series]
    values = [b for points in bold for _, b in points]
    places = [a for s in series for a, _ in s.points]
    x = Scale(min(0.0, *places, 0.0), max(places) or 1.0, LEFT, WIDTH - RIGHT)
    y = Scale(*_limits(values, log, floor), HEIGHT - BOTTOM, TOP, log)
    body = axes(x, y, x_label, y_label)
    # An svg within the svg cuts off what noise lies outside; unlike clipPath it needs no id.
    box = (LEFT - 4, TOP - 6, WIDTH - LEFT - RIGHT + 8, HEIGHT - TOP - BOTTOM + 10)
    body.append(
        '<svg x="{}" y="{}" width="{}" height="{}" viewBox="{} {} {} {}">'.format(*box, *box)
    )
    for i, one in enumerate(series):
        body += _curve(one, x, y, i % COLOURS, x_label)
    body.append("</svg>")
    body += _marked(mark, x, y) if mark else []
    described = html.escape(f"{title}: {y_label} over {x_label}", quote=True)
    below = f'<p class="note">{html.escape(note)}</p>' if note else ""
    return (
        f'<figure class="chart"><figcaption>{html.escape(title)}</figcaption>{_legend(series)}'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{described}">'
        f"{''.join(body)}</svg>{below}</figure>"
    )
