"""`Quantizer`: what only some bottlenecks have, and what it is where they have not."""

import jax
from flax import linen as nn

from vqjax.quantizers.estimators import Estimator, StraightThrough
from vqjax.types import Tree


class Quantizer(nn.Module):
    """Base of all bottlenecks.

    A subclass has `codebook_dim`, `codebook_size` (0 where nothing is discrete) and
    `__call__(z, *, train, step) -> Quantized`; a discrete one also `num_codebooks` and
    `lookup(indices)`. Where it differs from what is here:

        loss_weights: the published weight of every loss term.
        start: how its codebook starts before step 0, by its method `begin`; None: as it is drawn.
        watch: when codes count as alive; None: nobody looks.
        remedies: what the alarm proposes.
        has_prior: whether there are `draw(z, noise)` and `prior(key, grid)`.
        residual_scale: of a stage's residual, against what the stage was given.

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

    @property
    def estimator(self) -> Estimator:
        """How gradients get past it where it is a part of another."""
        return StraightThrough()

    @property
    def input_dim(self) -> int:
        """Channels that it is given; most take what they give."""
        return self.codebook_dim

    def grids(self, grid: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """The grid of each level of indices, from that of the vectors."""
        return (grid,) * self.num_codebooks

    def update(
        self, params: Tree, codebook: Tree, statistics: Tree, rng: jax.Array, step: jax.Array
    ) -> tuple[Tree, Tree]:
        """What happens to it once per step after the optimizer. Called unbound."""
        del statistics, rng, step
        return params, codebook
