"""`JointTask`: learn the tokens of several streams together, each given any of the others."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax.config.annotations import check_fields
from vqjax.ops.schedules import Schedule
from vqjax.priors.joint import ABSENT, StreamLoss
from vqjax.tasks.base import Task
from vqjax.tasks.streams import arrays_of
from vqjax.types import (
    ArraySpec,
    Batch,
    Bound,
    Context,
    TaskOutput,
    Tree,
    UsageError,
    check_offers,
    did_you_mean,
)

PRIOR = "prior"
PRIOR_NEEDS = ("streams", "objective", "ranks", "check_streams")
STREAM_NEEDS = ("inputs", "order", "ids", "present", "check", "bounds", "noise")


@dataclasses.dataclass(frozen=True)
class JointTask(Task):
    """Maximum likelihood of the blocks of a row, each given those before it, in an order that is
    drawn anew for every row.

    Player: "prior". Loss terms: "nll", in nats: the mean over a stream's tokens, then over the
    streams of a row that are targets, then over rows; and "z", the mean square of log sum exp of
    the logits, which keeps them from drifting (arXiv 2204.02311, section 5).

    Every block is a target given those before it, except noisy ones, which are conditions alone: so
    what follows them is a posterior. The last block of a row is never noisy.

    Attributes:
        streams: by name, `TokenStream` or `TextStream`; one or more, in any order.
        prior: the network, a `JointPrior`.
        blocks: the chances that a row has 1, 2, ... of its streams, any of them in any order; ():
            it has all that there are.
        orders: instead, weights of the orders that rows have, such as {"text image": 2.0, "image
            text": 1.0}; a row goes without the streams that it lacks, or has all of its own in any
            order where it would have none.
        noisy: the chance that a block which others follow is noisy, at a level drawn uniformly up
            to its stream's `noise`.
        loss_weights: of "nll" and "z".
    """

    streams: Mapping[str, Any]
    prior: nn.Module
    blocks: tuple[float, ...] = ()
    orders: Mapping[str, float] = dataclasses.field(default_factory=dict)
    noisy: float = 0.5
    loss_weights: Mapping[str, float | Schedule] = dataclasses.field(
        default_factory=lambda: {"nll": 1.0, "z": 1e-4}
    )

    players = (PRIOR,)
    terms = {"nll": PRIOR, "z": PRIOR}

    def __post_init__(self) -> None:
        check_fields(self)
        check_offers("prior", self.prior, PRIOR_NEEDS)
        for name, stream in self.streams.items():
            if not name.isidentifier():
                raise UsageError(f"task.streams: {name!r}: wanted letters, digits and _")
            check_offers(f"task.streams.{name}", stream, STREAM_NEEDS)
        if not self.streams:
            raise UsageError("task.streams: wanted at least one")
        chances = self.blocks
        if chances and (
            len(chances) != len(self.streams) or min(chances) < 0.0 or sum(chances) <= 0.0
        ):
            raise UsageError(
                f"task.blocks={chances}: wanted a chance for each of 1 to {len(self.streams)} "
                "blocks, or () for all"
            )
        if not 0.0 <= self.noisy <= 1.0:
            raise UsageError(f"task.noisy={self.noisy}: wanted a chance from 0 to 1")
        self._check_orders()

    def _check_orders(self) -> None:
        if self.orders and self.blocks:
            raise UsageError("task.orders and task.blocks: wanted one of them")
        for order, weight in self.orders.items():
            names = order.split()
            for name in names:
                if name not in self.streams:
                    hint = did_you_mean(name, self.streams)
                    raise UsageError(f"task.orders: {order!r}: {name!r}: {hint}")
            if not names or len(set(names)) < len(names) or not 0.0 < weight < math.inf:
                raise UsageError(
                    f"task.orders: {order!r}: {weight}: wanted streams, each once, and a weight "
                    "above 0"
                )

    @property
    def inputs(self) -> str:
        """The first stream's array."""
        return self.streams[self.names[0]].inputs

    @property
    def names(self) -> tuple[str, ...]:
        """Of the streams, n, sorted: records that differ in the order of a mapping are the same."""
        return tuple(sorted(self.streams))

    def frozen_path(self, name: str) -> str:
        """Where the arrays of a stream's tokenizer are among frozen ones."""
        return f"task.streams.{name}.tokenizer"

    def check(self, inputs: Mapping[str, ArraySpec]) -> None:
        """Refuses settings that cannot work on examples of these `ArraySpec`s, with UsageError."""
        for name, stream in self.streams.items():
            try:
                stream.check(arrays_of(inputs, name))
            except UsageError as error:
                raise UsageError(f"task.streams.{name}: {error}") from error
        shapes = {name: tuple(spec.shape) for name, spec in inputs.items()}
        self.network(shapes).check_streams()

    @property
    def bounds(self) -> dict[str, Bound]:
        """Which numbers a batch may hold, by the name of the array."""
        found = {}
        for name, stream in self.streams.items():
            for array, bound in stream.bounds.items():
                setting = bound.setting.replace("stream.", f"task.streams.{name}.")
                own = dataclasses.replace(bound, setting=setting)
                found |= {f"{name}.{array}": own, array: own}
        return found

    def network(self, shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
        """The prior over the streams of examples with arrays of these shapes."""
        orders = {n: self.streams[n].order(arrays_of(shapes, n)) for n in self.names}
        return self.prior.clone(streams=tuple(orders.items()))

    def network_of(self, batch: Batch) -> nn.Module:
        """The prior over the streams of a batch."""
        return self.network({name: tuple(array.shape[1:]) for name, array in batch.items()})

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Tree, Tree]:
        """Parameters and collections by player, for a batch of any size."""
        network, count = self.network_of(batch), len(next(iter(batch.values())))
        ids = {n: jnp.zeros((count, order.length), jnp.int32) for n, order in network.streams}
        params = network.init(rng, ids, network.ranks(self.names, count))["params"]
        return {PRIOR: params}, {PRIOR: {}}

    def present(self, batch: Batch) -> jax.Array:
        """Which streams the rows of a batch have, bool[B, n]."""
        columns = [self.streams[name].present(arrays_of(batch, name)) for name in self.names]
        return jnp.stack(columns, axis=1)

    def ids(
        self,
        network: nn.Module,
        frozen: Tree,
        batch: Batch,
        noise: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> dict[str, jax.Array]:
        """The tokens of a batch: {stream: int32[B, T]}; those of absent streams mean nothing.

        Args:
            noise: float[B, n], the level of each stream; None: there is none.
            key: of the noise.
        """
        found = {}
        for i, name in enumerate(self.names):
            stream, order = self.streams[name], network.order(name)
            own = arrays_of(batch, name)
            quiet = stream if noise is not None else dataclasses.replace(stream, noise=0.0)
            level = None if noise is None else noise[:, i]
            own_key = None if key is None else jax.random.fold_in(key, i)
            arrays = frozen.get(self.frozen_path(name))
            found[name] = quiet.ids(order, arrays, own, level, own_key)
        return found

    def draw_rows(self, key: jax.Array, present: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The ranks int32[B, n] of each row's blocks, of those that it has, and the noise level of
        each, float32[B, n].
        """
        order_key, count_key, noisy_key, level_key = jax.random.split(key, 4)
        shape = present.shape
        places = jax.random.uniform(order_key, shape)  # [B, n], of blocks in their row
        wanted = present
        if self.orders:
            chosen = jax.random.categorical(count_key, self._order_logits, shape=shape[:1])  # [B]
            own = jnp.asarray(self._order_places)[chosen]  # [B, n]
            named = present & (own >= 0)
            some = named.any(axis=1, keepdims=True)  # [B, 1]
            wanted, places = jnp.where(some, named, present), jnp.where(some, own, places)
        ranks = jnp.argsort(jnp.argsort(jnp.where(wanted, places, jnp.inf), axis=1), axis=1)
        count = wanted.sum(axis=1)  # [B]
        if self.blocks:
            chances = jnp.log(jnp.asarray(self.blocks, jnp.float32))
            most = 1 + jax.random.categorical(count_key, chances, shape=shape[:1])  # [B]
            count = jnp.minimum(count, most)
        ranks = jnp.where(ranks < count[:, None], ranks, ABSENT).astype(jnp.int32)  # [B, n]
        most = np.asarray([self.streams[name].noise for name in self.names], np.float32)
        noisy = jax.random.uniform(noisy_key, shape) < self.noisy
        noisy &= (ranks >= 0) & (ranks < count[:, None] - 1)  # the last block is a target
        level = jax.random.uniform(level_key, shape) * most[None]
        return ranks, jnp.where(noisy, level, 0.0)

    @property
    def _order_logits(self) -> np.ndarray:
        return np.log(np.array(list(self.orders.values()), np.float32))

    @property
    def _order_places(self) -> np.ndarray:
        """float32[orders, n]: the place of each stream; -1: it is not in that order."""
        rows = [order.split() for order in self.orders]
        places = [[r.index(n) if n in r else -1 for n in self.names] for r in rows]
        return np.array(places, np.float32)

    def objective(
        self,
        params: Tree,
        ids: Mapping[str, jax.Array],
        ranks: jax.Array,
        network: nn.Module,
        dropout: jax.Array | None = None,
    ) -> dict[str, StreamLoss]:
        """The prior's objective, see `JointPrior.objective`; `dropout`: its key in training."""
        rngs = {} if dropout is None else {"dropout": dropout}
        return network.apply({"params": params[PRIOR]}, ids, ranks, rngs=rngs, method="objective")

    def __call__(
        self, params: Tree, collections: Tree, frozen: Tree, batch: Batch, context: Context
    ) -> TaskOutput:
        """The losses of one (micro)batch; see `TaskOutput`."""
        rows_key, noise_key, dropout = jax.random.split(context.rng, 3)
        network = self.network_of(batch)
        ranks, noise = self.draw_rows(rows_key, self.present(batch))  # [B, n] each
        ids = self.ids(network, frozen, batch, noise, noise_key)
        dropout = dropout if context.train else None
        found = self.objective(params, ids, ranks, network, dropout)
        is_target = (ranks >= 0) & (noise == 0.0)  # [B, n]
        weights = is_target / jnp.maximum(is_target.sum(axis=1, keepdims=True), 1)  # [B, n]
        rows = jnp.maximum(is_target.any(axis=1).sum(), 1)
        losses = {}
        for term, field in (("nll", "nats"), ("z", "z")):
            if term in context.active:
                means = [_mean_of(getattr(found[name], field), found[name]) for name in self.names]
                losses[term] = jnp.sum(jnp.stack(means, axis=1) * weights) / rows
        metrics = {}
        for i, name in enumerate(self.names):
            total = jnp.sum(is_target[:, i] * found[name].nats.sum(axis=1))
            metrics[f"nats/{name}"] = total / jnp.maximum(is_target[:, i].sum(), 1)
        return TaskOutput(losses=losses, metrics=metrics)


def _mean_of(values: jax.Array, loss: StreamLoss) -> jax.Array:
    """The mean over an example's predicted tokens, of values [B, T] that are 0 elsewhere: [B]."""
    return values.sum(axis=1) / jnp.maximum(loss.counts.sum(axis=1), 1)
