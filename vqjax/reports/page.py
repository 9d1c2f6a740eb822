"""What every page is made of: its frame, and pictures inside it.

No script, no font, no picture from elsewhere: the file can be mailed, archived and opened offline.
The browser is told so, too: by its policy a page runs nothing and asks for nothing.
"""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from vqjax._version import __version__
from vqjax.files import GENERATOR
from vqjax.media.markup import Content, Markup, document, element, style
from vqjax.reports.style import CSS

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
SHOWN_PIXELS = 4 << 20  # of a picture on a page; larger ones are made smaller


def png(picture: np.ndarray, text: str) -> Markup:
    """An `img` with the picture inside; size attributes keep the page from jumping."""
    buffer, image = io.BytesIO(), Image.fromarray(picture)
    share = (SHOWN_PIXELS / (image.width * image.height)) ** 0.5
    if share < 1:
        image.thumbnail((image.width * share, image.height * share), Image.Resampling.LANCZOS)
    image.save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    width, height = image.size
    source = f"data:image/png;base64,{data}"
    return element("img", {"src": source, "width": width, "height": height, "alt": text})


def quiet(text: str) -> Markup:
    """A paragraph that stands back."""
    return element("p", {"class": "quiet"}, text)


def captioned(caption: Content, *content: Content) -> Markup:
    """A sheet of pictures with what it shows; `caption` may be None."""
    above = None if caption is None else element("figcaption", {}, caption)
    return element("figure", {"class": "sheet"}, above, *content)


def strips(rows: Sequence[tuple[Content, Markup]]) -> Markup:
    """Pictures beneath each other, each with its label on the left."""
    lines = [(element("span", {}, label), picture) for label, picture in rows]
    return element("div", {"class": "strips"}, lines)


def whole_page(title: str, body: Content, kind: str, broad: bool = False) -> str:
    """The document.

    Args:
        title: of the window.
        body: what is on it.
        kind: what stands in front of the version at the bottom.
        broad: whether it may be broader than is good for reading, for the sake of a table.
    """
    meta = [
        {"charset": "utf-8"},
        {"name": "generator", "content": GENERATOR},
        {"http-equiv": "Content-Security-Policy", "content": POLICY},
        {"name": "viewport", "content": "width=device-width, initial-scale=1"},
    ]
    described = [element("meta", attributes) for attributes in meta]
    head = element("head", {}, described, element("title", {}, title), style(CSS))
    footer = element("footer", {}, f"{kind} · made by vqjax {__version__}")
    main = element("main", {"class": "broad" if broad else None}, body, footer)
    return document(element("html", {"lang": "en"}, head, element("body", {}, main)))
