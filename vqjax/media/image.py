"""A picture file -> uint8 pixels, whatever it is stored as; or the reason why not."""

import functools
import os
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np


class Format(NamedTuple):
    """How files of one format are known: Pillow's name of it, suffixes, and the package needed."""

    pillow: str
    suffixes: tuple[str, ...]
    package: str = "pillow"


FORMATS = {
    "jpeg": Format("JPEG", (".jpg", ".jpeg")),
    "png": Format("PNG", (".png",)),
    "webp": Format("WEBP", (".webp",)),
    "gif": Format("GIF", (".gif",)),
    "bmp": Format("BMP", (".bmp",)),
    "tiff": Format("TIFF", (".tiff", ".tif")),
    "avif": Format("AVIF", (".avif",)),
    "heic": Format("HEIF", (".heic", ".heif"), "pillow-heif"),
}
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # Pillow's names by number of channels
FIRST_FORMATS = ("jpeg", "png", "webp", "gif", "bmp")  # all that vqjax read at first
# Suffixes of pictures in formats that are not read: such files are counted, never passed over.
OTHER_SUFFIXES = (
    ".arw", ".cr2", ".cr3", ".dds", ".dng", ".exr", ".hdr", ".ico", ".j2k", ".jfif", ".jp2", ".jpe",
    ".jpx", ".jxl", ".jxr", ".nef", ".orf", ".pbm", ".pcx", ".pgm", ".pnm", ".ppm", ".psd", ".raf",
    ".rw2", ".svg", ".tga", ".xcf",
)  # fmt: skip


class BadPicture(Exception):
    """The file is not a usable picture; the message says why in a few words."""


@functools.cache
def is_readable(name: str) -> bool:
    """Whether files of the format `name`, one of `FORMATS`, can be decoded here."""
    if name == "heic":
        try:
            import pillow_heif
        except ImportError:
            return False
        pillow_heif.register_heif_opener()
        return True
    from PIL import features

    return name not in ("webp", "avif") or bool(features.check(name))


def readable_formats() -> tuple[str, ...]:
    """Returns the names of all formats that can be decoded here."""
    return tuple(name for name in FORMATS if is_readable(name))


def suffixes_of(formats: Iterable[str]) -> tuple[str, ...]:
    """Returns the suffixes of files of these formats, in lower case with their dots."""
    return tuple(suffix for name in formats for suffix in FORMATS[name].suffixes)


def open_picture(path: str | bytes, formats: Iterable[str]) -> Any:
    """Opens a file with Pillow, as one of `formats` whatever its name says.

    Raises:
        BadPicture: a TIFF of numbers that need not be grey levels.
        Exception: what Pillow raises.
    """
    names = [FORMATS[name].pillow for name in formats if is_readable(name)]
    image = _pillow().open(os.fsdecode(path), formats=names)
    if image.format == "TIFF" and image.mode in ("I", "F"):
        image.close()
        raise BadPicture("32 bits per value, whose range is unknown: wanted 8 or 16")
    return image


@functools.cache
def _pillow() -> Any:
    from PIL import Image

    # Size is limited by max_pixels below; Pillow's own warning would come in between.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    return Image


def _too_large(pixels: int | str, max_pixels: int) -> str:
    return f"{pixels} pixels, more than max_pixels={max_pixels}"


def read_square(
    path: str | bytes,
    side: int,
    channels: int,
    max_pixels: int,
    formats: Sequence[str] = tuple(FORMATS),
) -> np.ndarray:
    """Reads a picture, resizes its shorter side (antialiased) and cuts the square in the middle.

    The first frame of an animation, EXIF rotation applied, transparency on white.

    Args:
        path: of the file.
        side: of the square, in pixels.
        channels: 1 (grey) or 3 (RGB).
        max_pixels: a picture with more is not decoded.
        formats: of `FORMATS`, what the file may be.

    Returns:
        uint8[side, side, channels].

    Raises:
        BadPicture: if the file is damaged, empty, too large, or no picture.
    """
    image_module = _pillow()
    try:
        if os.path.getsize(path) == 0:
            raise BadPicture("empty")
        with open_picture(path, formats) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise BadPicture(_too_large(width * height, max_pixels))
            # JPEG can decode at 1/2, 1/4 or 1/8: never below twice the requested size.
            image.draft(None, (2 * side, 2 * side))
            image.load()
            return _square(_upright(image, channels), side)
    except BadPicture:
        raise
    except image_module.DecompressionBombError as error:  # Pillow looked first
        count = re.search(r"\d+", str(error))
        size = int(count[0]) if count else "far too many"
        raise BadPicture(_too_large(size, max_pixels)) from error
    except image_module.UnidentifiedImageError as error:
        raise BadPicture("not a picture that can be read") from error
    except FileNotFoundError as error:
        raise BadPicture("it is gone") from error
    except OSError as error:
        raise BadPicture(error.strerror or f"damaged: {error}") from error
    except Exception as error:  # a decoder fails on hostile bytes in any way it likes
        raise BadPicture(f"damaged: {type(error).__name__} {error}".strip()) from error


def read_whole(path: str | bytes | os.PathLike, channels: int, max_pixels: int) -> np.ndarray:
    """Reads a picture of any size, in any format that can be decoded here; the first frame of an
    animation, EXIF rotation applied, without alpha channel on white.

    Args:
        path: of the file.
        channels: 1 (grey), 2 (grey with alpha), 3 (RGB) or 4 (RGB with alpha).
        max_pixels: a picture with more is not decoded.

    Returns:
        uint8[H, W, channels].

    Raises:
        BadPicture: the picture is too large.
        Exception: what Pillow raises.
    """
    # Pillow would warn of what `max_pixels` settles.
    with warnings.catch_warnings(action="ignore"), open_picture(path, FORMATS) as image:
        if image.width * image.height > max_pixels:
            count = image.width * image.height
            raise BadPicture(f"{count} pixels, more than --max-pixels {max_pixels}")
        pixels = np.asarray(_upright(image, channels))
    return pixels.reshape(*pixels.shape[:2], channels)


def _upright(image: Any, channels: int) -> Any:
    """Returns `image` rotated as EXIF says, in the mode of so many channels."""
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits per pixel; Pillow's convert would clip at 255
        levels = np.asarray(image).astype(np.int64) >> 8
        image = _pillow().fromarray(np.clip(levels, 0, 255).astype(np.uint8))
    if channels in (1, 3) and image.has_transparency_data:
        image = image.convert("RGBA")
        white = _pillow().new("RGBA", image.size, (255, 255, 255, 255))
        image = _pillow().alpha_composite(white, image)
    return image.convert(MODES[channels])


def _square(image: Any, side: int) -> np.ndarray:
    """Returns the middle square of `image` at `side` pixels, uint8[side, side, C]."""
    short = min(image.size)
    left, top = ((n - short) / 2 for n in image.size)
    box = (left, top, left + short, top + short)
    image = image.resize((side, side), _pillow().Resampling.BICUBIC, box=box)
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels
