"""JointPrior: tokens of several streams, such as of an image, a sound and a text, in any order."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax.config.annotations import check_fields
from vqjax.nn.attention import Cache
from vqjax.nn.rotary import rotary_angles
from vqjax.nn.transformer import unstack_params
from vqjax.priors.base import TransformerSizes
from vqjax.priors.codebook_order import CodebookOrder
from vqjax.priors.stream_tokens import StreamTokens
from vqjax.types import Tree, UsageError, did_you_mean

ABSENT = -1  # the rank of a stream that a row does not have
Ids = Mapping[str, jax.Array]


class StreamLoss(NamedTuple):
    """Of one stream's tokens [B, T]: -log p in nats, 0 where `counts` is; whether a token is
    predicted; the square of log sum exp of its logits.
    """

    nats: jax.Array
    counts: jax.Array
    z: jax.Array


class Reading(NamedTuple):
    """What has been read: keys and values of every block so far, and which of them count.

    Attributes:
        caches: one per layer.
        mask: bool [B, S], False for positions that nobody may attend to.
        offset: how many positions are filled.
    """

    caches: tuple[Cache, ...]
    mask: jax.Array
    offset: int


class JointPrior(TransformerSizes, nn.Module):
    """p of the blocks of a row, one after the other, each given those before it.

    A block holds the tokens of one stream; inside, it is that of `CodebookGPT`: exact, up to the
    independence of a step's tokens by "delay". Rows may have their blocks in any order, and need
    not have all. Positions restart in every block, each along the axes of its own grid, so that
    the order of blocks is nothing but who attends to whom: positions of a block see those before
    them in it, and all of the blocks before it. What a row does not have, and what follows the end
    of a text or a sound, nobody sees.

    The streams share the transformer. Each has its own embedding, softmax and learned vector.
    Queries and keys are normalised, as otherwise the streams' norms drift apart (arXiv 2405.09818,
    section 2.3).

    Attributes:
        width: channels; `layers`, `heads`, `kv_heads`, `qk_norm`, `remat`: see `Transformer`.
        dropout: of inputs, and of each residual branch.
        streams: their names and orders; filled in by the task.
        dtype: to compute in; None: the experiment's `compute_dtype`. Logits are float32 at least.
    """

    width: int
    layers: int
    heads: int
    kv_heads: int | None = None
    qk_norm: bool = True
    dropout: float = 0.1
    remat: bool | str = False
    streams: tuple[tuple[str, CodebookOrder], ...] = ()
    dtype: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        self.check_sizes()
        super().__post_init__()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the streams, n."""
        return tuple(name for name, _ in self.streams)

    def order(self, name: str) -> CodebookOrder:
        """That of one stream's tokens."""
        return dict(self.streams)[name]

    def check_streams(self) -> None:
        """Refuses streams that it cannot be over, with UsageError."""
        for name, order in self.streams:
            try:
                order.check()
                self.angles(name)
            except UsageError as error:
                raise UsageError(f"stream {name!r}: {error}") from error

    def angles(self, name: str) -> np.ndarray:
        """float32 [S + 1, d / 2], of the positions of one stream's block."""
        positions = self.order(name).step_positions  # [S, axes]
        start = np.zeros((1, positions.shape[1]))
        return rotary_angles(np.concatenate([start, positions]), self.width // self.heads)

    def setup(self) -> None:
        # The order of blocks is in the mask, so nothing is causal by position.
        self.transformer = self.make_transformer(
            causal=False, dropout=self.dropout, remat=self.remat
        )
        self.parts = {
            name: StreamTokens(order, self.width, self.dtype) for name, order in self.streams
        }
        self.drop = nn.Dropout(self.dropout)

    def __call__(self, ids: Ids, ranks: jax.Array) -> dict[str, jax.Array]:
        """Logits of every token; with dropout if there is its rng stream.

        Args:
            ids: {stream: int32[B, T]}, of all streams; those of absent ones are not looked at.
            ranks: int32[B, n], the place of each stream's block in its row, 0 for the first one;
                `ABSENT` for one that the row does not have.

        Returns:
            {stream: [B, T, K], or [B, T, K + 1] where clips may end}: see
            `CodebookOrder.step_logits`.
        """
        blocks = [self.parts[name].block(ids[name]) for name in self.names]
        x = jnp.concatenate(blocks, axis=1)  # [B, P, C], P = sum of S + 1
        x = self.drop(x, deterministic=not self.has_rng("dropout"))
        angles = np.concatenate([self.angles(name) for name in self.names])  # [P, d / 2]
        h = self.transformer(x, jnp.asarray(angles), self.visible(ids, ranks))  # [B, P, C]
        logits, first = {}, 0
        for name, order in self.streams:
            own = h[:, first : first + order.steps]  # [B, S, C]
            steps = self.parts[name].logits(own, jnp.arange(order.steps))  # [B, S, Q, K]
            logits[name] = order.from_steps(steps)  # [B, T, K]
            first += order.steps + 1
        return logits

    def visible(self, ids: Ids, ranks: jax.Array) -> jax.Array:
        """Which positions see which others: bool [B, P, P], P those of all blocks."""
        sizes = [order.steps + 1 for _, order in self.streams]
        stream_at = np.repeat(np.arange(len(sizes)), sizes)  # [P]
        inner = np.concatenate([np.arange(size) for size in sizes])  # [P], in their blocks
        filled = jnp.stack([_filled(order, ids[name]) for name, order in self.streams], 1)  # [B, n]
        counts = jnp.where(ranks >= 0, filled, 0)[:, stream_at] > inner[None]  # [B, P]
        rank_at = ranks[:, stream_at]  # [B, P]
        before = rank_at[:, :, None] > rank_at[:, None, :]  # [B, P, P]
        same = (stream_at[:, None] == stream_at[None]) & (inner[:, None] >= inner[None])  # [P, P]
        return counts[:, None] & (before | same[None])

    def objective(self, ids: Ids, ranks: jax.Array) -> dict[str, StreamLoss]:
        """{stream: -log p of each of its tokens given the blocks before its own, and more}; see
        `__call__`. Tokens of absent streams mean nothing.
        """
        logits, losses = self(ids, ranks), {}
        for name, order in self.streams:
            nats, counts = order.nats_of(ids[name], logits[name])  # [B, T] each
            z = jnp.square(jax.nn.logsumexp(logits[name], axis=-1))  # [B, T]
            losses[name] = StreamLoss(nats, counts, jnp.where(counts, z, 0.0))
        return losses

    def ranks(self, blocks: Sequence[str], batch: int) -> jax.Array:
        """The ranks int32[B, n] of rows that have these blocks, in this order.

        Raises:
            UsageError: there is no such stream, or one is named twice.
        """
        for i, name in enumerate(blocks):
            if name not in self.names:
                raise UsageError(f"no stream {name!r}: {did_you_mean(name, self.names)}")
            if name in blocks[:i]:
                raise UsageError(f"stream {name!r} is named twice")
        row = [blocks.index(name) if name in blocks else ABSENT for name in self.names]
        return jnp.tile(jnp.asarray(row, jnp.int32), (batch, 1))

    def empty_reading(self, batch: int, blocks: Sequence[str]) -> Reading:
        """Nothing read yet, with room for these blocks. Unbound."""
        total = sum(self.order(name).steps + 1 for name in blocks)
        transformer = self.make_transformer(parent=None)
        caches = transformer.caches(batch, total, self.width, self.dtype or "float32")
        return Reading(caches, jnp.ones((batch, total), bool), 0)

    def read(
        self,
        params: Tree,
        reading: Reading,
        name: str,
        ids: jax.Array,
        attended: jax.Array | None = None,
    ) -> tuple[Reading, jax.Array]:
        """Reads a whole block. Unbound.

        Args:
            params: of this module.
            reading: of the blocks before it.
            name: of the stream.
            ids: int32[B, T].
            attended: bool[B], whether later blocks may attend to this one; None: all do.

        Returns:
            What has been read then, and the logits of the block's tokens, [B, T, K].
        """
        order, start = self.order(name), reading.offset
        x = self._part(params, name, "block", ids)  # [B, S + 1, C]
        h, reading = self._runner(params)(reading, x, self.angles(name), start)
        steps = jnp.arange(order.steps)
        logits = self._part(params, name, "logits", h[:, : order.steps], steps)  # [B, S, Q, K]
        count = _filled(order, ids)  # [B]
        count = count if attended is None else jnp.where(attended, count, 0)
        inside = jnp.arange(order.steps + 1)[None] < count[:, None]  # [B, S + 1]
        mask = jax.lax.dynamic_update_slice(reading.mask, inside, (0, start))
        return Reading(reading.caches, mask, start + order.steps + 1), order.from_steps(logits)

    def decoder(self, params: Tree, reading: Reading, name: str) -> tuple[Any, jax.Array, Any]:
        """One block, step by step. Unbound.

        Returns:
            The state before its first step, that step's logits [B, Q, K] and `step(state, codes
            int32[B, Q], number) -> (state, logits [B, Q, K])`, those of the step after `number`.
        """
        order, start = self.order(name), reading.offset
        angles, transformer = jnp.asarray(self.angles(name)), self._runner(params)

        def run(caches: tuple[Cache, ...], x: jax.Array, position: Any) -> tuple:
            """x [B, 1, C] at a position of the block -> the logits of the step after it."""
            own = jax.lax.dynamic_slice_in_dim(angles, position, 1)  # [1, d / 2]
            h, now = transformer(reading._replace(caches=caches), x, own, start + position)
            steps = jnp.minimum(position, order.steps - 1)[None]  # [1]
            return now.caches, self._part(params, name, "logits", h, steps)[:, 0]  # [B, Q, K]

        def step(caches: tuple[Cache, ...], codes: jax.Array, number: jax.Array) -> tuple:
            return run(caches, self._part(params, name, "step", codes, number), number + 1)

        x = self._part(params, name, "start", len(reading.mask))
        caches, logits = run(reading.caches, x, jnp.int32(0))
        return caches, logits, step

    def _runner(self, params: Tree) -> Callable[..., tuple[jax.Array, Reading]]:
        """The transformer on x [B, t, C] with `angles` from `offset` on: (reading, x, angles,
        offset) -> (h [B, t, C], reading). Its blocks are taken apart here, not at every step.
        """
        transformer = self.make_transformer(parent=None)
        blocks = unstack_params(params["transformer"], self.layers)
        norm = params["transformer"]["norm"]

        def run(reading: Reading, x: jax.Array, angles: Any, offset: Any) -> tuple:
            x, angles = x.astype(self.dtype or x.dtype), jnp.asarray(angles)
            h, caches = transformer.decode_step(
                blocks, norm, x, angles, reading.caches, offset, reading.mask
            )
            return h, reading._replace(caches=caches)

        return run

    def _part(self, params: Tree, name: str, method: str, *args: Any) -> jax.Array:
        """A method of one stream's `StreamTokens`."""
        part = StreamTokens(self.order(name), self.width, self.dtype, parent=None)
        return part.apply({"params": params[f"parts_{name}"]}, *args, method=method)


def _filled(order: CodebookOrder, ids: jax.Array) -> jax.Array:
    """How many positions of a block are of its tokens or before them: int32[B]."""
    if not order.ends:
        return jnp.full((len(ids),), order.steps + 1, jnp.int32)
    return 1 + order.steps_of(order.frames_of(ids))
