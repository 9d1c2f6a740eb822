"""A prior and its tokenizer as programs that keep some tokens of examples and draw others anew."""

import contextlib
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from vqjax.ops.numerics import make_key
from vqjax.runs.examples import as_trained, in_parts
from vqjax.runs.large import LargePrograms
from vqjax.sampling import Guidance, TokenSampling
from vqjax.types import Level, Tree

BATCH = 64  # examples per call of a program
BATCH_VALUES = 64 * 256 * 256 * 3  # fewer examples when they hold more values than this
Tokens = dict[str, np.ndarray]  # {level name: [B, *grid]}


@dataclasses.dataclass(frozen=True)
class SamplingOptions:
    """How the tokens of B examples are drawn.

    Attributes:
        seed: example i is a pure function of (seed, i) and of what is its own.
        cond: what the prior's condition takes, [B, ...]; None: it has none.
        sampling: how one token is drawn.
        guidance: classifier-free.
    """

    seed: int
    cond: np.ndarray | None
    sampling: TokenSampling
    guidance: Guidance

    def key(self, number: int) -> jax.Array:
        """That of the `number`-th time that tokens are drawn."""
        return jax.random.fold_in(make_key(self.seed), number)


def windows_along(size: int, total: int, first: int = 0) -> int:
    """Along one axis: how many places `places_of` gives."""
    between = _between(first, size, total)
    return len(between) + (0 not in between) + (total > size)


def places_of(first: int, size: int, total: int) -> list[int]:
    """Along one axis: where windows of `size` begin that cover `total`, those nearest to `first`
    first.
    """
    places = {0, *_between(first, size, total), total - size}
    return sorted(places, key=lambda place: (abs(place - first), place))


