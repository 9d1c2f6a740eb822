"""Stateless augmentations: what they draw is a pure function of (seed, position).

One implementation, in numpy and Pillow, serves arrays and tf.data alike. A transform names the
arrays that it acts on, all by the same draws: `RandomCrop(32, of=("source", "image"))` cuts the
same window out of both. It is called with images [b, *S, C] and 64 bits per draw, or with None in
evaluation, where crops are centred, nothing is flipped, and pixels are binarised by bits that
depend on the picture alone. Transforms before the first random one are done once per example and
cached.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

import numpy as np

from vqjax.arguments import got
from vqjax.config.annotations import check_fields
from vqjax.data.source import hash64
from vqjax.types import ArraySpec, DataError, UsageError, did_you_mean

__all__ = ["Binarize", "CenterCrop", "RandomCrop", "RandomFlip", "RandomShift", "Resize"]

IMAGE = "image"  # what sources call their pictures
OF = (IMAGE,)
_DRAWS = 4  # per transform and example, enough for a crop along any axes there are
_METHODS = ("nearest", "bilinear", "bicubic", "lanczos")
# 2^32 v / 255 by v; uint64, because that of 255 is 2^32.
_THRESHOLDS = (np.arange(256, dtype=np.uint64) << np.uint64(32)) // np.uint64(255)

Shape = tuple[int | None, ...]  # of one example; None: differs from example to example


class Transform(Protocol):
    """One step of `augment`. Without `of` it acts on "image"."""

    random: ClassVar[bool]
    of: tuple[str, ...]

    def shape(self, shape: Shape) -> Shape:
        """Returns the shape that an example of `shape` gets; DataError where it cannot be."""

    def __call__(self, images: np.ndarray, draws: np.ndarray | None) -> np.ndarray:
        """Transforms images [b, *S, C] by `draws`, uint64[b, 4], or for evaluation by None."""


def apply(
    transforms: Sequence[Transform], images: np.ndarray, seed: int | None, positions: np.ndarray
) -> np.ndarray:
    """`apply_to` of images [b, *S, C] alone."""
    return apply_to(transforms, {IMAGE: images}, seed, positions)[IMAGE]


def apply_to(
    transforms: Sequence[Transform],
    arrays: Mapping[str, np.ndarray],
    seed: int | None,
    positions: np.ndarray,
) -> dict[str, np.ndarray]:
    """Applies `transforms` to arrays [b, *S, C] visited at `positions`, int64[b].

    A `seed` of None means evaluation.
    """
    arrays = dict(arrays)
    number = 0  # among the random ones: the fixed ones before them may have been done already
    for transform in transforms:
        draws = None
        if seed is not None and transform.random:
            # The first word keeps these bits apart from those of the data order.
            draws = hash64(1, seed, number, positions[:, None], np.arange(_DRAWS))
            number += 1
        for name in names_of(transform):
            arrays[name] = transform(arrays[name], draws)
    return arrays


def names_of(transform: Transform) -> tuple[str, ...]:
    """The arrays that it acts on."""
    return getattr(transform, "of", OF)


def divide(transforms: Sequence[Transform]) -> tuple[tuple[Transform, ...], tuple[Transform, ...]]:
    """Splits into what is done once per example and what is done at each visit."""
    fixed = next((i for i, t in enumerate(transforms) if t.random), len(transforms))
    return tuple(transforms[:fixed]), tuple(transforms[fixed:])


def shape_after(transforms: Sequence[Transform], shape: Shape) -> Shape:
    """Returns the shape of one example's image after all `transforms`.

    Raises:
        DataError: it cannot be, or a transform acts on another array.
    """
    return specs_after(transforms, {IMAGE: ArraySpec(shape, "uint8")})[IMAGE].shape


def specs_after(
    transforms: Sequence[Transform], specs: Mapping[str, ArraySpec]
) -> dict[str, ArraySpec]:
    """Returns the specs of one example's arrays after all `transforms`.

    Raises:
        DataError: they cannot be, or a transform acts on a missing array.
    """
    specs = dict(specs)
    for transform in transforms:
        if isinstance(transform, RandomCrop | RandomShift) and transform.random:
            _check_alike(transform, specs)
        for name in names_of(transform):
            if name not in specs:
                names = ", ".join(specs)
                raise DataError(f"{transform} acts on {name!r}: the examples have {names}")
            shape = transform.shape(specs[name].shape)
            specs[name] = dataclasses.replace(specs[name], shape=shape)
    return specs


def _check_alike(transform: "RandomCrop | RandomShift", specs: Mapping[str, ArraySpec]) -> None:
    sizes = {name: specs[name].shape[:-1] for name in transform.of if name in specs}
    if len(set(sizes.values())) > 1:
        each = ", ".join(f"{name} has {_times(size)}" for name, size in sizes.items())
        raise DataError(f"{transform} would cut arrays of unlike sizes apart: {each}")


def check_of(transform: Transform) -> None:
    """Checks the types of all fields, and that `of` names arrays, each once."""
    check_fields(transform)
    if not transform.of or len({*transform.of}) < len(transform.of):
        kind = type(transform).__name__
        raise UsageError(f"{kind}: of={got(transform.of)}: name one array or more, each once")


def _check_spatial(transform: Transform, shape: Shape) -> Shape:
    """`shape`, where it has a spatial axis."""
    if len(shape) < 2:
        raise DataError(f"{transform} of {transform.of}: one of them has no axes but channels")
    return shape


def _cropped(transform: "RandomCrop | CenterCrop", shape: Shape) -> Shape:
    """Returns `shape` with its spatial axes cut to the transform's size."""
    size, shape = transform.size, _check_spatial(transform, shape)
    sizes = (size,) * (len(shape) - 1) if isinstance(size, int) else tuple(size)
    if len(sizes) != len(shape) - 1:
        raise DataError(f"{transform} has {len(sizes)} axes, the examples have {len(shape) - 1}")
    if any(have is not None and have < need for have, need in zip(shape, sizes, strict=False)):
        raise DataError(f"{transform} needs examples at least that large, got {_times(shape[:-1])}")
    return (*sizes, shape[-1])


