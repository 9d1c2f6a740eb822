"""SVG, in the one place that makes any: text and attributes are escaped by construction.

Drawings are built of `element`; what comes out is `Markup`, and nothing else passes as that: any
other text that is put into an element, wherever it comes from, is shown as text. A run's names and
logs may be a stranger's. The templates of pages escape all but `Markup`, too.
"""

import html
import re
from collections.abc import Iterable, Mapping

from vqjax.format import printable_lines

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_SHAPES = ("line", "polyline", "circle")  # that may be empty
_ADDRESSES = ("href", "src")  # a drawing needs nothing from anywhere


class Markup(str):
    """Elements and escaped text. Only this file makes it."""

    __slots__ = ()

    def __html__(self) -> "Markup":
        """By this name templates know what needs no escaping."""
        return self


Content = str | int | float | None | Iterable  # Markup as it is, all else as text; None is nothing


def element(name: str, attributes: Mapping[str, object], *content: Content) -> Markup:
    """One element with its content.

    Args:
        name: of the element.
        attributes: by name; one that is None is left out.
        content: inside it: `Markup`, text, numbers, or any of these in lists.

    Raises:
        ValueError: an element or attribute that can run or fetch something.
    """
    if not _NAME.fullmatch(name) or name.lower() == "script":
        raise ValueError(f"{name!r} is no element of a drawing")
    present = [(key, value) for key, value in attributes.items() if value is not None]
    for key, _ in present:
        if not _NAME.fullmatch(key) or key.lower().startswith("on") or key.lower() in _ADDRESSES:
            raise ValueError(f"{key!r} is no attribute of a drawing")
    start = "".join([name, *(f' {key}="{_escaped(value)}"' for key, value in present)])
    inside = fragment(*content)
    if name in _SHAPES and not inside:
        return Markup(f"<{start}/>")
    return Markup(f"<{start}>{inside}</{name}>")


def fragment(*content: Content) -> Markup:
    """Content one after the other, without an element around it."""
    return Markup("".join(_text_of(part) for part in content))


def style(css: str) -> Markup:
    """A style sheet, which no browser unescapes.

    Raises:
        ValueError: it could end the element.
    """
    if "<" in css or "&" in css:
        raise ValueError("a style sheet of a drawing holds neither < nor &")
    return Markup(f"<style>{css}</style>")


def _text_of(content: Content) -> str:
    if isinstance(content, Markup):
        return content
    if content is None:
        return ""
    if isinstance(content, str | int | float):
        return _escaped(content)
    return "".join(_text_of(part) for part in content)


def _escaped(value: object) -> str:
    """For content, and for attributes between double quotes. Control characters become visible, as
    XML has none.
    """
    return html.escape(printable_lines(str(value)), quote=False).replace('"', "&quot;")
