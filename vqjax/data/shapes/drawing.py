"""Scenes as pixels, antialiased: a pixel is covered as far as the shape's outline is from it."""

from collections.abc import Callable

import numpy as np

from vqjax.data.shapes.scene import COLOURS, Scene

_SQUARE = 0.9  # half a side, in radii: as large as a circle to the eye
_BAR = 0.36  # half the width of a cross's bars, in radii
_HOLE = 0.45  # of a ring, in radii
_ROOF = 0.9  # a triangle's half height, in radii; its base is two radii wide


def _circle(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    return np.hypot(x, y) - radius


def _box(x: np.ndarray, y: np.ndarray, width: float, height: float) -> np.ndarray:
    return np.maximum(np.abs(x) - width, np.abs(y) - height)


def _square(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    return _box(x, y, _SQUARE * radius, _SQUARE * radius)


def _triangle(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    height = 2 * _ROOF * radius  # y runs down: the tip is at -height / 2
    side = (height * np.abs(x) - radius * (y + height / 2)) / np.hypot(height, radius)
    return np.maximum(side, y - height / 2)


def _cross(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    bar = _BAR * radius
    return np.minimum(_box(x, y, radius, bar), _box(x, y, bar, radius))


def _ring(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    distance = np.hypot(x, y)
    return np.maximum(distance - radius, _HOLE * radius - distance)


_OUTLINES: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "ring": _ring,
}
# The centre of gravity's distance below the centre, in radii; only the triangle's differs.
GRAVITY = {shape: _ROOF / 3 if shape == "triangle" else 0.0 for shape in _OUTLINES}


def coverage(shape: str, radius: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns how much of each pixel a shape around (0, 0) covers, in [0, 1].

    Args:
        shape: one of SHAPES.
        radius: half its width, in pixels.
        x: float[1, w], the middles of the pixels from left to right.
        y: float[h, 1], from top to bottom.

    Returns:
        float[h, w].
    """
    return np.clip(0.5 - _OUTLINES[shape](x, y, radius), 0.0, 1.0)


def draw(scene: Scene, side: int) -> np.ndarray:
    """Returns the picture of `scene`, uint8[side, side, 3]."""
    canvas = np.full((side, side, 3), float(scene.background))
    middles = np.arange(side) + 0.5
    for thing in scene.things:
        left, top = (v * side for v in thing.centre)
        radius = thing.radius * side
        rows, columns = (
            slice(max(0, int(v - radius - 1)), int(v + radius + 2)) for v in (top, left)
        )
        x, y = middles[None, columns] - left, middles[rows, None] - top
        alpha = coverage(thing.shape, radius, x, y)[..., None]
        window = canvas[rows, columns]
        window += alpha * (np.array(COLOURS[thing.colour], float) - window)
    return np.rint(canvas).astype(np.uint8)
