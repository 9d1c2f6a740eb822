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

CALL_BATCH = 64  # examples per call of a program
CALL_VALUES = 64 * 256 * 256 * 3  # fewer examples when they hold more values than this
LevelArrays = dict[str, np.ndarray]  # {level name: [B, *grid]}


@dataclasses.dataclass(frozen=True)
class SamplingOptions:
    """How the tokens of B examples are drawn.

    Attributes:
        seed: example i is a pure function of (seed, i) and of its own inputs.
        cond: inputs of the prior's condition, [B, ...], or a dict of such; None: it has none.
        sampling: temperature, top-k and top-p of the tokens.
        guidance: classifier-free guidance.
    """

    seed: int
    cond: Tree | None
    sampling: TokenSampling
    guidance: Guidance

    def key(self, number: int) -> jax.Array:
        """The random key of the `number`-th draw of tokens."""
        return jax.random.fold_in(make_key(self.seed), number)


def count_windows(size: int, total: int, first: int = 0) -> int:
    """The number of `window_starts`."""
    inner = _inner_starts(first, size, total)
    return len(inner) + (0 not in inner) + (total > size)


def window_starts(first: int, size: int, total: int) -> list[int]:
    """Along one axis: first indices of windows of `size` that cover `total`, those nearest to
    `first` first.
    """
    starts = {0, *_inner_starts(first, size, total), total - size}
    return sorted(starts, key=lambda start: (abs(start - first), start))


def _inner_starts(first: int, size: int, total: int) -> range:
    step = max(1, size // 2)
    return range(first % step, total - size, step)


def window_corners(start: Sequence[int], window: Sequence[int], grid: Sequence[int]) -> list[tuple]:
    """First cells of windows that cover `grid`, those nearest to `start` first.

    Neighbours are half a window apart, or less at the edges.
    """
    axes = [window_starts(*axis) for axis in zip(start, window, grid, strict=True)]
    pairs = functools.partial(zip, start, strict=True)
    return sorted(itertools.product(*axes), key=lambda c: sum(abs(a - b) for a, b in pairs(c)))


class Redrawer:
    """Encodes, draws and decodes; numpy in, numpy out, each program compiled for one batch size.

    Args:
        task: of the prior.
        context: makes the context, mesh and all, in which programs run.
        variables: the prior's parameters by player, and its frozen tokenizer.
        levels: of the prior: one window.
        dtype: of examples, "uint8" or "float32".
        large: refuses what does not fit into memory.
    """

    def __init__(
        self,
        task: Any,
        context: Callable[[], contextlib.AbstractContextManager],
        variables: tuple[Tree, Tree],
        levels: tuple[Level, ...],
        dtype: str,
        large: LargePrograms,
    ) -> None:
        self._large = large
        self._task, self._context, self._variables = task, context, variables
        self._levels, self._dtype = levels, dtype
        self._encode = jax.jit(lambda _, frozen, x: task.tokens(frozen, {task.inputs: x}))
        self._decode = jax.jit(lambda _, frozen, t: as_trained(task.decode(frozen, t), dtype))
        self._draw = jax.jit(self._draw_batch, static_argnames=("sampling", "guidance"))

    def encode(self, images: np.ndarray) -> LevelArrays:
        """[B, *S, C] -> tokens; any size that the tokenizer takes.

        Raises:
            UsageError: there is no memory for one example.
        """
        size = _batch_size(images.shape[1:])
        encode = self._fitted(self._encode, images.shape[1:], size, images)
        return self._run(encode, (images,), size=size)

    def decode(self, tokens: LevelArrays, shape: Sequence[int] = ()) -> np.ndarray:
        """Tokens -> [B, *S, C]; `shape` is (*S, C) where the grid is larger than the prior's."""
        return self._run(self.decoder(tokens, shape), (tokens,), size=_batch_size(shape))

    def decoder(self, tokens: LevelArrays, shape: Sequence[int]) -> Any:
        """The program that `decode` runs; call it before drawing, to refuse early.

        Raises:
            UsageError: there is no memory for one example.
        """
        return self._fitted(self._decode, shape, _batch_size(shape), tokens)

    def draw(
        self, tokens: LevelArrays, redraw: LevelArrays, options: SamplingOptions, number: int = 0
    ) -> LevelArrays:
        """The tokens of the prior's grid, drawn anew where the mask `redraw` is True.

        Each `number` draws different ones.
        """
        draw = functools.partial(self._draw, sampling=options.sampling, guidance=options.guidance)
        arrays = (_example_ids(tokens), tokens, redraw, options.cond)
        return self._run(draw, arrays, options.key(number))

    def slide(
        self,
        tokens: LevelArrays,
        redraw: LevelArrays,
        options: SamplingOptions,
        corners: Sequence[tuple[int, ...]],
    ) -> LevelArrays:
        """`draw` in one window after the other: each keeps what the ones before have drawn.

        Args:
            tokens: {level name: int32[B, *grid]}, all of one grid, at least the prior's.
            redraw: likewise bool.
            options: how to draw.
            corners: from `window_corners`.
        """
        tokens, redraw = ({k: a.copy() for k, a in tree.items()} for tree in (tokens, redraw))
        for number, window in self._windows(corners):
            masks = {name: array[window] for name, array in redraw.items()}
            if not any(mask.any() for mask in masks.values()):
                continue
            part = {name: array[window] for name, array in tokens.items()}
            for name, drawn in self.draw(part, masks, options, number).items():
                tokens[name][window], redraw[name][window] = drawn, False
        return tokens

    def _windows(self, corners: Sequence[tuple[int, ...]]) -> Iterator[tuple[int, tuple]]:
        for number, corner in enumerate(corners):
            sizes = zip(corner, self._levels[0].grid, strict=True)
            yield number, (slice(None), *(slice(first, first + n) for first, n in sizes))

    def _fitted(self, program: Any, shape: Sequence[int], size: int, arrays: Any) -> Any:
        """`program` for parts of `size` examples of `shape` and their tree of arrays."""
        part = jax.tree.map(lambda a: jax.ShapeDtypeStruct((size, *a.shape[1:]), a.dtype), arrays)
        with self._context():
            return self._large.fitting(shape, program, *self._variables, part)

    def _run(self, program: Any, arrays: tuple, *leading: Any, size: int = CALL_BATCH) -> Any:
        """`program` of the variables, the `leading` arguments, and trees of arrays [B, ...]."""
        leaves, structure = jax.tree.flatten(arrays)

        def part(*leaves: np.ndarray) -> Any:
            return program(*self._variables, *leading, *jax.tree.unflatten(structure, leaves))

        with self._context():
            return in_parts(part, tuple(leaves), size)

    def _draw_batch(
        self,
        params: Tree,
        frozen: Tree,
        key: jax.Array,
        ids: jax.Array,
        tokens: Tree,
        redraw: Tree,
        cond: Tree | None,
        *,
        sampling: TokenSampling,
        guidance: Guidance,
    ) -> Tree:
        order = self._task.network(self._levels).order
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(ids)
        known = (order.flatten(tokens), ~order.arrange(redraw))
        how = {"known": known, "sampling": sampling, "guidance": guidance}
        return self._task.sample_tokens(params, keys, cond, self._levels, frozen, **how)


def _batch_size(shape: Sequence[int]) -> int:
    return max(1, min(CALL_BATCH, CALL_VALUES // max(math.prod(shape), 1)))


def _example_ids(tokens: LevelArrays) -> np.ndarray:
    """int[B]."""
    return np.arange(len(next(iter(tokens.values()))), dtype=np.int32)
