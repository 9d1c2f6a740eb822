"""A scatter plot as inline SVG in which every point has its name beside it and no two touch."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

from vqjax.format import number, shorten
from vqjax.media.chart import BOTTOM, COLOURS, LEFT, RIGHT, TOP, Chart, Scale, axes, drawing
from vqjax.media.markup import Markup, element

WIDTH, HEIGHT = 760, 420
DOT = 5.5  # radius of a point
NAME = 40  # characters of a name
LETTER, LINE = 7.6, 17.0  # width and height of a letter at most; the browser draws narrower ones
NEAR = 10.0  # pixels from a point to its name; names that are farther away get a leader line
FAR = 420.0
ROOM = 0.08  # of a range, beyond the outermost points
ORIGIN = 0.45  # the axis starts at 0 where the least value is below this part of the largest
DECADE = 12.0  # values that lie farther apart than this factor are drawn on a logarithmic axis


@dataclasses.dataclass(frozen=True)
class Point:
    """A named point; without `x` it is a dashed line across, and `note` follows its name."""

    name: str
    x: float | None
    y: float
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Box:
    """Left, top, right and bottom, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: "Box") -> float:
        """Area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)

    def inside(self, other: "Box") -> bool:
        across = other.left <= self.left and self.right <= other.right
        return across and other.top <= self.top and self.bottom <= other.bottom


@dataclasses.dataclass(frozen=True)
class Label:
    """A text with its box and how far it is from what it names."""

    text: str
    box: Box
    distance: float


def _box_at(text: str, x: float, y: float, across: float, down: float) -> Box:
    """The box of `text` whose side or corner that faces (-across, -down) is at (x, y)."""
    width = LETTER * len(text)
    left, top = x - width * (1 - across) / 2, y - LINE * (1 - down) / 2
    return Box(left, top, left + width, top + LINE)


def _boxes(text: str, x: float, y: float) -> Iterator[tuple[Box, float]]:
    """Boxes for the name of a point at (x, y), the best first, with their distances."""
    distance = NEAR
    while distance < FAR:
        for turn in (0, 8, 12, 4, 14, 2, 10, 6, 15, 1, 13, 3, 11, 5, 9, 7):  # sixteenths
            angle = turn * math.pi / 8
            across, down = math.cos(angle), math.sin(angle)
            center = (x + across * distance, y + down * distance)
            yield _box_at(text, *center, across, down), distance
        distance += 9.0


def _line_boxes(text: str, y: float, frame: Box) -> Iterator[tuple[Box, float]]:
    """Boxes for the name of a line across at `y`: at its right end, then farther left."""
    right = frame.right - 4.0
    while right - LETTER * len(text) > frame.left:
        for down in (-1, 1):
            yield _box_at(text, right, y + 3.0 * down, -1, down), 0.0
        right -= 24.0


def place_label(
    text: str, boxes: Iterator[tuple[Box, float]], taken: list[Box], frame: Box
) -> Label:
    """At the first box inside `frame` that is free, or the freest; it is added to `taken`."""
    best, least = None, math.inf
    for box, distance in boxes:
        if not box.inside(frame):
            continue
        covered = sum(box.overlap(other) for other in taken)
        if covered < least:
            best, least = Label(text, box, distance), covered
        if not covered:
            break
    if best is None:  # wider than the frame
        best = Label(text, Box(frame.left, frame.top, frame.right, frame.top + LINE), 0.0)
    taken.append(best.box)
    return best


def _scale(values: Sequence[float], start: float, end: float, log: bool = False) -> Scale:
    low, high = min(values), max(values)
    if log:
        return Scale(low / 1.5, high * 1.5, start, end, log=True)
    room = ROOM * (high - low or abs(high) or 1.0)
    if start < end and 0 <= low < ORIGIN * high:  # the lower axis alone; PSNR knows no zero
        return Scale(0.0, high + room, start, end)
    return Scale(low - room, high + room, start, end)


def labels_of(points: Sequence[Point], x: Scale, y: Scale) -> list[Label]:
    """One label per point; none covers another, a point or, if it can, a line."""
    frame = Box(LEFT + 4, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM - 2)
    dots = [(x(p.x), y(p.y)) for p in points if p.x is not None]
    taken = [Box(a - DOT - 1, b - DOT - 1, a + DOT + 1, b + DOT + 1) for a, b in dots]
    heights = [y(p.y) for p in points if p.x is None]
    lines = [Box(frame.left, h - 1, frame.right, h + 1) for h in heights]
    labels: dict[int, Label] = {}
    # Lines first: their names have fewer positions.
    for i, point in sorted(enumerate(points), key=lambda item: item[1].x is not None):
        text = shorten(point.name, NAME)
        if point.x is None:
            text = f"{text}, {point.note}" if point.note else text
            boxes = _line_boxes(text, y(point.y), frame)
        else:
            boxes = _boxes(text, x(point.x), y(point.y))
        labels[i] = place_label(text, boxes, taken + lines, frame)
        taken.append(labels[i].box)
    return [labels[i] for i in range(len(points))]


def _drawn(point: Point, label: Label, x: Scale, y: Scale, colour: int) -> list[Markup]:
    """A point or line with its name and, where that is farther away, a line to it."""
    box, height = label.box, y(point.y)
    out = []
    if point.x is None:
        stroke = {"class": "across", "style": f"stroke:var(--c{colour})"}
        ends = {"x1": LEFT, "x2": WIDTH - RIGHT, "y1": height, "y2": height}
        out.append(element("line", stroke | ends))
        anchor, text_x = "end", box.right
    else:
        point_x = x(point.x)
        anchor, text_x = ("end", box.right) if box.right < point_x else ("start", box.left)
        if box.left < point_x < box.right:
            anchor, text_x = "middle", (box.left + box.right) / 2
        if label.distance > NEAR:
            near_x = min(max(point_x, box.left), box.right)
            near_y = min(max(height, box.top + 3), box.bottom - 3)
            ends = {"x1": point_x, "y1": height, "x2": f"{near_x:.1f}", "y2": f"{near_y:.1f}"}
            out.append(element("line", {"class": "leader", **ends}))
        title = f"{point.name}: {number(point.y)} at {number(point.x)}"
        dot = {"cx": point_x, "cy": height, "r": DOT, "style": f"fill:var(--c{colour})"}
        out.append(element("circle", dot, element("title", {}, title)))
    corner = {"x": f"{text_x:.1f}", "y": f"{box.bottom - 4:.1f}"}
    out.append(element("text", {"class": "note", "text-anchor": anchor, **corner}, label.text))
    return out


def scatter(title: str, points: Sequence[Point], x_label: str, y_label: str) -> Chart | None:
    """The plot; None where no point has an `x`.

    Args:
        title: heading.
        points: in the order of their colours; those without `x` are dashed lines.
        x_label: what is along the lower axis, with its unit.
        y_label: what is along the left axis, with its unit.
    """
    across = [p.x for p in points if p.x is not None]
    if not across:
        return None
    wide = min(across) > 0 and max(across) / min(across) > DECADE
    x = _scale(across, LEFT, WIDTH - RIGHT, log=wide)
    y = _scale([p.y for p in points], HEIGHT - BOTTOM, TOP)
    body = axes(x, y, x_label, y_label, (WIDTH, HEIGHT))
    for i, (point, label) in enumerate(zip(points, labels_of(points, x, y), strict=True)):
        body += _drawn(point, label, x, y, i % COLOURS)
    return Chart(title, drawing(title, x_label, y_label, body, (WIDTH, HEIGHT)))
