"""How different a reconstruction looks from its original, by a frozen network."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp

from vqjax.config import WeightFile
from vqjax.features import lpips, vgg
from vqjax.types import Tree, UsageError


@dataclasses.dataclass(frozen=True)
class LPIPS:
    """Mean over the batch of LPIPS, by VGG16 (arXiv 1801.03924, eq. 1).

    Attributes:
        backbone: VGG16 as torchvision keeps it.
        heads: the weights of its features, as the package lpips keeps them.
        dtype: of the backbone's layers; None: the experiment's `compute_dtype`. Differences and
            sums are computed in at least float32; with bfloat16 distances of 0.06 and 0.7 were
            off by 5e-5 and 1e-4 (random weights; tests/parity/lpips_test.py).
    """

    backbone: WeightFile
    heads: WeightFile
    dtype: str | None = None

    name: ClassVar[str] = "lpips"
    needs_logits: ClassVar[bool] = False
    sources: ClassVar[Mapping[str, str]] = {"backbone": vgg.SOURCE, "heads": lpips.SOURCE}

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuses examples (*S, C) that are no colour pictures of 16 pixels or more."""
        if len(shape) != 3 or shape[-1] != 3 or min(shape[:2]) < vgg.SMALLEST:
            raise UsageError(
                f"the loss {self.name!r} takes pictures of 3 channels and at least "
                f"{vgg.SMALLEST} x {vgg.SMALLEST} pixels, not {shape}"
            )

    def frozen_shapes(self) -> Tree:
        """Shapes of `read_frozen`; no file is read."""
        return lpips.shapes()

    def read_frozen(self) -> Tree:
        """The arrays that calls take, from the files.

        Raises:
            DataError: a file that is not what it must be.
        """
        return lpips.read(self.backbone.path, self.heads.path)

    def distance(self, frozen: Tree, x: jax.Array, x_hat: jax.Array) -> jax.Array:
        """Of each pair, float[B]; x and x_hat [B, H, W, 3] in [-1, 1]."""
        chex.assert_equal_shape((x, x_hat))
        return lpips.distance(frozen, x, x_hat, self.dtype)  # [B]

    def __call__(
        self, x: jax.Array, x_hat: jax.Array, logits: jax.Array, frozen: Tree
    ) -> jax.Array:
        return jnp.mean(self.distance(frozen, x, x_hat))  # []