def _times(sizes: Shape) -> str:
    return "x".join("?" if size is None else str(size) for size in sizes)


def _cut(images: np.ndarray, out_shape: Shape, draws: np.ndarray | None) -> np.ndarray:
    """Cuts windows of `out_shape` at drawn offsets, or out of the middle."""
    out = np.empty((len(images), *out_shape), images.dtype)
    spare = np.subtract(images.shape[1:-1], out_shape[:-1])
    if draws is None:
        starts = np.broadcast_to(spare // 2, (len(images), len(spare)))
    else:
        starts = draws[:, : len(spare)] % (spare + 1).astype(np.uint64)
    for i, corner in enumerate(starts.tolist()):
        window = (slice(a, a + n) for a, n in zip(corner, out_shape[:-1], strict=True))
        out[i] = images[(i, *window)]
    return out


def _check_size(transform: "RandomCrop | CenterCrop | Resize") -> None:
    size = transform.size
    sizes = size if isinstance(size, tuple | list) else (size,)
    if not sizes or any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in sizes):
        raise UsageError(f"{type(transform).__name__} needs a size of at least 1, got {got(size)}")


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """Cuts a window of `size` at a uniformly drawn position; in evaluation the middle one.

    Attributes:
        size: of the window along every spatial axis, or one number per axis.
        of: the arrays that it acts on.
    """

    size: int | tuple[int, ...]
    of: tuple[str, ...] = dataclasses.field(default=OF, repr=False)
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_size(self)
        check_of(self)

    def shape(self, shape: Shape) -> Shape:
        return _cropped(self, shape)

    def __call__(self, images: np.ndarray, draws: np.ndarray | None) -> np.ndarray:
        draws = draws if self.random else None
        return _cut(images, self.shape(images.shape[1:]), draws)


@dataclasses.dataclass(frozen=True)
class CenterCrop(RandomCrop):
    """Cuts the window of `size` out of the middle; see `RandomCrop`."""

    random: ClassVar[bool] = False


@dataclasses.dataclass(frozen=True)
class RandomFlip:
    """Mirrors each example with probability 1/2, left to right; in evaluation none.

    Attributes:
        of: the arrays that it acts on.
    """

    of: tuple[str, ...] = dataclasses.field(default=OF, repr=False)
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_of(self)

    def shape(self, shape: Shape) -> Shape:
        return _check_spatial(self, shape)

    def __call__(self, images: np.ndarray, draws: np.ndarray | None) -> np.ndarray:
        if draws is None:
            return images
        flip = (draws[:, 0] >> np.uint64(63)).astype(bool)
        return np.where(flip.reshape(-1, *(1,) * (images.ndim - 1)), images[..., ::-1, :], images)


@dataclasses.dataclass(frozen=True)
class RandomShift:
    """Moves each example by up to `most` positions either way along every spatial axis.

    The border is repeated on the side that it moves away from. In evaluation nothing moves.

    Attributes:
        most: positions, at least 1.
        of: the arrays that it acts on.
    """

    most: int
    of: tuple[str, ...] = dataclasses.field(default=OF, repr=False)
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_of(self)
        if self.most < 1:
            raise UsageError(f"RandomShift needs at least 1 position, got {self.most}")

    def shape(self, shape: Shape) -> Shape:
        return _check_spatial(self, shape)

    def __call__(self, images: np.ndarray, draws: np.ndarray | None) -> np.ndarray:
        if draws is None:
            return images
        axes = images.ndim - 2
        shifts = (draws[:, :axes] % np.uint64(2 * self.most + 1)).astype(np.int64) - self.most
        for axis, size in enumerate(images.shape[1:-1], start=1):
            sources = np.clip(np.arange(size) - shifts[:, axis - 1, None], 0, size - 1)  # [b, size]
            shape = (len(images), *(size if a == axis else 1 for a in range(1, images.ndim)))
            images = np.take_along_axis(images, sources.reshape(shape), axis)
        return images


