"""Line charts as inline SVG: axes, ticks and curves, light and dark by the page's colours.

Text and strokes take their colours from the CSS variables of the page, which also sets the title
and the legend around the drawing.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

from vqjax.format import number
from vqjax.media.markup import Markup, element

Points = list[tuple[float, float]]

WIDTH, HEIGHT = 620, 300  # of a drawing that is a file of its own
# Of a chart on a page, which is about as wide on a desktop: letters get the style sheet's size, and
# on a phone not much less.
ON_PAGE = (500, 272)
LEFT, RIGHT, TOP, BOTTOM = 60, 24, 12, 46
COLOURS = 8  # --c0 to --c7
DENSE = 40  # curves with more points than this are drawn faint, with a smooth line over them
DRAWN = 500  # points per curve
ALL_DRAWN = 2_800  # points of all curves, which keeps a chart under 40 kB
TINY = 1e-60  # what is nearer to 0 is drawn as 0
SAME = 1e-6  # relative difference of numbers that are drawn as one
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


@dataclasses.dataclass(frozen=True)
class Chart:
    """A drawing and what a page writes around it.

    Attributes:
        title: heading.
        svg: the drawing, as wide as its box.
        legend: (number of the colour, name, newest value) of each curve; (): the drawing has names.
        note: a sentence beneath; "": none.
    """

    title: str
    svg: Markup
    legend: tuple[tuple[int, str, str], ...] = ()
    note: str = ""


def nice_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten apart) within [low, high]."""
    if not high - low > TINY:
        return [low]
    rough = (high - low) / count
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


def _thin(points: Points, limit: int) -> Points:
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
    """From values to positions along one axis."""

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


def polyline(points: Points, x: Scale, y: Scale, kind: str, colour: int | None = None) -> Markup:
    """A curve of a `kind` that the style sheet knows, in one of its colours."""
    positions = " ".join(f"{x(a)},{y(b)}" for a, b in points)
    stroke = None if colour is None else f"stroke:var(--c{colour})"
    return element("polyline", {"class": kind, "style": stroke, "points": positions})


def _merged(series: Sequence[Series]) -> list[Series]:
    """Curves of the same numbers, which would hide each other, as one with all their names."""
    found: list[Series] = []
    for one in series:
        same = next((i for i, other in enumerate(found) if _are_same(one, other)), None)
        if same is None:
            found.append(one)
        else:
            found[same] = Series(f"{found[same].name} = {one.name}", found[same].points)
    return found


def _are_same(one: Series, other: Series) -> bool:
    """Whether each is the other, but for what float32 rounds."""
    return len(one.points) == len(other.points) and all(
        a[0] == b[0] and math.isclose(a[1], b[1], rel_tol=SAME)
        for a, b in zip(one.points, other.points, strict=True)
    )


def _curve(series: Series, x: Scale, y: Scale, colour: int, unit: str, limit: int) -> list[Markup]:
    if len(series.points) > DENSE:
        return [
            polyline(_thin(series.points, limit), x, y, "faint", colour),
            polyline(_thin(_smooth(series.points), limit), x, y, "line", colour),
        ]
    dots = [
        element(
            "circle",
            {"cx": x(a), "cy": y(b), "r": 2.8, "style": f"fill:var(--c{colour})"},
            element("title", {}, f"{series.name} {number(b)} at {number(a)} {unit}"),
        )
        for a, b in series.points
    ]
    return [polyline(series.points, x, y, "line", colour), *dots]


