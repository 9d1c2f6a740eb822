"""Does a picture satisfy a caption? Decided from the pixels alone, by rules that can be read here.

What differs from the background falls into connected parts; each must look like one of the shapes,
in one of the sizes and colours, or the picture satisfies nothing. Blur, noise and shifts of a
pixel, as a tokenizer's reconstruction has them, are tolerated.
"""

import itertools
from collections.abc import Mapping, Sequence

import chex
import numpy as np
from scipy import ndimage

from vqjax.data.shapes.drawing import GRAVITY, coverage
from vqjax.data.shapes.grammar import KINDS, Meaning, Phrase, parse
from vqjax.data.shapes.scene import COLOURS, SHAPES, SIZES, Thing, place_of, relation_of

_CONTRAST = 85  # levels from the background, in one channel, from which a pixel is foreground
_LIGHT = 190  # levels that a background has at least in each channel
_SPECK = 0.006  # share of the picture's area up to which a part is ignored
_REACH = 0.07  # how far a part's soft edge goes, in sides
# Largest shares of a shape's energy by which a part may differ from it: in all, and by colours that
# are not a mixture of its own and the background.
_ERROR = 0.06
_OFF_COLOUR = 0.03
# Sigmas, in sides: a part is blurred by the first, and compared with shapes blurred by each.
_BLURS = (0.03, 0.045)
_FULL = 0.6  # how much at least the most covered pixels are covered
_LOOKS = tuple(itertools.product(SHAPES, SIZES))


def things(image: np.ndarray) -> tuple[Thing | None, ...]:
    """Returns what is in a picture; None for a part, or a background, that is not recognized.

    Args:
        image: uint8[H, H, 3], of 32 pixels or more.
    """
    chex.assert_rank(image, 3)
    chex.assert_type(image, np.uint8)
    pixels = image.astype(np.float64)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    background = np.median(edge, axis=0)
    if background.min() < _LIGHT:
        return (None,)
    difference = np.abs(pixels - background).max(axis=-1)
    labels, count = ndimage.label(difference > _CONTRAST, np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:] / labels.size
    parts = [part + 1 for part in range(count) if sizes[part] > _SPECK]
    distance, nearest = ndimage.distance_transform_edt(~np.isin(labels, parts), return_indices=True)
    owner = np.where(distance <= _REACH * len(image), labels[tuple(nearest)], 0)
    return tuple(_thing(pixels, background, difference, owner == part) for part in parts)


def _thing(
    pixels: np.ndarray, background: np.ndarray, difference: np.ndarray, mask: np.ndarray
) -> Thing | None:
    """Returns what the part of the picture in the mask is."""
    strongest = mask & (difference >= 0.9 * np.quantile(difference[mask], 0.9))
    colour = _colour(np.median(pixels[strongest], axis=0), background)
    side = len(pixels)
    deviation = np.where(mask[..., None], pixels - background, 0.0)
    sigma = _BLURS[0] * side
    deviation = ndimage.gaussian_filter(deviation, (sigma, sigma, 0)) / 255
    direction = (np.array(COLOURS[colour]) - background) / 255
    alpha = deviation @ direction / (direction @ direction)  # [H, W], how much is covered
    weights = np.maximum(alpha, 0.0)
    if not weights.any():
        return None
    middles = (np.arange(side) + 0.5) / side
    x, y = (float(weights.sum(axis=axis) @ middles / weights.sum()) for axis in (0, 1))
    rows, columns = (_around(v, side) for v in (y, x))
    ideals = _ideals(side, middles[columns] - x, middles[rows] - y)
    energies = np.square(ideals).sum((-2, -1))  # [blurs, looks]
    off_colour = np.square(deviation).sum() / (direction @ direction) - np.square(alpha).sum()
    errors = (np.square(alpha[rows, columns] - ideals).sum((-2, -1)) + off_colour) / energies
    blur, look = np.unravel_index(errors.argmin(), errors.shape)
    if errors[blur, look] > _ERROR or off_colour > _OFF_COLOUR * energies[blur, look]:
        return None
    shape, size = _LOOKS[look]
    return Thing(colour, shape, size, (x, y - GRAVITY[shape] * SIZES[size]))


def _around(centre: float, side: int) -> slice:
    """Returns the rows or columns of a window that holds anything around `centre`, in sides."""
    reach = max(SIZES.values()) + _REACH + 2 * _BLURS[-1]
    return slice(max(0, int((centre - reach) * side)), int((centre + reach) * side) + 1)


def _ideals(side: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns what every shape of every size looks like through every blur.

    Args:
        side: of the picture, in pixels.
        x: float[w], columns seen from a part's centre of gravity, in sides.
        y: float[h], rows likewise.

    Returns:
        float[blurs, kinds, h, w].
    """
    sharp = np.stack(
        [
            coverage(
                shape,
                SIZES[size] * side,
                x[None] * side,
                (y[:, None] + GRAVITY[shape] * SIZES[size]) * side,
            )
            for shape, size in _LOOKS
        ]
    )
    blurs = [ndimage.gaussian_filter(sharp, (0, blur * side, blur * side)) for blur in _BLURS]
    return np.stack(blurs)


def _colour(colour: np.ndarray, background: np.ndarray) -> str:
    """Returns the name of the nearest colour, which the background may have thinned."""

    def error(name: str) -> float:
        direction = np.array(COLOURS[name]) - background
        share = np.clip((colour - background) @ direction / (direction @ direction), _FULL, 1.0)
        return float(np.linalg.norm(background + share * direction - colour))

    return min(COLOURS, key=error)


def satisfies(image: np.ndarray, caption: str) -> bool:
    """Whether a picture shows what a caption says, and nothing else.

    Args:
        image: uint8[H, H, 3], of 32 pixels or more.
        caption: in any of the grammar's languages. What it leaves out is not checked.

    Raises:
        UsageError: if `caption` is not one of the grammar.
    """
    return _shows(parse(caption), things(image))


def satisfied(images: np.ndarray, captions: Sequence[str]) -> np.ndarray:
    """Returns `satisfies` for each of images uint8[B, H, H, 3] and its caption: bool[B]."""
    pairs = zip(images, captions, strict=True)
    return np.array([satisfies(image, caption) for image, caption in pairs], bool)


def score(images: np.ndarray, captions: Sequence[str]) -> Mapping[str, float]:
    """Returns the share of pictures that satisfy their captions: of each kind there is, and "all".

    Args:
        images: uint8[B, H, H, 3].
        captions: B of them.
    """
    good = satisfied(images, captions)
    kinds = np.array([parse(caption).kind for caption in captions])
    shares = {kind: float(good[kinds == kind].mean()) for kind in KINDS if (kinds == kind).any()}
    return {**shares, "all": float(good.mean())} if len(good) else {}


def _shows(meaning: Meaning, parts: tuple[Thing | None, ...]) -> bool:
    if len(parts) != len(meaning.phrases) or None in parts:
        return False
    if meaning.kind == "relation":
        return any(
            _fits(meaning.phrase, a)
            and _fits(meaning.other, b)
            and relation_of(a.centre, b.centre) == meaning.relation
            for a, b in itertools.permutations(parts)
        )
    placed = meaning.place is None or place_of(parts[0].centre) == meaning.place
    return placed and all(_fits(meaning.phrase, thing) for thing in parts)


def _fits(phrase: Phrase, thing: Thing) -> bool:
    sized = phrase.size is None or phrase.size == thing.size
    return sized and phrase.pair == (thing.colour, thing.shape)
