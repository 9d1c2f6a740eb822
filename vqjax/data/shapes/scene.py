"""What a picture of shapes can show: the vocabulary, and scenes made of it.

Lengths are fractions of the picture's side; a centre is (x, y), from the left and from the top.
"""

import dataclasses

# Each differs from a light background by about 200 levels in one channel, so that half of that is
# half covered, whatever the colour.
COLOURS = {
    "red": (220, 32, 40),
    "green": (32, 170, 52),
    "blue": (40, 80, 224),
    "yellow": (248, 204, 24),
    "purple": (168, 40, 200),
    "black": (28, 28, 28),
}
SHAPES = ("circle", "square", "triangle", "cross", "ring")
SIZES = {"small": 0.12, "large": 0.19}  # half the width
PLACES = {  # (column, row), each 0, 1 or 2
    "top left": (0, 0),
    "top": (1, 0),
    "top right": (2, 0),
    "left": (0, 1),
    "centre": (1, 1),
    "right": (2, 1),
    "bottom left": (0, 2),
    "bottom": (1, 2),
    "bottom right": (2, 2),
}
RELATIONS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}  # (x, y)
SPACING = 0.25  # between the middles of neighbouring places
JITTER = 0.02  # largest distance from the middle of a place, along x and along y
BACKGROUNDS = (228, 244)  # grey levels, least and greatest


@dataclasses.dataclass(frozen=True)
class Thing:
    """One coloured shape."""

    colour: str
    shape: str
    size: str
    centre: tuple[float, float]

    @property
    def radius(self) -> float:
        """Half the width."""
        return SIZES[self.size]


@dataclasses.dataclass(frozen=True)
class Scene:
    """A picture's things, which never touch, and the grey level behind them."""

    things: tuple[Thing, ...]
    background: int


def place_of(centre: tuple[float, float]) -> str:
    """Returns the place whose middle is nearest to `centre`."""
    column, row = (min(2, max(0, round(v / SPACING) - 1)) for v in centre)
    return next(name for name, place in PLACES.items() if place == (column, row))


def relation_of(centre: tuple[float, float], other: tuple[float, float]) -> str:
    """Returns where `centre` is, seen from `other`: along the axis in which they differ more."""
    x, y = (a - b for a, b in zip(centre, other, strict=True))
    if abs(x) > abs(y):
        return "left of" if x < 0 else "right of"
    return "above" if y < 0 else "below"
