"""Texts for people: what a stranger may have named, made fit for a terminal."""

from collections.abc import Iterable

LINE = 480  # characters of a message; what is longer loses its middle


def printable(text: str, width: int | None = None) -> str:
    """`text` without anything that a terminal would obey.

    Control characters, what is no character of its own (halves of surrogate pairs, as a file name
    that is no UTF-8 has them), and marks that turn the direction of writing come out as escapes
    such as ``\\x1b``; so does a line break.

    Args:
        text: of any origin.
        width: the most characters to return; the middle of what is longer becomes "...".
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c == " " else _escaped(c) for c in text)
    if width is None or len(text) <= width:
        return text
    end = (width - 3) // 3
    return f"{text[: width - 3 - end]}...{text[-end:]}"


def reason(error: BaseException) -> str:
    """What `error` says, in one line; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def times(shape: Iterable[int]) -> str:
    """Sizes as people write them, such as "8 x 8 x 3"."""
    return " x ".join(map(str, shape))


def printable_lines(text: str) -> str:
    """`text` likewise, but its lines stay lines."""
    return "\n".join(map(printable, text.split("\n")))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
