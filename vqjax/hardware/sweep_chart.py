"""A sweep over chips: its table, and a chart as an SVG file of its own."""

from collections.abc import Sequence

from vqjax.files import GENERATOR
from vqjax.format import duration, number, quantity
from vqjax.hardware.scaling import Point
from vqjax.media.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Scale, axes, polyline
from vqjax.media.markup import element, fragment, style

HEADS = ("chips", "topology", "batch", "memory/device", "step", "bound", "examples/s",
         "efficiency", "")  # fmt: skip
# The page's colours, for a file that stands alone.
STYLE = """
svg{background:#fff}text{font:13px system-ui,sans-serif;fill:#5d636b}
.tick.y{text-anchor:end}.tick.x,.label,.title{text-anchor:middle}.title{fill:#1c1e21;font-weight:600}
.grid{stroke:#ececea}.axis{stroke:#8b9199}.line{fill:none;stroke:#2a62b4;stroke-width:2}
.compiled{fill:#2a62b4}.worked{fill:#fff;stroke:#2a62b4;stroke-width:1.5}
.even{fill:none;stroke:#8b9199;stroke-dasharray:5 4}"""


def sweep_rows(points: Sequence[Point]) -> list[tuple[str, ...]]:
    """One row per size, as HEADS names them."""
    return [
        (
            f"{p.topology.chips:,}",
            str(p.topology),
            f"{p.batch_size:,}",
            quantity(p.memory, "B"),
            duration(p.roofline.step),
            p.roofline.bound,
            number(p.roofline.examples_per_second),
            f"{p.efficiency:.1%}",
            ("compiled" if p.compiled else "extrapolated")
            + (", DOES NOT FIT" if p.fits is False else ""),
        )
        for p in points
    ]


def sweep_table(points: Sequence[Point]) -> str:
    """The rows in columns."""
    rows = [HEADS, *sweep_rows(points)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADS))]
    lines = (
        "  ".join(word.rjust(width) for word, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "\n".join(lines)


def sweep_svg(title: str, points: Sequence[Point]) -> str:
    """An SVG file of examples/s over chips, both logarithmic; a dashed line is one chip's rate
    times the chips.

    Filled dots were compiled, hollow ones extrapolated.
    """
    chips = [p.topology.chips for p in points]
    rates = [p.roofline.examples_per_second for p in points]
    even = [rates[0] / chips[0] * n for n in chips]
    top = TOP + 22
    x = Scale(min(chips) / 1.3, max(chips) * 1.3, LEFT, WIDTH - RIGHT, log=True)
    y = Scale(min(rates) / 1.5, max(rates + even) * 1.5, HEIGHT - BOTTOM, top, log=True)
    body = axes(x, y, "chips", "examples/s")
    for kind, values in (("even", even), ("line", rates)):
        body.append(polyline(list(zip(chips, values, strict=True)), x, y, kind))
    for p, n, rate in zip(points, chips, rates, strict=True):
        dot = {"class": "compiled" if p.compiled else "worked", "cx": x(n), "cy": y(rate), "r": 4}
        hover = f"{number(rate)} at {n} chips, {p.efficiency:.1%}"
        body.append(element("circle", dot, element("title", {}, hover)))
    body.append(element("text", {"class": "title", "x": WIDTH / 2, "y": TOP + 8}, title))
    frame = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": f"0 0 {WIDTH} {HEIGHT}",
        "width": WIDTH,
        "height": HEIGHT,
    }
    mark = element("metadata", {}, GENERATOR)
    return fragment(element("svg", frame, mark, style(STYLE), body), "\n")