def _content(flat: np.ndarray) -> np.ndarray:
    """64 bits for the content of each row of uint8[b, n]."""
    weights = hash64(2, np.arange(flat.shape[1]))
    with np.errstate(over="ignore"):
        return hash64(flat.shape[1], flat.astype(np.uint64) @ weights)


@dataclasses.dataclass(frozen=True)
class Binarize:
    """Values v of uint8 become 255 with probability v / 255, else 0, anew at each visit.

    The dynamically binarised data that likelihoods of MNIST are reported on (arXiv 1509.00519,
    section 5). In evaluation the bits are keyed by the picture's own content: the same picture
    becomes the same one in any split, order and batch, so the eval set is fixed.

    Attributes:
        of: the arrays that it acts on.
    """

    of: tuple[str, ...] = dataclasses.field(default=OF, repr=False)
    random: ClassVar[bool] = True
    protocol: ClassVar[str] = (
        "binarised: each uint8 value v drawn once as 1 with probability v / 255, "
        "keyed by the content of its example"
    )

    def __post_init__(self) -> None:
        check_of(self)

    def shape(self, shape: Shape) -> Shape:
        return shape

    def __call__(self, images: np.ndarray, draws: np.ndarray | None) -> np.ndarray:
        if images.dtype != np.uint8:
            raise DataError(f"Binarize takes uint8 values, got {images.dtype}")
        flat = images.reshape(len(images), -1)
        key = _content(flat) if draws is None else draws[:, 0]
        # Each hash gives two draws of 32 bits; r < 2^32 v / 255 has the probability v / 255 to
        # within 2^-32, and 0 and 255 stay what they are.
        pairs = hash64(key[:, None], np.arange((flat.shape[1] + 1) // 2))
        uniform = pairs.astype("<u8").view("<u4")[:, : flat.shape[1]]
        bright = uniform < _THRESHOLDS[flat]
        return (bright * np.uint8(255)).reshape(images.shape)


@dataclasses.dataclass(frozen=True)
class Resize:
    """Resizes pictures; all methods but "nearest" are antialiased.

    Attributes:
        size: (height, width), or a number for the shorter side, the aspect ratio being kept.
        method: "nearest", "bilinear", "bicubic" or "lanczos".
        of: the arrays that it acts on.
    """

    size: int | tuple[int, int]
    method: str = "bicubic"
    of: tuple[str, ...] = dataclasses.field(default=OF, repr=False)
    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_size(self)
        if not isinstance(self.size, int) and len(self.size) != 2:
            raise UsageError(f"Resize needs a number or (height, width), got {got(self.size)}")
        check_of(self)
        if self.method not in _METHODS:
            hint = did_you_mean(self.method, _METHODS)
            raise UsageError(f"Resize has no method {self.method!r}: {hint}")

    def shape(self, shape: Shape) -> Shape:
        if len(shape) != 3:
            raise DataError(f"Resize takes pictures [H, W, C], got {len(shape)} axes")
        if not isinstance(self.size, int):
            return (*self.size, shape[-1])
        if None in shape[:2]:
            return (None, None, shape[-1])
        short = min(shape[:2])
        return (*(max(1, round(n * self.size / short)) for n in shape[:2]), shape[-1])

    def __call__(self, images: np.ndarray, draws: np.ndarray | None) -> np.ndarray:
        height, width, channels = self.shape(images.shape[1:])
        if self.method == "nearest":
            rows, columns = (
                (2 * np.arange(out) + 1) * have // (2 * out)
                for out, have in zip((height, width), images.shape[1:3], strict=True)
            )
            return np.ascontiguousarray(images[:, rows[:, None], columns])
        out = np.empty((len(images), height, width, channels), images.dtype)
        for i, image in enumerate(images):
            out[i] = _resize(image, (width, height), self.method)
        return out


def _resize(image: np.ndarray, size: tuple[int, int], method: str) -> np.ndarray:
    """Resizes [H, W, C] of uint8 or float32 to `size`, (width, height)."""
    from PIL import Image

    if image.dtype not in (np.uint8, np.float32):
        raise DataError(f"Resize({method=}) takes uint8 or float32 pictures, got {image.dtype}")
    resampling = Image.Resampling[method.upper()]
    if image.dtype == np.uint8 and image.shape[-1] == 3:
        return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, resampling))
    # Channel by channel: Pillow would take four for RGBA and weigh the colours by the fourth.
    planes = [Image.fromarray(np.ascontiguousarray(image[..., c])) for c in range(image.shape[-1])]
    return np.stack([np.asarray(plane.resize(size, resampling)) for plane in planes], axis=-1)
