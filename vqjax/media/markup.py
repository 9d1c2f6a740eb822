"""Markup, in the one place that makes any: text and attributes are escaped by construction.

Pages and drawings are built of `element`; what comes out is `Markup`, and nothing else passes as
that: any other text that is put into an element, wherever it comes from, is shown as text. A run's
names, logs and pictures may be a stranger's.
"""

import html
import re
from collections.abc import Iterable, Mapping

from vqjax.format import printable_lines

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_WITHOUT_CONTENT = ("meta", "img", "br", "wbr")  # in HTML, where they have no end tag
_SHAPES = ("line", "polyline", "circle")  # in SVG
# Where an address may lead: to a place on the same page, and to a picture inside it.
_ADDRESSES = {"href": "#", "src": "data:image/png;base64,"}


class Markup(str):
    """Elements and escaped text. Only this file makes it."""

    __slots__ = ()


Content = str | int | float | None | Iterable  # Markup as it is, all else as text; None is nothing
NOTHING = Markup("")


def element(name: str, attributes: Mapping[str, object], *content: Content) -> Markup:
    """One element with its content.

    Args:
        name: of the element.
        attributes: by name; one that is None is left out.
        content: inside it: `Markup`, text, numbers, or any of these in lists.

    Raises:
        ValueError: an element, attribute or address that can run or fetch something.
    """
    if not _NAME.fullmatch(name) or name.lower() == "script":
        raise ValueError(f"{name!r} is no element of a page")
    given = [(key, _escaped(value)) for key, value in attributes.items() if value is not None]
    for key, value in given:
        if not _NAME.fullmatch(key) or key.lower().startswith("on"):
            raise ValueError(f"{key!r} is no attribute of a page")
        if not value.startswith(_ADDRESSES.get(key, "")):
            raise ValueError(f"{key}={value[:80]!r} leads out of the page")
    start = "".join([name, *(f' {key}="{value}"' for key, value in given)])
    inside = fragment(*content)
    if name in _WITHOUT_CONTENT:
        return Markup(f"<{start}>")
    if name in _SHAPES and not inside:
        return Markup(f"<{start}/>")
    return Markup(f"<{start}>{inside}</{name}>")


def fragment(*content: Content) -> Markup:
    """Content one after the other, without an element around it."""
    return Markup("".join(_written(part) for part in content))


def style(css: str) -> Markup:
    """A style sheet, whose text no browser unescapes.

    Raises:
        ValueError: it could end the element.
    """
    if "<" in css or "&" in css:
        raise ValueError("a style sheet of a page holds neither < nor &")
    return Markup(f"<style>{css}</style>")


def document(page: Markup) -> str:
    """The text of an HTML file."""
    return f"<!DOCTYPE html>\n{fragment(page)}\n"


def _written(content: Content) -> str:
    if isinstance(content, Markup):
        return content
    if content is None:
        return ""
    if isinstance(content, str | int | float):
        return _escaped(content)
    return "".join(_written(part) for part in content)


def _escaped(value: object) -> str:
    """For any place, attributes between their double quotes included. Control characters become
    visible, as XML has none.
    """
    return html.escape(printable_lines(str(value)), quote=False).replace('"', "&quot;")
