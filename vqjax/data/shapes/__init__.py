"""A world of coloured shapes: pictures, captions in English and Chinese, and an exact scorer.

Six colours, five shapes, two sizes; one thing at one of nine places, two to four things alike, or
two things and their relation. `Shapes` is the source of batches, `satisfies` the scorer.
"""

from vqjax.data.shapes.drawing import draw
from vqjax.data.shapes.grammar import KINDS, Meaning, Phrase, caption, kind, parse
from vqjax.data.shapes.scene import Scene, Thing
from vqjax.data.shapes.scorer import satisfied, satisfies, score
from vqjax.data.shapes.source import Shapes
from vqjax.data.shapes.splits import HELD_OUT_PAIRS

__all__ = [
    "HELD_OUT_PAIRS",
    "KINDS",
    "Meaning",
    "Phrase",
    "Scene",
    "Shapes",
    "Thing",
    "caption",
    "draw",
    "kind",
    "parse",
    "satisfied",
    "satisfies",
    "score",
]