def axes(
    x: Scale, y: Scale, x_label: str, y_label: str, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> list[Markup]:
    """Axes with round ticks and their labels, for a drawing of `size` (width, height)."""
    right, base = size[0] - RIGHT, size[1] - BOTTOM
    out = []
    for tick in log_ticks(y.low, y.high) if y.log else nice_ticks(y.low, y.high):
        out.append(_stroke("grid", (LEFT, y(tick)), (right, y(tick))))
        beside = {"class": "tick y", "x": LEFT - 8, "y": y(tick) + 4}
        out.append(element("text", beside, number(tick)))
    for tick in log_ticks(x.low, x.high) if x.log else nice_ticks(x.low, x.high):
        out.append(_stroke("axis", (x(tick), base), (x(tick), base + 5)))
        below = {"class": "tick x", "x": x(tick), "y": base + 19}
        out.append(element("text", below, number(tick)))
    out.append(_stroke("axis", (LEFT, base), (right, base)))
    center = {"class": "label", "x": (LEFT + right) / 2, "y": size[1] - 5}
    turned = f"translate(13 {(TOP + base) / 2}) rotate(-90)"
    out.append(element("text", center, x_label))
    out.append(element("text", {"class": "label", "transform": turned}, y_label))
    return out


def _stroke(kind: str, start: tuple[float, float], end: tuple[float, float]) -> Markup:
    ends = {"x1": start[0], "x2": end[0], "y1": start[1], "y2": end[1]}
    return element("line", {"class": kind, **ends})


def _marker(mark: Mark, x: Scale, y: Scale) -> list[Markup]:
    width, height = ON_PAGE
    base, across = height - BOTTOM, x(mark.x)
    on_left = across > (LEFT + width) * 0.55
    anchor, shift = ("end", -8) if on_left else ("start", 8)
    beside = {"class": "note", "text-anchor": anchor, "x": across + shift, "y": base - 12}
    return [
        _stroke("mark", (across, base), (across, y(mark.y))),
        element("circle", {"class": "mark", "cx": across, "cy": y(mark.y), "r": 5}),
        element("text", beside, mark.text),
    ]


def drawing(
    title: str, x_label: str, y_label: str, body: Sequence[Markup], size: tuple[int, int] = ON_PAGE
) -> Markup:
    """The SVG of a chart on a page, with a description for those who cannot see it."""
    box = f"0 0 {size[0]} {size[1]}"
    description = f"{title}: {y_label} over {x_label}"
    return element("svg", {"viewBox": box, "role": "img", "aria-label": description}, body)


def line_chart(
    title: str,
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    log: bool = False,
    floor: float | None = None,
    mark: Mark | None = None,
    note: str = "",
) -> Chart | None:
    """One chart; None where nothing can be drawn.

    Args:
        title: heading.
        series: curves with at least one point in all; with `log`, points with y > 0 alone count.
        x_label: what is along the lower axis, with its unit.
        y_label: what is along the left axis, with its unit.
        log: logarithmic upright axis, of which what is below `TINY` is left out.
        floor: a value that the upright axis shows, such as 0.
        mark: a point to point out.
        note: a sentence beneath.
    """
    if log:
        series = [Series(s.name, [p for p in s.points if p[1] > TINY]) for s in series]
    series = _merged([s for s in series if s.points])
    if not series:
        return None
    width, height = ON_PAGE
    # Limits follow what is drawn boldly: one outlier must not press all curves flat.
    bold = [_smooth(s.points) if len(s.points) > DENSE else s.points for s in series]
    values = [b for points in bold for _, b in points]
    across = [a for s in series for a, _ in s.points]
    x = Scale(min(0.0, *across, 0.0), max(across) or 1.0, LEFT, width - RIGHT)
    y = Scale(*_limits(values, log, floor), height - BOTTOM, TOP, log)
    body = axes(x, y, x_label, y_label, ON_PAGE)
    # An svg within the svg cuts off what noise lies outside; unlike clipPath it needs no id.
    window = {
        "x": LEFT - 4,
        "y": TOP - 6,
        "width": width - LEFT - RIGHT + 8,
        "height": height - TOP - BOTTOM + 10,
    }
    box = " ".join(str(value) for value in window.values())
    limit = min(DRAWN, max(2, ALL_DRAWN // (2 * len(series))))  # each is drawn twice
    colours = [i % COLOURS for i in range(len(series))]
    curves = [_curve(s, x, y, c, x_label, limit) for s, c in zip(series, colours, strict=True)]
    body.append(element("svg", {**window, "viewBox": box}, curves))
    body += _marker(mark, x, y) if mark else []
    newest = [number(s.points[-1][1], 3) for s in series]
    legend = tuple(zip(colours, [s.name for s in series], newest, strict=True))
    return Chart(title, drawing(title, x_label, y_label, body), legend, note)
