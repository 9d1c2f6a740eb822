"""Captions: what is said of a scene, written in English or Chinese and read back exactly.

a small red circle at the top left                   左上角有一个小的红色圆形
three green triangles                                三个绿色三角形
a red circle left of a large yellow cross            一个红色圆形在一个大的黄色十字的左边
"""

import dataclasses
import re

from vqjax.data.shapes.scene import COLOURS, PLACES, RELATIONS, SHAPES, SIZES
from vqjax.types import UsageError

LANGUAGES = ("en", "zh")
KINDS = ("single", "count", "relation")
COUNTS = (2, 3, 4)
CAPTION_BYTES = 72  # no caption is longer as UTF-8, in either language

_NUMBERS = {1: "a", 2: "two", 3: "three", 4: "four"}
_NUMBERS_ZH = {1: "一", 2: "两", 3: "三", 4: "四"}
_PLURALS = {shape: shape + ("es" if shape.endswith("s") else "s") for shape in SHAPES}
_PREPOSITIONS = {"left": "on the", "right": "on the", "centre": "in the"}  # the others: "at the"
_COLOURS_ZH = {
    "red": "红色", "green": "绿色", "blue": "蓝色", "yellow": "黄色", "purple": "紫色",
    "black": "黑色",
}  # fmt: skip
_SHAPES_ZH = {
    "circle": "圆形", "square": "正方形", "triangle": "三角形", "cross": "十字", "ring": "圆环",
}  # fmt: skip
_SIZES_ZH = {"small": "小的", "large": "大的"}
_PLACES_ZH = {
    "top left": "左上角", "top": "顶部", "top right": "右上角",
    "left": "左边", "centre": "中央", "right": "右边",
    "bottom left": "左下角", "bottom": "底部", "bottom right": "右下角",
}  # fmt: skip
_RELATIONS_ZH = {"left of": "左边", "right of": "右边", "above": "上面", "below": "下面"}


