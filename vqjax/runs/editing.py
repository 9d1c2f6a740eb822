"""Editing pictures by their tokens: some are kept, a trained prior draws the others anew.

run = vqjax.load("runs/mnist_maskgit")
images = run.inpaint(images, masks, classes=labels)

What a prior can do is declared by its class (`edits`); `edits_table` prints just that.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from vqjax import arguments, priors
from vqjax.priors.base import EDITS
from vqjax.runs.conditions import Others, condition_arrays
from vqjax.runs.examples import checked_examples
from vqjax.runs.large import LargePrograms
from vqjax.runs.token_editor import Redrawer, SamplingOptions, count_windows, window_corners
from vqjax.sampling import Guidance, TokenSampling
from vqjax.types import Level, UsageError

PLAIN, UNGUIDED = TokenSampling(), Guidance()
SIDES = ("left", "top", "right", "bottom")
MAX_WINDOWS = 1_024  # of the prior over one picture: each is drawn after the other


def edits_of(prior: Any) -> str:
    """What one prior, or class of priors, can do: "MaskGIT: inpaint, outpaint, ..."."""
    kind = prior if isinstance(prior, type) else type(prior)
    declared = [name for name in EDITS if name in getattr(kind, "edits", ())]
    if "outpaint" in declared:
        declared.remove("outpaint below")
    return f"{kind.__name__}: {', '.join(declared) or 'none'}"


def edits_table() -> str:
    """`edits_of` every prior of vqjax, a line each."""
    classes = [getattr(priors, name) for name in priors.__all__]
    return "\n".join(edits_of(kind) for kind in classes if hasattr(kind, "edits"))


def cells_under(masks: np.ndarray, grid: Sequence[int]) -> np.ndarray:
    """Masks bool[B, *S] -> bool[B, *grid]: whether any position of a cell is masked.

    Where S is no multiple of the grid, a position on a border belongs to both cells.
    """
    for axis, (size, count) in enumerate(zip(masks.shape[1:], grid, strict=True), start=1):
        first, position = np.arange(count)[:, None] * size, np.arange(size)[None] * count
        shared = (position < first + size) & (position + count > first)  # [count, size]
        masks = np.moveaxis(np.tensordot(shared.astype(int), masks, axes=(1, axis)) > 0, 0, axis)
    return masks


def checked_masks(masks: Any, images: np.ndarray) -> np.ndarray:
    """Masks bool[B, *S] of images [B, *S, C].

    Raises:
        UsageError: another dtype or shape.
    """
    masks = arguments.array("masks", masks, f"bool {list(images.shape[:-1])}")
    if masks.dtype != bool or masks.shape != images.shape[:-1]:
        cast = "" if masks.dtype == bool else ", as masks > 0 or masks > 127 give it"
        raise UsageError(
            f"masks: {masks.dtype} {list(masks.shape)}, wanted bool {list(images.shape[:-1])}{cast}"
        )
    return masks


def doubled(image: np.ndarray) -> np.ndarray:
    """[H, W, C] -> [2 H, 2 W, C] of its dtype, bicubic."""
    height, width = image.shape[:2]
    planes = [Image.fromarray(plane) for plane in np.moveaxis(image.astype(np.float32), -1, 0)]
    cubic = Image.Resampling.BICUBIC
    large = np.stack([plane.resize((2 * width, 2 * height), cubic) for plane in planes], axis=-1)
    if image.dtype == np.uint8:
        return np.rint(np.clip(large, 0, 255)).astype(np.uint8)
    return np.clip(large, -1.0, 1.0)


class Editing:
    """What `PriorRun` can do to existing examples.

    Example i of a result is a pure function of (seed, i), of the i-th example, mask and condition,
    and of the other arguments: not of the batch. Repeat an example for alternatives.
    """

    def inpaint(
        self,
        images: np.ndarray,
        masks: np.ndarray,
        seed: int = 0,
        *,
        classes: Sequence[int] | None = None,
        prompts: Sequence[str] | None = None,
        conditions: Others | None = None,
        sampling: TokenSampling = PLAIN,
        guidance: Guidance = UNGUIDED,
    ) -> np.ndarray:
        """Draws what is masked anew; the rest stays exactly as it is.

        A token is drawn anew where any position of its cell is masked. The result has the new
        values at the masked positions only.

        Args:
            images: [B, *S, C] of the run's `dtype` and `shape`.
            masks: bool[B, *S], True where to draw anew.
            seed: from 0 to 2**32 - 1.
            classes: of a class-conditional prior: one per example (or fewer, used in turn);
                -1 or None: unconditional.
            prompts: likewise, of a text-conditional prior.
            conditions: likewise, of a prior under several: {array: classes, by number or name}.
            sampling: temperature, top-k and top-p of the tokens.
            guidance: classifier-free guidance.

        Returns:
            [B, *S, C] of the run's `dtype`.

        Raises:
            UsageError: the prior cannot, or other shapes, dtypes or classes than these.
        """
        self._check_can("inpaint")
        check_sampling(sampling, guidance)
        images = self._checked_images(images)
        masks = checked_masks(masks, images)
        redraw = {v.name: cells_under(masks, v.grid) for v in self.token_layout()}
        options = self._options(
            len(images), seed, (classes, prompts, conditions), sampling, guidance
        )
        result = self._redrawn(images, redraw, options)
        return np.where(masks[..., None], result, images)

    def variations(
        self,
        images: np.ndarray,
        seed: int = 0,
        *,
        strength: float = 0.5,
        classes: Sequence[int] | None = None,
        prompts: Sequence[str] | None = None,
        conditions: Others | None = None,
        sampling: TokenSampling = PLAIN,
        guidance: Guidance = UNGUIDED,
    ) -> np.ndarray:
        """Draws a share `strength`, 0 to 1, of the tokens anew, at random positions.

        Levels of one grid share the positions. The other arguments, result and errors: `inpaint`.
        """
        self._check_can("variations")
        check_sampling(sampling, guidance)
        strength = arguments.real("strength", strength, least=0, most=1)
        images, rngs = self._checked_images(images), _generators(seed, len(images))
        levels, masks = self.token_layout(), {}
        for grid in dict.fromkeys(level.grid for level in levels):
            masks[grid] = _random_mask(rngs, grid, strength)
        redraw = {level.name: masks[level.grid] for level in levels}
        options = self._options(
            len(images), seed, (classes, prompts, conditions), sampling, guidance
        )
        return self._redrawn(images, redraw, options)

    def outpaint(
        self,
        images: np.ndarray,
        sides: tuple[int, int, int, int],
        seed: int = 0,
        *,
        classes: Sequence[int] | None = None,
        prompts: Sequence[str] | None = None,
        conditions: Others | None = None,
        sampling: TokenSampling = PLAIN,
        guidance: Guidance = UNGUIDED,
    ) -> np.ndarray:
        """Adds to the four sides of pictures; the pictures themselves stay exactly as they are.

        Windows of the prior's grid slide outward over the tokens of the large picture, half a
        window at a time; each draws its missing tokens, conditioned on the others.

        Args:
            images: uint8 or float32 [B, H, W, C], as for `inpaint`.
            sides: pixels to add left, top, right and bottom: whole cells of a token, and no more
                than `MAX_WINDOWS` windows cover.

        Returns:
            [B, top + H + bottom, left + W + right, C]. The other arguments and errors: `inpaint`;
            also UsageError where there is no memory for one picture.
        """
        left, top, right, bottom = checked_sides(sides)
        self._check_can("outpaint" if left or top or right else "outpaint below")
        check_sampling(sampling, guidance)
        images, (level, *_) = self._checked_images(images), self._single_grid_levels()
        height, width = self.shape[0], self.shape[1]
        cells = (height // level.grid[0], width // level.grid[1])
        check_cells((left, top, right, bottom), cells)
        size = (top + height + bottom, left + width + right)
        start = (top // cells[0], left // cells[1])
        grid = self._grid_of(size)
        corners = corners_of(start, level.grid, grid, size)
        self._check_room(len(images), size)
        options = self._options(
            len(images), seed, (classes, prompts, conditions), sampling, guidance
        )
        inside = (slice(None), *(slice(s, s + n) for s, n in zip(start, level.grid, strict=True)))
        tokens, redraw = {}, {}
        for name, array in self._redrawer.encode(images).items():
            tokens[name] = np.zeros((len(images), *grid), np.int32)
            redraw[name] = np.ones((len(images), *grid), bool)
            tokens[name][inside], redraw[name][inside] = array, False
        self._redrawer.decoder(tokens, (*size, self.shape[2]))
        tokens = self._redrawer.slide(tokens, redraw, options, corners)
        result = self._redrawer.decode(tokens, (*size, self.shape[2]))
        result[:, top : top + height, left : left + width] = images
        return result

    def upscale(
        self,
        images: np.ndarray,
        seed: int = 0,
        *,
        strength: float = 0.25,
        classes: Sequence[int] | None = None,
        prompts: Sequence[str] | None = None,
        conditions: Others | None = None,
        sampling: TokenSampling = PLAIN,
        guidance: Guidance = UNGUIDED,
    ) -> np.ndarray:
        """Doubles pictures (bicubic), then draws a share of the tokens anew, at random positions.

        Details are invented, not recovered: the larger the share, the sharper the picture and the
        further from the true one. With `strength` 0 the tokenizer alone decides.

        Args:
            images: uint8 or float32 [B, H, W, C]; the tokenizer must take 2 H x 2 W, which must
                be at least the size of training. Windows of that size slide over it, half a
                window at a time. Things should then have the size that they had in training: best
                are pictures of half the size of training.
            strength: share of the tokens that is drawn anew, 0 to 1.

        Returns:
            [B, 2 H, 2 W, C]. The other arguments and errors: `inpaint`; also UsageError where
            there is no memory for one picture.
        """
        self._check_can("upscale")
        check_sampling(sampling, guidance)
        strength = arguments.real("strength", strength, least=0, most=1)
        images = self._checked_images(images, any_size=True)
        level, *_ = self._single_grid_levels()
        size = (2 * images.shape[1], 2 * images.shape[2])
        if size[0] < self.shape[0] or size[1] < self.shape[1]:
            raise UsageError(
                f"{size[1]} x {size[0]} pixels when doubled: the prior needs at least "
                f"{self.shape[1]} x {self.shape[0]}"
            )
        grid = self._grid_of(size)
        corners = corners_of((0, 0), level.grid, grid, size)
        self._check_room(len(images), size)
        options = self._options(
            len(images), seed, (classes, prompts, conditions), sampling, guidance
        )
        large = np.empty((len(images), *size, self.shape[2]), self.dtype)
        for i, image in enumerate(images):
            large[i] = doubled(image)
        tokens = self._redrawer.encode(large)
        self._redrawer.decoder(tokens, large.shape[1:])
        mask = _random_mask(_generators(seed, len(images)), grid, strength)
        redraw = {level.name: mask for level in self.token_layout()}
        tokens = self._redrawer.slide(tokens, redraw, options, corners)
        return self._redrawer.decode(tokens, large.shape[1:])

    @functools.cached_property
    def _redrawer(self) -> Redrawer:
        large = LargePrograms(self._mesh)
        levels = self.token_layout()
        return Redrawer(self.task, self._context, self._variables, levels, self.dtype, large)

    def _redrawn(self, images: np.ndarray, redraw: dict, options: SamplingOptions) -> np.ndarray:
        tokens = self._redrawer.draw(self._redrawer.encode(images), redraw, options)
        return self._redrawer.decode(tokens)

    def _options(
        self,
        count: int,
        seed: int,
        named: tuple[Any, ...],
        sampling: TokenSampling,
        guidance: Guidance,
    ) -> SamplingOptions:
        """`named`: classes, prompts and conditions, as the caller has them."""
        seed = arguments.seed_of(seed)
        condition = self.task.prior.condition
        unnamed = all(values is None for values in named)
        if unnamed and condition is not None and condition.dropout == 0.0:
            raise UsageError(
                "with prior.condition.dropout=0 the prior never learned to do without its condition"
            )
        data = self.experiment.data
        cond = condition_arrays(condition, data, count, *named, rest_in_turn=False)
        return SamplingOptions(seed, cond, sampling, guidance)

    def _check_can(self, edit: str) -> None:
        self._check_process()
        prior = self.task.prior
        if edit not in getattr(prior, "edits", ()):
            raise UsageError(f"{edit}: this prior cannot ({edits_of(prior)})")

    def _checked_images(self, images: np.ndarray, any_size: bool = False) -> np.ndarray:
        return checked_examples(images, self.shape, self.dtype, any_size=any_size)

    def _check_room(self, count: int, size: tuple[int, int]) -> None:
        """Refuses, with UsageError, so many results of `size`, (H, W), as memory cannot hold."""
        nbytes = count * math.prod(size) * self.shape[2] * np.dtype(self.dtype).itemsize
        arguments.check_room(f"{count} pictures of {size[1]} x {size[0]} pixels", nbytes)

    def _single_grid_levels(self) -> tuple[Level, ...]:
        levels = self.token_layout()
        if len(self.shape) != 3 or len({level.grid for level in levels}) > 1:
            raise UsageError(
                "windows slide over pictures whose tokens have one grid: those of this run are on "
                + ", ".join("x".join(map(str, level.grid)) for level in levels)
            )
        return levels

    def _grid_of(self, size: tuple[int, int]) -> tuple[int, ...]:
        return self.task.token_layout((*size, self.shape[2]))[0].grid


def corners_of(
    start: Sequence[int], window: Sequence[int], grid: Sequence[int], size: tuple[int, int]
) -> list[tuple]:
    """`window_corners`, over a picture of `size`, (H, W).

    Raises:
        UsageError: there are more than `MAX_WINDOWS`.
    """
    axes = zip(window, grid, start, strict=True)
    count = math.prod(count_windows(*axis) for axis in axes)
    if count > MAX_WINDOWS:
        raise UsageError(
            f"{size[1]} x {size[0]} pixels take {count:,} windows, each drawn after the other: "
            f"wanted at most {MAX_WINDOWS:,}, as a smaller picture has"
        )
    return window_corners(start, window, grid)


def check_sampling(sampling: TokenSampling, guidance: Guidance) -> None:
    """Refuses, with UsageError, what is no `TokenSampling` or no `Guidance`."""
    arguments.instance("sampling", sampling, TokenSampling, "TokenSampling(temperature=0.9)")
    arguments.instance("guidance", guidance, Guidance, "Guidance(2.0)")


def _generators(seed: int, count: int) -> list[np.random.Generator]:
    """One per example, each of (seed, i) alone."""
    seed = arguments.seed_of(seed)
    return [np.random.default_rng((seed, i)) for i in range(count)]


def _random_mask(
    rngs: Sequence[np.random.Generator], grid: tuple[int, ...], strength: float
) -> np.ndarray:
    """bool[B, *grid], True at the share `strength` of each example's positions."""
    mask = np.zeros((len(rngs), int(np.prod(grid))), bool)
    for row, rng in zip(mask, rngs, strict=True):
        row[rng.permutation(row.size)[: round(strength * row.size)]] = True
    return mask.reshape(len(rngs), *grid)


def checked_sides(sides: Sequence[int]) -> tuple[int, ...]:
    """Pixels to add left, top, right and bottom.

    Raises:
        UsageError: they are not four whole numbers.
    """
    example = "(0, 8, 0, 8) for left, top, right, bottom"
    sizes = arguments.items("sides", sides, example)
    if len(sizes) != len(SIDES):
        raise UsageError(f"sides={arguments.got(sides)}: wanted four numbers, such as {example}")
    pairs = zip(SIDES, sizes, strict=True)
    return tuple(arguments.whole(name, size, most=arguments.MOST_COUNT) for name, size in pairs)


def check_cells(sides: Sequence[int], cells: tuple[int, int]) -> None:
    """Refuses, with UsageError, sides that are not whole cells of (height, width) pixels."""
    for name, size, cell in zip(SIDES, sides, (cells[1], cells[0]) * 2, strict=True):
        if size < 0 or size % cell:
            below = max(size // cell * cell, 0)
            raise UsageError(
                f"{name}={size}: wanted whole cells of {cell} pixels: "
                f"the nearest are {below} and {below + cell}"
            )
    if not any(sides):
        raise UsageError("nothing to add: all four sides are 0")