def _between(first: int, size: int, total: int) -> range:
    step = max(1, size // 2)
    return range(first % step, total - size, step)


def corners_of(start: Sequence[int], grid: Sequence[int], whole: Sequence[int]) -> list[tuple]:
    """First cells of windows of `grid` that cover `whole`, those nearest to `start` first.

    Neighbours are half a window apart, or less at the edges.
    """
    axes = [places_of(*axis) for axis in zip(start, grid, whole, strict=True)]
    far = functools.partial(zip, start, strict=True)
    return sorted(itertools.product(*axes), key=lambda at: sum(abs(a - b) for a, b in far(at)))


class Redrawer:
    """Encodes, draws and decodes; numpy in, numpy out, each program compiled for one batch size.

    Args:
        task: of the prior.
        at_home: makes the context, mesh and all, in which programs run.
        variables: the prior's parameters by player, and what is frozen under it.
        levels: of the prior: what it sees at once.
        dtype: of examples, "uint8" or "float32".
        large: knows what fits into memory.
    """

    def __init__(
        self,
        task: Any,
        at_home: Callable[[], contextlib.AbstractContextManager],
        variables: tuple[Tree, Tree],
        levels: tuple[Level, ...],
        dtype: str,
        large: LargePrograms,
    ) -> None:
        self._large = large
        self._task, self._at_home, self._variables = task, at_home, variables
        self._levels, self._dtype = levels, dtype
        self._encode = jax.jit(lambda _, frozen, x: task.tokens(frozen, {task.inputs: x}))
        self._decode = jax.jit(lambda _, frozen, t: as_trained(task.decode(frozen, t), dtype))
        self._draw = jax.jit(self._draw_batch, static_argnames=("sampling", "guidance"))

    def encode(self, images: np.ndarray) -> Tokens:
        """[B, *S, C] -> tokens; any size that the tokenizer takes.

        Raises:
            UsageError: there is no memory for one example.
        """
        size = _part_size(images.shape[1:])
        encode = self._ready(self._encode, images.shape[1:], size, images)
        return self._run(encode, (images,), size=size)

    def decode(self, tokens: Tokens, shape: Sequence[int] = ()) -> np.ndarray:
        """Tokens -> [B, *S, C]; `shape` is (*S, C) where the grid is larger than the prior's."""
        return self._run(self.decoder(tokens, shape), (tokens,), size=_part_size(shape))

    def decoder(self, tokens: Tokens, shape: Sequence[int]) -> Any:
        """The program that `decode` runs, found before the tokens are drawn anew.

        Raises:
            UsageError: there is no memory for one example.
        """
        return self._ready(self._decode, shape, _part_size(shape), tokens)

    def draw(
        self, tokens: Tokens, redraw: Tokens, options: SamplingOptions, number: int = 0
    ) -> Tokens:
        """The tokens of the prior's grid, drawn anew where bool `redraw` says so.

        Each `number` draws others.
        """
        draw = functools.partial(self._draw, sampling=options.sampling, guidance=options.guidance)
        arrays = (_rows(tokens), tokens, redraw, options.cond)
        return self._run(draw, arrays, options.key(number))

    def slide(
        self,
        tokens: Tokens,
        redraw: Tokens,
        options: SamplingOptions,
        corners: Sequence[tuple[int, ...]],
    ) -> Tokens:
        """`draw` in one window after the other: what one has drawn stays in the next.

        Args:
            tokens: {level name: int32[B, *grid]}, all of one grid, at least the prior's.
            redraw: likewise bool.
            options: how to draw.
            corners: from `corners_of`.
        """
        tokens, redraw = ({k: a.copy() for k, a in tree.items()} for tree in (tokens, redraw))
        for number, at in self._windows(corners):
            here = {name: array[at] for name, array in redraw.items()}
            if not any(array.any() for array in here.values()):
                continue
            part = {name: array[at] for name, array in tokens.items()}
            for name, drawn in self.draw(part, here, options, number).items():
                tokens[name][at], redraw[name][at] = drawn, False
        return tokens

    def _windows(self, corners: Sequence[tuple[int, ...]]) -> Iterator[tuple[int, tuple]]:
        for number, corner in enumerate(corners):
            sizes = zip(corner, self._levels[0].grid, strict=True)
            yield number, (slice(None), *(slice(first, first + n) for first, n in sizes))

    def _ready(self, program: Any, shape: Sequence[int], size: int, arrays: Any) -> Any:
        """`program` for parts of `size` examples of `shape` and their tree of arrays."""
        part = jax.tree.map(lambda a: jax.ShapeDtypeStruct((size, *a.shape[1:]), a.dtype), arrays)
        with self._at_home():
            return self._large.fitting(shape, program, *self._variables, part)

    def _run(self, program: Any, arrays: tuple, *before: Any, size: int = BATCH) -> Any:
        """`program` of the variables, of `before`, and of trees of arrays [B, ...]."""
        leaves, structure = jax.tree.flatten(arrays)

        def part(*leaves: np.ndarray) -> Any:
            return program(*self._variables, *before, *jax.tree.unflatten(structure, leaves))

        with self._at_home():
            return in_parts(part, tuple(leaves), size)

    def _draw_batch(
        self,
        params: Tree,
        frozen: Tree,
        key: jax.Array,
        numbers: jax.Array,
        tokens: Tree,
        redraw: Tree,
        cond: jax.Array | None,
        *,
        sampling: TokenSampling,
        guidance: Guidance,
    ) -> Tree:
        order = self._task.network(self._levels).order
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(numbers)
        known = (order.flatten(tokens), ~order.arrange(redraw))
        return self._task.sample_tokens(
            params, keys, cond, self._levels, known=known, sampling=sampling, guidance=guidance
        )


def _part_size(shape: Sequence[int]) -> int:
    return max(1, min(BATCH, BATCH_VALUES // max(math.prod(shape), 1)))


def _rows(tokens: Tokens) -> np.ndarray:
    """int[B]."""
    return np.arange(len(next(iter(tokens.values()))), dtype=np.int32)
