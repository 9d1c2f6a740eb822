"""PixelCNN: tokens one after the other, each from a neighbourhood of those before it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax.config.annotations import check_fields
from vqjax.nn.gated import GatedBlock
from vqjax.priors.ordered import OrderedPrior
from vqjax.types import Level, Tree, UsageError


class Drawing(NamedTuple):
    """What is known of a grid that is being drawn; tuples have an entry per block.

    Attributes:
        above: what enters the vertical stack, rows so far [B, reach + H, W, C].
        links: what leaves it for the horizontal one, of the row that is drawn [B, 1, W, 2 C].
        left: what enters the horizontal stack, of that row [B, 1, reach + W, C].
        row: vectors of its places so far [B, 1, W, C].
        here: sum of the vectors of the place's tokens so far [B, C].
        skip: what the blocks make of the place [B, C].
    """

    above: tuple[jax.Array, ...]
    links: tuple[jax.Array, ...]
    left: tuple[jax.Array, ...]
    row: jax.Array
    here: jax.Array
    skip: jax.Array


class PixelCNN(OrderedPrior):
    """p(tokens | condition) as a product over places, row by row (arXiv 1606.05328, eq. 1).

    The gated network, whose vertical stack sees the rows above a place and whose horizontal one
    the places before it in its row. Its first block takes the grid shifted by a row and by a place
    (the paper's mask A). The reach of a network is the sum of `kernel // 2` over its blocks: a
    place sees so many columns to both sides of its own in so many rows and one above it, and so
    many places and one before it. What is given is a bias of every gate; of a condition of several
    vectors the mean of those that count.

    Levels of one grid (residual, product) of one or two axes; a level sees the lower ones of its
    own place and all of the places before. Drawing evaluates every row and place once: the work
    for all tokens is that of one forward pass.

    Attributes:
        width: channels.
        layers: blocks.
        condition: see `vqjax.priors.conditions`; None: nothing is given.
        first_kernel: of the first block; odd.
        kernel: of the other blocks; odd.
        dropout: of what leaves a gate.
        levels: of the tokenizer; filled in by the task.
        dtype: to compute in; None: the experiment's `compute_dtype`. Logits are float32 at least.
    """

    width: int
    layers: int
    condition: nn.Module | None = None
    first_kernel: int = 7
    kernel: int = 3
    dropout: float = 0.1
    levels: tuple[Level, ...] = ()
    dtype: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.width < 1 or self.layers < 1 or not 0.0 <= self.dropout < 1.0:
            raise UsageError(
                f"prior: width={self.width}, layers={self.layers}, dropout={self.dropout}: wanted "
                "at least one channel and layer, and a chance below 1"
            )
        for name in ("first_kernel", "kernel"):
            if getattr(self, name) < 1 or getattr(self, name) % 2 == 0:
                raise UsageError(f"prior.{name}={getattr(self, name)}: wanted an odd number")
        super().__post_init__()

    def check_levels(self) -> None:
        grids = sorted({level.grid for level in self.levels})
        if len(grids) != 1 or len(grids[0]) not in (1, 2):
            raise UsageError(
                "prior: a PixelCNN is over levels of one grid of one or two axes, got "
                f"{', '.join(map(str, grids)) or 'none'}: GPT and MaskGIT take any"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """(H, W); a grid of one axis is one row."""
        self.check_levels()
        return (1, *self.levels[0].grid)[-2:]

    @property
    def kernels(self) -> tuple[int, ...]:
        """Of every block."""
        return (self.first_kernel, *(self.kernel,) * (self.layers - 1))

    def setup(self) -> None:
        size = self.order.vocabulary
        init, zeros = nn.initializers.normal(1.0), nn.initializers.zeros
        self.tokens = nn.Embed(size, self.width, embedding_init=init, dtype=self.dtype)
        self.blocks = [
            GatedBlock(self.width, kernel, self.dropout, self.dtype) for kernel in self.kernels
        ]
        self.mix = nn.Dense(self.width, dtype=self.dtype)
        self.lower = nn.Dense(self.width, use_bias=False, dtype=self.dtype)  # of several levels
        self.head = nn.Dense(size, kernel_init=zeros, dtype=self.dtype)

    def told(self, given: jax.Array | None) -> jax.Array | None:
        """What every gate is told: [B, width]."""
        if self.condition is None:
            return None
        vectors, seen = self.condition(given, self.width)
        return vectors.mean(1, where=None if seen is None else seen[..., None])

    def result(self, skip: jax.Array, lower: jax.Array) -> jax.Array:
        """Logits [..., V] from the sum of the blocks' and that of lower levels, [..., width]."""
        y = self.mix(nn.relu(skip))
        if len(self.levels) > 1:
            y = y + self.lower(lower)
        return self.head(nn.relu(y))

    def __call__(self, tokens: jax.Array, given: jax.Array | None = None) -> jax.Array:
        """Logits of every token, given those before it; with dropout where there is its stream.

        Args:
            tokens: ids int32[B, T].
            given: what `condition` takes, of B examples.

        Returns:
            [B, T, V].
        """
        height, width = self.grid
        batch, length = tokens.shape
        told = self.told(given)
        x = self.tokens(tokens).reshape(batch, height, width, -1, self.width)  # [B, H, W, Q, C]
        places = x.sum(3)
        v = jnp.pad(places, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]
        h = jnp.pad(places, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]
        total = jnp.zeros_like(h)
        for block in self.blocks:
            v, h, skip = block(v, h, told)
            total = total + skip
        # Not the sum less the own vector: its rounding would tell what the own token is.
        lower = jnp.cumsum(x[..., :-1, :], axis=3)
        lower = jnp.pad(lower, ((0, 0), (0, 0), (0, 0), (1, 0), (0, 0)))
        logits = self.result(total[..., None, :], lower).reshape(batch, length, -1)
        return self.possible(logits, np.arange(length))

    def draw_row(
        self, above: tuple[jax.Array, ...], v: jax.Array, row: jax.Array, told: jax.Array | None
    ) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
        """The vertical stack for `row`, from the row above it, v [B, 1, W, C]; see `Drawing`."""
        after, links = [], []
        for block, rows in zip(self.blocks, above, strict=True):
            rows = jax.lax.dynamic_update_slice_in_dim(rows, v, row + block.reach, 1)
            seen = jax.lax.dynamic_slice_in_dim(rows, row, block.reach + 1, 1)
            v, link = block.vertical(seen, told)
            after.append(rows)
            links.append(link)
        return tuple(after), tuple(links)

    def draw_place(
        self,
        left: tuple[jax.Array, ...],
        links: tuple[jax.Array, ...],
        h: jax.Array,
        column: jax.Array,
        told: jax.Array | None,
    ) -> tuple[tuple[jax.Array, ...], jax.Array]:
        """The horizontal stack at `column`, from the place before it, h [B, C]; see `Drawing`.

        Returns:
            `left`, and the sum of what the blocks add to the result [B, C].
        """
        first = column == 0
        h, total, after = jnp.where(first, 0.0, h)[:, None, None], 0.0, []
        for block, places, link in zip(self.blocks, left, links, strict=True):
            places = jnp.where(first, 0.0, places)
            places = jax.lax.dynamic_update_slice_in_dim(places, h, column + block.reach, 2)
            seen = jax.lax.dynamic_slice_in_dim(places, column, block.reach + 1, 2)
            h, skip = block.horizontal(seen, jax.lax.dynamic_slice_in_dim(link, column, 1, 2), told)
            total = total + skip[:, 0, 0]
            after.append(places)
        return tuple(after), total

    def _nothing_drawn(self, batch: int, dtype: str) -> Drawing:
        (height, width), size = self.grid, self.width

        def zeros(*shape: int) -> jax.Array:
            return jnp.zeros((batch, *shape), dtype)

        return Drawing(
            above=tuple(zeros(k // 2 + height, width, size) for k in self.kernels),
            links=tuple(zeros(1, width, 2 * size) for _ in self.kernels),
            left=tuple(zeros(1, k // 2 + width, size) for k in self.kernels),
            row=zeros(1, width, size),
            here=zeros(size),
            skip=zeros(size),
        )

    def decoder(
        self, params: Tree, given: jax.Array | None, batch: int
    ) -> tuple[Drawing, jax.Array, Callable]:
        """See `OrderedPrior.decoder`; the state is a `Drawing`."""
        width, depth = self.grid[1], len(self.levels)
        variables = {"params": params}
        told = self.apply(variables, given, method="told")

        def enter(state: Drawing, place: jax.Array) -> Drawing:
            """Leaves a place for the next, number `place` of the grid."""
            column = place % width
            row = jax.lax.dynamic_update_slice_in_dim(
                state.row, state.here[:, None, None], (column - 1) % width, 2
            )
            above, links = jax.lax.cond(
                column == 0,
                lambda: self.apply(
                    variables, state.above, row, place // width, told, method="draw_row"
                ),
                lambda: (state.above, state.links),
            )
            left, skip = self.apply(
                variables, state.left, links, state.here, column, told, method="draw_place"
            )
            return Drawing(above, links, left, row, jnp.zeros_like(state.here), skip)

        def logits_of(state: Drawing, number: jax.Array) -> jax.Array:
            logits = self.apply(variables, state.skip, state.here, method="result")
            return self.possible(logits[:, None], number[None])[:, 0]

        def step(state: Drawing, token: jax.Array, number: jax.Array):
            vector = self.apply(variables, token, method=lambda m, t: m.tokens(t))
            state, number = state._replace(here=state.here + vector), number + 1
            if depth == 1:
                state = enter(state, number)
            else:
                state = jax.lax.cond(
                    number % depth == 0, lambda s: enter(s, number // depth), lambda s: s, state
                )
            return state, logits_of(state, number)

        dtype = self.dtype or params["tokens"]["embedding"].dtype
        state = enter(self._nothing_drawn(batch, dtype), jnp.int32(0))
        return state, logits_of(state, jnp.int32(0)), step
