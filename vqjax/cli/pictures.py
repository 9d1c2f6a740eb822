"""Files of pictures that verbs read one by one."""

from typing import Any

from vqjax.cli.drawing import MAX_PIXELS
from vqjax.format import reason


def read_picture(path: str, channels: int) -> Any:
    """A file's picture, uint8 [H, W, channels].

    Raises:
        DataError: it cannot be read.
    """
    from vqjax.media.image import read_whole
    from vqjax.types import DataError

    try:
        return read_whole(path, channels, MAX_PIXELS)
    except Exception as error:  # decoders raise what they like
        raise DataError(f"{path}: {reason(error)}") from error


def cover(image: Any, shape: tuple[int, ...]) -> Any:
    """uint8 [H, W, C] resized to cover `shape`, (H, W, C), and cropped in the middle."""
    import numpy as np
    from PIL import Image, ImageOps

    original = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    fitted = ImageOps.fit(original, (shape[1], shape[0]), Image.Resampling.LANCZOS)
    return np.asarray(fitted).reshape(shape)
