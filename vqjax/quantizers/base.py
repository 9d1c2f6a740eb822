"""`Quantizer`: what only some bottlenecks have, and what it is where they have not."""

import math
from typing import Any

import jax
from flax import linen as nn

from vqjax.quantizers.estimators import Estimator, StraightThrough
from vqjax.types import Tree

# {name of a method until version 0.3: its name today}; a run may be pinned to a file that has it
EARLIER = {"begin": "init_codebook", "book": "codebook"}


class Quantizer(nn.Module):
    """Base of all bottlenecks.

    A subclass has `codebook_dim`, `codebook_size` (0 where nothing is discrete) and
    `__call__(z, *, train, step) -> Quantized`; a discrete one also `num_codebooks` and
    `lookup(indices)`. Where it differs from what is here:

        loss_weights: the published weight of every loss term.
        start: how `init_codebook` sets the codes before step 0; None: as they are drawn.
        watch: when codes count as alive; None: nobody looks.
        remedies: what the alarm proposes.
        has_prior: whether there are `draw(z, noise)` and `prior(key, grid)`.
        residual_scale: of a stage's residual, against the stage's input.
        decodes_first_levels: whether `lookup` takes the first few levels of indices, too.

    Of these `start`, `watch` and `num_codebooks` may be fields, with a default of their own;
    properties such as `input_dim` are overridden by properties.
    """

    num_codebooks = 0
    loss_weights = {}
    start = None
    watch = None
    remedies = ()
    has_prior = False
    residual_scale = 1.0
    decodes_first_levels = False

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Takes a subclass's methods under their earlier names for those of today."""
        for earlier, name in EARLIER.items():
            if callable(vars(cls).get(earlier)) and name not in vars(cls):
                setattr(cls, name, vars(cls)[earlier])
        super().__init_subclass__(**keywords)

    @property
    def estimator(self) -> Estimator:
        """How gradients get past it where it is a part of another."""
        return StraightThrough()

    @property
    def input_dim(self) -> int:
        """Channels of its input; most take as many as they return."""
        return self.codebook_dim

    def grids(self, grid: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """The grid of each level of indices, from that of the vectors."""
        return (grid,) * self.num_codebooks

    def vectors_for_start(self, shape: tuple[int, ...]) -> int:
        """How many vectors encodings of `shape` (B, *s) are to that of its codebooks which sees
        fewest.
        """
        return math.prod(shape)

    def update(
        self, params: Tree, codebook: Tree, statistics: Tree, rng: jax.Array, step: jax.Array
    ) -> tuple[Tree, Tree]:
        """What happens to it once per step after the optimizer. Called unbound."""
        del statistics, rng, step
        return params, codebook
