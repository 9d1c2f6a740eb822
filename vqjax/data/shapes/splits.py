"""Which captions and pictures are in which split; all of it a pure function of (split, index).

A meaning is for training or for evaluation by its hash. A fifth of the pairs of colour and shape is
held out: no meaning that names one of these is in the splits "train" and "test".
"""

import functools
import hashlib
import itertools

import numpy as np

from vqjax.data.shapes.grammar import COUNTS, KINDS, Meaning, Phrase, caption
from vqjax.data.shapes.scene import (
    BACKGROUNDS,
    COLOURS,
    JITTER,
    PLACES,
    RELATIONS,
    SHAPES,
    SIZES,
    SPACING,
    Scene,
    Thing,
)
from vqjax.data.source import hash64, permutation

# Each colour once and each shape at least once, so that both occur in other pairs.
HELD_OUT_PAIRS = (
    ("red", "cross"),
    ("green", "circle"),
    ("blue", "triangle"),
    ("yellow", "ring"),
    ("purple", "square"),
    ("black", "circle"),
)
# Of few meanings a larger share is held out for evaluation.
EVAL_SHARES = {"single": 0.2, "count": 0.2, "relation": 0.1}

NUM_EXAMPLES = {"train": 24_000, "train_held_out": 6_000, "test": 1_500, "held_out": 1_500}
_TRAINING_KINDS = ("single", "relation", "count", "relation")  # in turn
_SEEDS = {split: number for number, split in enumerate(NUM_EXAMPLES)}
_DOMAIN = 3  # keeps these bits apart from those of the data order and of augmentation


def all_meanings(kind: str) -> list[Meaning]:
    """Returns every meaning of one of KINDS."""
    phrases = [
        Phrase(colour, shape, size)
        for colour, shape, size in itertools.product(COLOURS, SHAPES, (None, *SIZES))
    ]
    if kind == "single":
        return [Meaning(p, place=place) for p in phrases for place in (None, *PLACES)]
    if kind == "count":
        return [Meaning(p, count) for p in phrases for count in COUNTS]
    return [
        Meaning(p, relation=relation, other=other)
        for p, relation, other in itertools.product(phrases, RELATIONS, phrases)
    ]


def names_held_out(meaning: Meaning) -> bool:
    """Whether `meaning` names a held-out pair."""
    return any(phrase.pair in HELD_OUT_PAIRS for phrase in meaning.phrases)


def for_evaluation(meaning: Meaning) -> bool:
    """Whether `meaning` is kept out of all training, by its hash."""
    digest = hashlib.sha256(caption(meaning, "en").encode()).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56) < EVAL_SHARES[meaning.kind]


@functools.cache
def meanings(split: str, kind: str) -> tuple[Meaning, ...]:
    """Returns the meanings of one of KINDS that occur in `split`.

    "train" and "test" name seen pairs alone, "train_held_out" and "held_out" at least one held-out
    pair. No meaning of "test" is in another split; "held_out" has all that name a held-out pair.
    """
    held_out = split.endswith("held_out")
    chosen = [m for m in all_meanings(kind) if names_held_out(m) == held_out]
    if split == "held_out":
        return tuple(chosen)
    return tuple(m for m in chosen if for_evaluation(m) == (split == "test"))


def example(split: str, index: int) -> tuple[Meaning, Scene]:
    """Returns example `index` of `split`: what is said of it, and what there is to see.

    Kinds come in turn, and the meanings of a kind likewise, in a shuffled order: each is shown as
    often as any other.
    """
    kinds = _TRAINING_KINDS if split.startswith("train") else KINDS
    turn, slot = divmod(index, len(kinds))
    kind = kinds[slot]
    number = turn * kinds.count(kind) + kinds[:slot].count(kind)
    choice = meanings(split, kind)
    order = permutation(_SEEDS[split], _DOMAIN, len(choice))
    return (meaning := choice[order[number % len(choice)]]), scene_of(meaning, _SEEDS[split], index)


def scene_of(meaning: Meaning, seed: int, index: int) -> Scene:
    """Returns a scene of which `meaning` is true; what it leaves open is drawn by (seed, index)."""
    draws = _Draws(seed, index)
    places = _places(meaning, draws)
    things = []
    for phrase, place in zip(meaning.phrases, places, strict=True):
        size = phrase.size or draws.one_of(tuple(SIZES))
        x, y = ((v + 1) * SPACING + JITTER * (2 * draws.uniform() - 1) for v in place)
        things.append(Thing(phrase.colour, phrase.shape, size, (x, y)))
    low, high = BACKGROUNDS
    return Scene(tuple(things), low + int(draws.uniform() * (high + 1 - low)))


def _places(meaning: Meaning, draws: "_Draws") -> tuple[tuple[int, int], ...]:
    """Returns one (column, row) per thing."""
    if meaning.kind == "relation":
        return draws.one_of(_related_places(meaning.relation))
    if meaning.kind == "count":
        return draws.one_of(_separate_places(meaning.count))
    return (
        draws.one_of(tuple(PLACES.values())) if meaning.place is None else PLACES[meaning.place],
    )


@functools.cache
def _separate_places(count: int) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Returns all sets of `count` places of which no two are neighbours."""
    return tuple(
        places
        for places in itertools.combinations(PLACES.values(), count)
        if all(
            max(abs(a - c), abs(b - d)) == 2 for (a, b), (c, d) in itertools.combinations(places, 2)
        )
    )


@functools.cache
def _related_places(relation: str) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Returns all pairs of places two steps apart along the axis of `relation`, less across it."""
    x, y = RELATIONS[relation]
    return tuple(
        (a, b)
        for a, b in itertools.permutations(PLACES.values(), 2)
        if (a[0] - b[0]) * x + (a[1] - b[1]) * y == 2
        and abs((a[0] - b[0]) * y) + abs((a[1] - b[1]) * x) <= 1
    )


class _Draws:
    """The random numbers of one example, in the order in which they are requested."""

    def __init__(self, seed: int, index: int):
        bits = hash64(_DOMAIN, seed, index, np.arange(16))
        self._bits = iter((bits >> np.uint64(11)).tolist())

    def uniform(self) -> float:
        """Returns a number in [0, 1)."""
        return next(self._bits) / (1 << 53)

    def one_of(self, options: tuple):
        """Returns one of `options`."""
        return options[int(self.uniform() * len(options))]
