"""Texts and numbers for people; untrusted texts, made safe for a terminal."""

import math
from collections.abc import Iterable

LINE = 480  # characters of a message; what is longer loses its middle
LONGEST = 15  # digits in front of the point; longer numbers are written with an exponent
NONE = "–"  # stands for a missing number
PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def printable(text: str, width: int | None = None) -> str:
    """`text` without anything that a terminal would obey.

    Control characters, lone surrogates (as in file names that are not UTF-8), marks that change the
    direction of writing, and line breaks come out as escapes such as ``\\x1b``.

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
    """`printable` of each line of `text`; line breaks stay."""
    return "\n".join(map(printable, text.split("\n")))


def shorten(text: str, width: int) -> str:
    """`text` on one line of at most `width` characters."""
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 3] + "..."


def number(value: float, digits: int = 4) -> str:
    """A number for people: `digits` significant ones, thousands grouped, no trailing zeros."""
    if not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if not -4 <= magnitude < LONGEST:
        return f"{value:.{digits - 1}g}"
    text = f"{value:,.{max(0, digits - 1 - magnitude)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def fixed(value: float, form: str) -> str:
    """`value` in the format `form`, or as `number` where that would be too long."""
    return format(value, form) if abs(value) < 10.0**LONGEST else number(value)


def span(seconds: float | None) -> str:
    """Seconds for people: "48 s", "4 min 26 s", "3 h 07 min"."""
    if seconds is None:
        return NONE
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left:02d} min" if hours else f"{minutes} min {rest:02d} s"


def count(value: float) -> str:
    """A count in three digits: 913, 48.1 k, 1.24 M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.0f}"


def quantity(value: float, unit: str) -> str:
    """1234567 "B" -> "1.235 MB"."""
    scale, prefix = next(((s, p) for s, p in PREFIXES if abs(value) >= s), (1.0, ""))
    return f"{number(value / scale)} {prefix}{unit}"


def duration(seconds: float) -> str:
    """0.00123 -> "1.23 ms"."""
    for scale, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= scale:
            return f"{number(seconds / scale, 3)} {unit}"
    return f"{number(seconds / 1e-6, 3)} µs"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
