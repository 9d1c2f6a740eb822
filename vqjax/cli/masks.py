"""Masks of `vqjax edit`: the pixels to draw anew, from a picture file or the name of a half."""

from typing import Any

from vqjax.format import reason

HALVES = ("top", "bottom", "left", "right")
WHITE = 255
FULL_SCALES = (1, 255, 65_535)  # what white may be: 0 and 1, 8 bits, 16 bits


def half(name: str, size: tuple[int, int]) -> Any:
    """A mask uint8[H, W, 1] whose half of that name is white."""
    import numpy as np

    mask = np.zeros((*size, 1), np.uint8)
    height, width = size[0] // 2, size[1] // 2
    sides = {"top": mask[:height], "bottom": mask[height:], "left": mask[:, :width]}
    sides.get(name, mask[:, width:])[:] = WHITE
    return mask


def read_mask(path: str, max_pixels: int) -> Any:
    """The grey levels of a mask file, uint8[H, W, 1], where white (255) is to be drawn anew.

    Masks of black and white in any mode, also of 0 and 1 or of 16 bits, are read by the smallest
    scale that holds their levels.

    Raises:
        DataError: no picture, or one with more than `max_pixels`.
        UsageError: transparency, which could mean either side of the mask, or no white anywhere.
    """
    import warnings

    import numpy as np
    from PIL import ImageOps

    from vqjax.media.image import open_picture, readable_formats
    from vqjax.types import DataError, UsageError

    try:
        with (
            warnings.catch_warnings(action="ignore"),
            open_picture(path, readable_formats()) as image,
        ):
            if image.width * image.height > max_pixels:
                raise ValueError(f"{image.width * image.height} pixels, more than {max_pixels}")
            image = ImageOps.exif_transpose(image)
            alpha = np.asarray(image.convert("RGBA"))[..., 3] if _has_alpha(image) else None
            wide = image.mode.startswith("I") or image.mode == "F"
            grey = np.asarray(image if wide else image.convert("RGB").convert("L"))
    except Exception as error:  # decoders raise what they like
        raise DataError(f"{path}: {reason(error)}") from error
    if alpha is not None and alpha.min() < WHITE:
        raise UsageError(
            f"{path}: {np.mean(alpha < WHITE):.0%} of its pixels are transparent, and a mask is "
            "black and white without transparency: white is drawn anew"
        )
    top = grey.max()
    scale = next((full for full in FULL_SCALES if top <= full), top)
    levels = np.rint(np.clip(grey.astype(np.float64) / scale, 0, 1) * WHITE).astype(np.uint8)
    check_some_white(levels, path, f"its levels are {grey.min()} to {top} of {scale}")
    return levels[..., None]


def check_some_white(mask: Any, path: str, why: str) -> None:
    """Refuses, with UsageError, a mask uint8 of which nothing is nearer to white than to black."""
    from vqjax.types import UsageError

    if mask.max(initial=0) <= WHITE // 2:
        raise UsageError(f"{path}: no pixel is white, so nothing would be drawn anew: {why}")


def _has_alpha(image: Any) -> bool:
    return "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info
