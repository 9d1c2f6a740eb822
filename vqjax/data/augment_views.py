"""Random views of pictures that change their scale or angle, by Pillow; see `augment`."""

import dataclasses
import math
from typing import ClassVar

import numpy as np

from vqjax.arguments import got
from vqjax.data.augment import IMAGE, Shape, check_of
from vqjax.types import DataError, UsageError

__all__ = ["RandomResizedCrop", "RandomRotation"]

OF = (IMAGE,)
_UNIT = 2.0**-64  # of a draw, to [0, 1)


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop:
    """Cuts a window of drawn area, shape and place and resizes it, bicubic and antialiased (arXiv
    1409.4842, section 6); in evaluation the largest one of the result's shape, out of the middle.

    A window larger than the picture along an axis is cut to it, so that some are of another shape
    than was drawn.

    Attributes:
        size: of the result, a number or (height, width).
        scale: least and most area, as shares of the picture's, above 0 and up to 1; classifiers
            often go down to 0.08.
        ratio: least and most width over height; drawn uniformly in their logarithm.
        of: the arrays that it acts on, by the same window in shares of their sizes.
    """

    size: int | tuple[int, int]
    scale: tuple[float, float] = (0.5, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    of: tuple[str, ...] = dataclasses.field(default=OF, repr=False)
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_of(self)
        if min(self._sizes) < 1:
            raise UsageError(f"RandomResizedCrop needs a size of at least 1, got {got(self.size)}")
        for name, most in (("scale", 1.0), ("ratio", math.inf)):
            low, high = getattr(self, name)
            if not 0.0 < low <= high <= most:
                raise UsageError(
                    f"RandomResizedCrop: {name}={(low, high)}: wanted two numbers above 0, the "
                    f"least first{', up to 1' if most == 1.0 else ''}"
                )

    @property
    def _sizes(self) -> tuple[int, int]:
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def shape(self, shape: Shape) -> Shape:
        return (*self._sizes, _picture(self, shape)[-1])

    def __call__(self, images: np.ndarray, draws: np.ndarray | None) -> np.ndarray:
        out = np.empty((len(images), *self.shape(images.shape[1:])), images.dtype)
        for i, image in enumerate(images):
            drawn = None if draws is None else draws[i] * _UNIT  # float64[4] in [0, 1)
            out[i] = _resized(image, self._window(image.shape[:2], drawn), self._sizes)
        return out

    def _window(self, size: tuple[int, int], drawn: np.ndarray | None) -> tuple[float, ...]:
        """Left, top, right and bottom in pixels."""
        height, width = size
        if drawn is None:
            ratio = self._sizes[1] / self._sizes[0]
            h, w = min(height, width / ratio), min(width, height * ratio)
            place = (0.5, 0.5)
        else:
            area = height * width * (self.scale[0] + drawn[0] * (self.scale[1] - self.scale[0]))
            low, high = map(math.log, self.ratio)
            ratio = math.exp(low + drawn[1] * (high - low))
            h, w = min(height, math.sqrt(area / ratio)), min(width, math.sqrt(area * ratio))
            place = (drawn[2], drawn[3])
        top, left = place[0] * (height - h), place[1] * (width - w)
        return left, top, left + w, top + h


@dataclasses.dataclass(frozen=True)
class RandomRotation:
    """Turns each picture about its middle by a uniformly drawn angle, bilinear; in evaluation by
    none. What comes in at the corners is the picture mirrored at its border.

    Attributes:
        degrees: the largest angle either way, above 0 and up to 180.
        of: the arrays that it acts on, by the same angle.
    """

    degrees: float
    of: tuple[str, ...] = dataclasses.field(default=OF, repr=False)
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_of(self)
        if not 0.0 < self.degrees <= 180.0:
            raise UsageError(f"RandomRotation: degrees={self.degrees}: wanted above 0, up to 180")

    def shape(self, shape: Shape) -> Shape:
        return _picture(self, shape)

    def __call__(self, images: np.ndarray, draws: np.ndarray | None) -> np.ndarray:
        if draws is None:
            return images
        angles = (2.0 * draws[:, 0] * _UNIT - 1.0) * self.degrees
        return np.stack([_turned(x, a) for x, a in zip(images, angles.tolist(), strict=True)])


def _picture(transform: object, shape: Shape) -> Shape:
    if len(shape) != 3:
        raise DataError(f"{transform} takes pictures [H, W, C], got {len(shape)} axes")
    return shape


def _planes(image: np.ndarray, change: object) -> np.ndarray:
    """`change`, of Pillow's images, on each channel of [H, W, C] of uint8 or float32."""
    from PIL import Image

    if image.dtype not in (np.uint8, np.float32):
        raise DataError(f"views are of uint8 or float32 pictures, got {image.dtype}")
    if image.dtype == np.uint8 and image.shape[-1] == 3:
        return np.asarray(change(Image.fromarray(np.ascontiguousarray(image))))
    planes = [Image.fromarray(np.ascontiguousarray(image[..., c])) for c in range(image.shape[-1])]
    return np.stack([np.asarray(change(plane)) for plane in planes], axis=-1)


def _resized(image: np.ndarray, window: tuple[float, ...], size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    bicubic = Image.Resampling.BICUBIC
    return _planes(image, lambda plane: plane.resize(size[::-1], bicubic, box=window))


def _turned(image: np.ndarray, degrees: float) -> np.ndarray:
    from PIL import Image

    height, width = image.shape[:2]
    radius = math.ceil(math.hypot(height, width) / 2)
    pads = [(p := max(0, radius - n // 2 + 1), p) for n in (height, width)]
    wide = np.pad(image, (*pads, (0, 0)), mode="symmetric")
    turned = _planes(wide, lambda plane: plane.rotate(degrees, Image.Resampling.BILINEAR))
    (top, _), (left, _) = pads
    return turned[top : top + height, left : left + width]
