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


class RowCache(NamedTuple):
    """The activations of the tokens so far that the next ones need; tuples have an entry per block.

    r is a block's `reach`.

    Attributes:
        above: inputs of the vertical stack, rows so far [B, r + H, W, C].
        links: its outputs to the horizontal one, of the current row [B, 1, W, 2 C].
        left: inputs of the horizontal stack, of that row [B, 1, r + W, C].
        row: vectors of its positions so far [B, 1, W, C].
        here: sum of the vectors of the current position's tokens so far [B, C].
        skip: sum of the blocks' skip connections at that position [B, C].
    """

    above: tuple[jax.Array, ...]
    links: tuple[jax.Array, ...]
    left: tuple[jax.Array, ...]
    row: jax.Array
    here: jax.Array
    skip: jax.Array


class PixelCNN(OrderedPrior):
    """p(tokens | condition) as a product over positions, row by row (arXiv 1606.05328, eq. 1).

    The gated network, whose vertical stack sees the rows above a position and whose horizontal one
    the positions before it in its row. Its first block takes the grid shifted by a row and by one
    (the paper's mask A). The reach of a network is the sum R of `kernel // 2` over its blocks: a
    position sees R columns to both sides of its own in the R + 1 rows above it, and the R + 1
    positions before it. The condition is a bias of every gate; of one of several vectors the mean
    of those that count.

    Levels of one grid (residual, product) of one or two axes; a level sees the lower ones of its
    own position and all of the positions before. Drawing evaluates every row and position once:
    the work for all tokens is that of one forward pass.

    Attributes:
        width: channels.
        layers: blocks.
        condition: see `vqjax.priors.conditions`; None: unconditional.
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

    def condition_vector(self, cond: Tree | None) -> jax.Array | None:
        """The condition as one vector, from which every gate gets a bias: [B, C]."""
        if self.condition is None:
            return None
        vectors, mask = self.condition(cond, self.width)  # [B, M, C], [B, M] or None
        return vectors.mean(1, where=None if mask is None else mask[..., None])  # [B, C]

    def result(self, skip: jax.Array, lower: jax.Array) -> jax.Array:
        """Logits [..., V] from the sums of the skip connections and of lower levels, [..., C]."""
        y = self.mix(nn.relu(skip))
        if len(self.levels) > 1:
            y = y + self.lower(lower)
        return self.head(nn.relu(y))  # [..., V]

    def __call__(self, tokens: jax.Array, cond: Tree | None = None) -> jax.Array:
        """Logits of every token from those before it; with dropout if there is its rng stream.

        Args:
            tokens: ids int32[B, T].
            cond: what `condition` takes, of B examples.

        Returns:
            [B, T, V].
        """
        height, width = self.grid
        batch, length = tokens.shape  # [B, T], T = H W Q
        cond = self.condition_vector(cond)  # [B, C]
        x = self.tokens(tokens).reshape(batch, height, width, -1, self.width)  # [B, H, W, Q, C]
        positions = x.sum(3)  # [B, H, W, C]
        v = jnp.pad(positions, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]  # [B, H, W, C]
        h = jnp.pad(positions, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]  # [B, H, W, C]
        total = jnp.zeros_like(h)
        for block in self.blocks:
            v, h, skip = block(v, h, cond)  # [B, H, W, C] each
            total = total + skip
        # Not the sum minus the own vector: its rounding would leak the own token.
        lower = jnp.cumsum(x[..., :-1, :], axis=3)  # [B, H, W, Q - 1, C]
        lower = jnp.pad(lower, ((0, 0), (0, 0), (0, 0), (1, 0), (0, 0)))  # [B, H, W, Q, C]
        logits = self.result(total[..., None, :], lower)  # [B, H, W, Q, V]
        logits = logits.reshape(batch, length, -1)  # [B, T, V]
        return self.mask_other_levels(logits, np.arange(length))

    def draw_row(
        self, above: tuple[jax.Array, ...], v: jax.Array, row: jax.Array, cond: jax.Array | None
    ) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
        """The vertical stack for `row`, from the row above it, v [B, 1, W, C]; see `RowCache`."""
        after, links = [], []
        for block, rows in zip(self.blocks, above, strict=True):
            r = block.reach
            rows = jax.lax.dynamic_update_slice_in_dim(rows, v, row + r, 1)
            visible = jax.lax.dynamic_slice_in_dim(rows, row, r + 1, 1)  # [B, r + 1, W, C]
            v, link = block.vertical(visible, cond)  # [B, 1, W, C], [B, 1, W, 2 C]
            after.append(rows)
            links.append(link)
        return tuple(after), tuple(links)

    def draw_position(
        self,
        left: tuple[jax.Array, ...],
        links: tuple[jax.Array, ...],
        h: jax.Array,
        column: jax.Array,
        cond: jax.Array | None,
    ) -> tuple[tuple[jax.Array, ...], jax.Array]:
        """The horizontal stack at `column`, from the position before it, h [B, C]; see `RowCache`.

        Returns:
            `left`, and the sum of what the blocks add to the result [B, C].
        """
        first = column == 0
        h, total, after = jnp.where(first, 0.0, h)[:, None, None], 0.0, []  # h [B, 1, 1, C]
        for block, past, link in zip(self.blocks, left, links, strict=True):
            past, r = jnp.where(first, 0.0, past), block.reach  # [B, 1, r + W, C]
            past = jax.lax.dynamic_update_slice_in_dim(past, h, column + r, 2)
            visible = jax.lax.dynamic_slice_in_dim(past, column, r + 1, 2)  # [B, 1, r + 1, C]
            link = jax.lax.dynamic_slice_in_dim(link, column, 1, 2)  # [B, 1, 1, 2 C]
            h, skip = block.horizontal(visible, link, cond)  # [B, 1, 1, C] each
            total = total + skip[:, 0, 0]  # [B, C]
            after.append(past)
        return tuple(after), total

    def _nothing_drawn(self, batch: int, dtype: str) -> RowCache:
        (height, width), size = self.grid, self.width

        def zeros(*shape: int) -> jax.Array:
            return jnp.zeros((batch, *shape), dtype)

        return RowCache(
            above=tuple(zeros(k // 2 + height, width, size) for k in self.kernels),
            links=tuple(zeros(1, width, 2 * size) for _ in self.kernels),
            left=tuple(zeros(1, k // 2 + width, size) for k in self.kernels),
            row=zeros(1, width, size),
            here=zeros(size),
            skip=zeros(size),
        )

    def decoder(
        self, params: Tree, cond: Tree | None, batch: int
    ) -> tuple[RowCache, jax.Array, Callable]:
        """See `OrderedPrior.decoder`; the state is a `RowCache`."""
        width, depth = self.grid[1], len(self.levels)
        variables = {"params": params}
        cond = self.apply(variables, cond, method="condition_vector")  # [B, C]

        def enter(state: RowCache, position: jax.Array) -> RowCache:
            """Leaves a position for the next, number `position` of the grid."""
            column = position % width
            here = state.here[:, None, None]  # [B, 1, 1, C]
            row = jax.lax.dynamic_update_slice_in_dim(state.row, here, (column - 1) % width, 2)
            above, links = jax.lax.cond(
                column == 0,
                lambda: self.apply(
                    variables, state.above, row, position // width, cond, method="draw_row"
                ),
                lambda: (state.above, state.links),
            )
            left, skip = self.apply(
                variables, state.left, links, state.here, column, cond, method="draw_position"
            )
            return RowCache(above, links, left, row, jnp.zeros_like(state.here), skip)

        def logits_of(state: RowCache, number: jax.Array) -> jax.Array:
            logits = self.apply(variables, state.skip, state.here, method="result")  # [B, V]
            return self.mask_other_levels(logits[:, None], number[None])[:, 0]  # [B, V]

        def step(state: RowCache, token: jax.Array, number: jax.Array):
            vector = self.apply(variables, token, method=lambda m, t: m.tokens(t))  # [B, C]
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
