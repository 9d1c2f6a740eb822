"""What every page is made of: its frame, and pictures inside it.

No script, no font, no picture from elsewhere: the file can be mailed, archived and opened offline.
"""

import base64
import html
import io
import pathlib
import warnings

import numpy as np
from PIL import Image

from vqjax._version import __version__
from vqjax.evaluation.report_style import CSS

MAX_PIXELS = 32 << 20  # a larger picture is none that a run has drawn


def escape(text: object) -> str:
    """Text for any place in the page, attributes included."""
    return html.escape(str(text), quote=True)


def png(picture: np.ndarray, text: str) -> str:
    """An `img` with the picture inside; size attributes keep the page from jumping."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    height, width = picture.shape[:2]
    return (
        f'<img src="data:image/png;base64,{data}" width="{width}" height="{height}" '
        f'alt="{escape(text)}">'
    )


def read_picture(path: pathlib.Path) -> np.ndarray | None:
    """uint8[H, W, 3], or None for what is no PNG of at most `MAX_PIXELS`."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            return np.asarray(image.convert("RGB"))
    except Exception:  # half written by a run that is going on, or damaged in any way
        return None


def description(path: pathlib.Path) -> str:
    """What a PNG says of itself; "" where it says nothing."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=("PNG",)) as image:
            return str(image.info.get("Description", ""))
    except Exception:  # as above
        return ""


def whole_page(title: str, body: str, kind: str, broad: bool = False) -> str:
    """The document.

    Args:
        title: of the window, plain text.
        body: HTML.
        kind: plain text in front of the version at the bottom.
        broad: whether it may be broader than is good for reading, for the sake of a table.
    """
    main = '<main class="broad">' if broad else "<main>"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body>{main}{body}"
        f"<footer>{escape(kind)} · made by vqjax {__version__}</footer></main></body></html>\n"
    )