@dataclasses.dataclass(frozen=True)
class Phrase:
    """What is said of one thing; a size of None is left open."""

    colour: str
    shape: str
    size: str | None = None

    @property
    def pair(self) -> tuple[str, str]:
        """Colour and shape."""
        return self.colour, self.shape


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What is said of a scene, whatever the language.

    Attributes:
        phrase: of the only thing, of each of `count` things, or of the first of two.
        count: of things alike.
        place: of the only thing; None: left open.
        relation: of the first of two things to the second.
        other: the second thing, where there is a relation.
    """

    phrase: Phrase
    count: int = 1
    place: str | None = None
    relation: str | None = None
    other: Phrase | None = None

    @property
    def kind(self) -> str:
        """One of KINDS."""
        if self.relation is not None:
            return "relation"
        return "single" if self.count == 1 else "count"

    @property
    def phrases(self) -> tuple[Phrase, ...]:
        """One per thing in the scene."""
        return (self.phrase,) * self.count if self.other is None else (self.phrase, self.other)


def caption(meaning: Meaning, language: str) -> str:
    """Writes `meaning` in `language`, one of LANGUAGES."""
    return _english(meaning) if language == "en" else _chinese(meaning)


def parse(text: str) -> Meaning:
    """Reads a caption in any of LANGUAGES, the exact inverse of `caption`.

    Raises:
        UsageError: if `text` is not a caption of this grammar.
    """
    meaning = meant(text)
    if meaning is not None:
        return meaning
    raise UsageError(
        f"{text!r} is no caption of shapes; captions are like 'a small red circle at the top "
        "left', 'three green triangles' and 'a red circle left of a yellow cross'"
    )


def meant(text: str) -> Meaning | None:
    """Reads a caption in any of LANGUAGES, as `parse`; None if it is none of this grammar."""
    return _from_english(text) or _from_chinese(text)


def kind(text: str) -> str:
    """Returns of which of KINDS a caption is."""
    return parse(text).kind


def _english(meaning: Meaning) -> str:
    def noun(phrase: Phrase, count: int) -> str:
        shape = phrase.shape if count == 1 else _PLURALS[phrase.shape]
        return " ".join(filter(None, (_NUMBERS[count], phrase.size, phrase.colour, shape)))

    text = noun(meaning.phrase, meaning.count)
    if meaning.place is not None:
        text += f" {_PREPOSITIONS.get(meaning.place, 'at the')} {meaning.place}"
    if meaning.other is not None:
        text += f" {meaning.relation} {noun(meaning.other, 1)}"
    return text


def _chinese(meaning: Meaning) -> str:
    def noun(phrase: Phrase, count: int) -> str:
        size = "" if phrase.size is None else _SIZES_ZH[phrase.size]
        return f"{_NUMBERS_ZH[count]}个{size}{_COLOURS_ZH[phrase.colour]}{_SHAPES_ZH[phrase.shape]}"

    text = noun(meaning.phrase, meaning.count)
    if meaning.place is not None:
        text = f"{_PLACES_ZH[meaning.place]}有{text}"
    if meaning.other is not None:
        text += f"在{noun(meaning.other, 1)}的{_RELATIONS_ZH[meaning.relation]}"
    return text


def _any(words) -> str:
    # The longest first: "top left" before "top".
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


_ENGLISH = re.compile(
    rf"(?P<count>{_any(_NUMBERS.values())}) ((?P<size>{_any(SIZES)}) )?(?P<colour>{_any(COLOURS)}) "
    rf"(?P<shape>{_any([*SHAPES, *_PLURALS.values()])})( (at|on|in) the (?P<place>{_any(PLACES)}))?"
    rf"( (?P<relation>{_any(RELATIONS)}) a ((?P<size2>{_any(SIZES)}) )?"
    rf"(?P<colour2>{_any(COLOURS)}) (?P<shape2>{_any(SHAPES)}))?"
)
_CHINESE = re.compile(
    rf"((?P<place>{_any(_PLACES_ZH.values())})有)?(?P<count>{_any(_NUMBERS_ZH.values())})个"
    rf"(?P<size>{_any(_SIZES_ZH.values())})?(?P<colour>{_any(_COLOURS_ZH.values())})"
    rf"(?P<shape>{_any(_SHAPES_ZH.values())})"
    rf"(在一个(?P<size2>{_any(_SIZES_ZH.values())})?(?P<colour2>{_any(_COLOURS_ZH.values())})"
    rf"(?P<shape2>{_any(_SHAPES_ZH.values())})的(?P<relation>{_any(_RELATIONS_ZH.values())}))?"
)


def _inverse(table: dict) -> dict:
    return {word: key for key, word in table.items()}


_FROM_NUMBERS = _inverse(_NUMBERS)
_FROM_SHAPES = _inverse(_PLURALS) | {shape: shape for shape in SHAPES}
_FROM_CHINESE = {
    "count": _inverse(_NUMBERS_ZH),
    "size": _inverse(_SIZES_ZH),
    "colour": _inverse(_COLOURS_ZH),
    "shape": _inverse(_SHAPES_ZH),
    "place": _inverse(_PLACES_ZH),
    "relation": _inverse(_RELATIONS_ZH),
}


def _from_english(text: str) -> Meaning | None:
    match = _ENGLISH.fullmatch(text)
    if match is None:
        return None
    words = match.groupdict()
    words["count"] = _FROM_NUMBERS[words["count"]]
    words["shape"] = _FROM_SHAPES[words["shape"]]
    return _checked(words, text, _english)


def _from_chinese(text: str) -> Meaning | None:
    match = _CHINESE.fullmatch(text)
    if match is None:
        return None
    words = {
        name: word if word is None else _FROM_CHINESE[name.rstrip("2")][word]
        for name, word in match.groupdict().items()
    }
    return _checked(words, text, _chinese)


def _checked(words: dict, text: str, write) -> Meaning | None:
    """Returns the meaning of `words`, or None where it would be written otherwise."""
    other = None
    if words["relation"] is not None:
        other = Phrase(words["colour2"], words["shape2"], words["size2"])
    meaning = Meaning(
        Phrase(words["colour"], words["shape"], words["size"]),
        words["count"],
        words["place"],
        words["relation"],
        other,
    )
    several = (meaning.count > 1) + (meaning.place is not None) + (other is not None)
    return meaning if several <= 1 and write(meaning) == text else None
