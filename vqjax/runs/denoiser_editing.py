"""Editing by a denoiser: parts of pictures drawn anew, variations, what is around, what is between.

run = vqjax.load("runs/mnist_dit")
images = run.inpaint(images, masks, classes=labels)
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from vqjax import arguments
from vqjax.runs.conditions import Others
from vqjax.runs.denoising import ALWAYS, Denoising, Plan
from vqjax.runs.editing import (
    UNGUIDED,
    cells_under,
    check_cells,
    checked_masks,
    checked_sides,
    corners_of,
)
from vqjax.runs.examples import arc, checked_examples
from vqjax.sampling import Guidance, Heun
from vqjax.sampling.solvers import Solver
from vqjax.types import UsageError


class DenoiserEditing(Denoising):
    """Base of `DiffusionRun`: its edits."""

    def inpaint(
        self,
        images: np.ndarray,
        masks: np.ndarray,
        seed: int = 0,
        *,
        classes: Sequence[int] | None = None,
        prompts: Sequence[str] | None = None,
        conditions: Others | None = None,
        solver: Solver | None = None,
        guidance: Guidance = UNGUIDED,
        guidance_interval: Sequence[float] = ALWAYS,
    ) -> np.ndarray:
        """Draws what is masked anew; the rest stays exactly as it is.

        In every step what stays is put in again, as noisy as it is then (arXiv 2201.09865, without
        resampling). Latents are drawn anew where any pixel of their cell is masked.

        Args:
            images: [B, *S, C] of the run's `dtype` and `shape`.
            masks: bool[B, *S], True where to draw anew.
            seed: as of `sample`, whose other arguments these have, too; classes, prompts and
                conditions are one per example (or fewer, used in turn), -1 or None: unconditional.

        Returns:
            [B, *S, C] of the run's `dtype`.

        Raises:
            UsageError: other shapes, dtypes or classes than these.
        """
        images = self._checked(images)
        masks = checked_masks(masks, images)
        cells = cells_under(masks, self.task.latent_shape(self.shape)[:-1])
        cond = self._cond(len(images), (classes, prompts, conditions), rest_in_turn=False)
        how = self._how(seed, solver, guidance, guidance_interval)
        drawn = self._drawn(Plan(len(images), how[0], cond, *how[1:], images=images, cells=cells))
        return np.where(masks[..., None], drawn, images)

    def variations(
        self,
        images: np.ndarray,
        seed: int = 0,
        *,
        strength: float = 0.5,
        classes: Sequence[int] | None = None,
        prompts: Sequence[str] | None = None,
        conditions: Others | None = None,
        solver: Solver | None = None,
        guidance: Guidance = UNGUIDED,
        guidance_interval: Sequence[float] = ALWAYS,
    ) -> np.ndarray:
        """Takes examples to the time `strength`, and from there back to data (arXiv 2108.01073).

        Args:
            images: [B, *S, C] of the run's `dtype` and `shape`.
            seed: see `inpaint`; so are the others.
            strength: above 0, to 1: all is drawn anew.

        Returns:
            [B, *S, C] of the run's `dtype`.

        Raises:
            UsageError: other shapes, dtypes or classes than these.
        """
        images = self._checked(images)
        strength = arguments.real("strength", strength, above=0, most=1)
        cond = self._cond(len(images), (classes, prompts, conditions), rest_in_turn=False)
        how = self._how(seed, solver, guidance, guidance_interval)
        return self._drawn(
            Plan(len(images), how[0], cond, *how[1:], images=images, strength=strength)
        )

    def outpaint(
        self,
        images: np.ndarray,
        sides: tuple[int, int, int, int],
        seed: int = 0,
        *,
        classes: Sequence[int] | None = None,
        prompts: Sequence[str] | None = None,
        conditions: Others | None = None,
        solver: Solver | None = None,
        guidance: Guidance = UNGUIDED,
        guidance_interval: Sequence[float] = ALWAYS,
    ) -> np.ndarray:
        """Adds to the four sides of pictures; the pictures themselves stay exactly as they are.

        Windows of the size of training slide outward over the large picture, half a window at a
        time; in each what is missing is drawn as by `inpaint`.

        Args:
            images: uint8 or float32 [B, H, W, C] of the run's `shape`.
            sides: pixels to add left, top, right and bottom: whole cells of a latent, and no more
                than `MAX_WINDOWS` windows cover.
            seed: see `inpaint`; so are the others.

        Returns:
            [B, top + H + bottom, left + W + right, C] of the run's `dtype`.

        Raises:
            UsageError: see `inpaint`; or sides that do not fit.
        """
        left, top, right, bottom = sides = checked_sides(sides)
        images, seed = self._checked(images), arguments.seed_of(seed)
        window = self.shape[:-1]
        if len(window) != 2:
            raise UsageError(f"outpaint: {self.path} draws no pictures")
        grid = self.task.latent_shape(self.shape)[:-1]
        cells = (window[0] // grid[0], window[1] // grid[1])
        check_cells(sides, cells)
        size = (top + window[0] + bottom, left + window[1] + right)
        large = (size[0] // cells[0], size[1] // cells[1])
        corners = corners_of((top // cells[0], left // cells[1]), grid, large, size)
        nbytes = len(images) * size[0] * size[1] * self.shape[-1] * images.itemsize
        arguments.check_room(f"{len(images)} pictures of {size[1]} x {size[0]} pixels", nbytes)
        result = np.zeros((len(images), *size, self.shape[-1]), images.dtype)
        missing = np.ones((len(images), *size), bool)
        inner = (slice(None), slice(top, top + window[0]), slice(left, left + window[1]))
        result[inner], missing[inner] = images, False
        how = {"classes": classes, "prompts": prompts, "conditions": conditions, "solver": solver}
        how |= {"guidance": guidance, "guidance_interval": guidance_interval}
        for number, corner in enumerate(corners):
            rows, columns = (
                slice(c * cell, c * cell + side)
                for c, cell, side in zip(corner, cells, window, strict=True)
            )
            at = (slice(None), rows, columns)
            if missing[at].any():
                own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
                result[at] = self.inpaint(result[at], missing[at], own, **how)
                missing[at] = False
        return result

    def interpolate(
        self,
        a: np.ndarray,
        b: np.ndarray,
        steps: int = 8,
        *,
        classes: Sequence[int] | None = None,
        prompts: Sequence[str] | None = None,
        conditions: Others | None = None,
        solver: Solver | None = None,
    ) -> np.ndarray:
        """Draws the arc between the noises from which the flow comes to `a` and to `b` (arXiv
        2010.02502, section 5.3).

        Args:
            a: [B, *S, C] of the run's `dtype` and `shape`.
            b: likewise.
            steps: points on each arc, at least 2: the first is about `a`, the last one about `b`.
            classes: one per pair (or fewer, used in turn); see `inpaint`; so are the others.

        Returns:
            [B, steps, *S, C] of the run's `dtype`.

        Raises:
            UsageError: other shapes or dtypes than these, or a path without velocities.
        """
        ends = [self._checked(x, name) for x, name in ((a, "a"), (b, "b"))]
        steps, count = arguments.whole("steps", steps, 2, arguments.MOST_COUNT), len(ends[0])
        if ends[0].shape != ends[1].shape:
            raise UsageError(
                f"a and b are {list(ends[0].shape)} and {list(ends[1].shape)}: wanted equal shapes"
            )
        arguments.check_room(f"steps={steps}", steps * ends[0].nbytes)
        Heun().check(self.task.path)
        solver = self._solver(solver)
        cond = self._cond(count, (classes, prompts, conditions), rest_in_turn=False)
        noises = [self._noise_of(images, cond) for images in ends]  # [B, *s, C] each
        shares = np.linspace(0.0, 1.0, steps)
        start = np.stack([arc(*noises, share) for share in shares], axis=1)  # [B, steps, *s, C]
        cond = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf), steps, axis=0), cond)
        start = start.reshape(-1, *start.shape[2:])
        drawn = self._drawn(Plan(len(start), 0, cond, solver, UNGUIDED, ALWAYS, start=start))
        return drawn.reshape(count, steps, *drawn.shape[1:])

    def _checked(self, images: Any, name: str = "images") -> np.ndarray:
        """Examples to edit."""
        self._check_process()
        if self.dtype == "int16":
            raise UsageError(f"{self.path}: edits are of pictures")
        return checked_examples(images, self.shape, self.dtype, name=name)
