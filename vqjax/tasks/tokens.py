"""`TokenTask`: what tasks share by which a prior learns tokens, wherever these come from."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.priors.conditions import inputs_of as condition_inputs
from vqjax.tasks.base import Batches, Task
from vqjax.tasks.conditions import Conditions
from vqjax.tasks.frozen_tokens import Drawn
from vqjax.types import (
    ArraySpec,
    Batch,
    Bound,
    Context,
    Level,
    TaskOutput,
    Tree,
    check_offers,
)

PRIOR = "prior"
PRIOR_NEEDS = ("levels", "condition", "objective", "sample")


class TokenTask(Task, abc.ABC):
    """Base. Player: "prior". Loss term: "nll", nats per token of the prior's `objective`.

    A subclass has the fields `prior` and `loss_weights`, the methods below that are abstract, and

        token_bounds: which numbers a batch may hold, {array of tokens: its `Bound`}.
        ends: whether examples are clips that may end early.
    """

    players = (PRIOR,)
    terms = {"nll": PRIOR}
    token_bounds: ClassVar[Mapping[str, Bound]]
    ends = False

    @abc.abstractmethod
    def check_arrays(self, inputs: Mapping[str, ArraySpec]) -> tuple[Level, ...]:
        """The levels of tokens of examples of these arrays.

        Raises:
            UsageError: they have none.
        """

    @abc.abstractmethod
    def levels_of(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Level, ...]:
        """Levels of tokens of examples with arrays of these shapes."""

    @abc.abstractmethod
    def tokens(self, frozen: Tree, batch: Batch) -> dict[str, jax.Array]:
        """Those of a batch: {level name: int32[B, *grid]}."""

    @abc.abstractmethod
    def decode_drawn(self, frozen: Tree, drawn: Drawn) -> tuple[jax.Array, jax.Array]:
        """Examples of drawn tokens, [B, ...], and how long each is along its first axis, int32[B];
        what comes after is 0.
        """

    def check_prior(self) -> None:
        """Refuses, with UsageError, a field `prior` that is none, or that has a condition of a kind
        that reads no array.
        """
        check_offers(PRIOR, self.prior, PRIOR_NEEDS)
        Conditions(self.prior.condition, PRIOR)

    @property
    def _conditions(self) -> Conditions:
        return Conditions(self.prior.condition, PRIOR)

    def check(self, inputs: Mapping[str, Any]) -> None:
        """Refuses settings that cannot work on examples of these `ArraySpec`s, with UsageError."""
        levels = self.check_arrays(inputs)
        self._conditions.check(inputs)
        self.network(levels).check_levels()

    @property
    def conditions(self) -> dict[str, ArraySpec]:
        """What a batch holds beside inputs or tokens: {array: its spec}."""
        return self._conditions.specs

    @property
    def bounds(self) -> dict[str, Bound]:
        """Which numbers a batch may hold, by the name of the array: conditions and tokens."""
        return {**self.token_bounds, **self._conditions.bounds}

    def _levels(self, batch: Batch) -> tuple[Level, ...]:
        return self.levels_of({name: tuple(array.shape[1:]) for name, array in batch.items()})

    def network(self, levels: tuple[Level, ...]) -> nn.Module:
        """The prior over these levels."""
        return self.prior.clone(levels=levels)

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Tree, Tree]:
        """Parameters and collections by player, for a batch of any size."""
        network = self.network(self._levels(batch))
        count = len(next(iter(batch.values())))
        tokens = jnp.zeros((count, network.order.length), jnp.int32)
        more = self.blank_inputs(network, count)
        params = network.init(rng, tokens, self.cond_of(batch), **more)["params"]
        return {PRIOR: params}, {PRIOR: {}}

    def blank_inputs(self, network: nn.Module, count: int) -> dict[str, Any]:
        """What `network_inputs` has, as zeros, of `count` examples."""
        del network, count
        return {}

    def network_inputs(self, network: nn.Module, frozen: Tree, ids: jax.Array) -> dict[str, Any]:
        """What the prior's objective reads beside ids int32[B, T] and conditions, by keyword."""
        del network, frozen, ids
        return {}

    def sampler_inputs(self, frozen: Tree) -> dict[str, Any]:
        """What its `sample` needs beside conditions, by keyword."""
        del frozen
        return {}

    def start(self, params: Tree, collections: Tree, frozen: Tree, batches: Batches, rng: Any):
        """Checks conditions without `bound` on the first batches, before step 0.

        Raises:
            UsageError: one does not fit.
        """
        self._conditions.look_at(batches)
        return params, collections

    def cond_of(self, batch: Batch) -> Any:
        """What the prior's condition takes of a batch; None: it has none."""
        return condition_inputs(self.prior.condition, batch)

    def ids(self, network: nn.Module, frozen: Tree, batch: Batch) -> jax.Array:
        """The tokens of a batch as one sequence, int32[B, T]."""
        return network.order.flatten(self.tokens(frozen, batch))

    def objective(
        self,
        params: Tree,
        frozen: Tree,
        batch: Batch,
        rngs: Mapping[str, jax.Array],
        example_ids: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """The prior's objective of the batch's tokens: nats [B, T] and their weights [B, T], which
        are 0 for what comes after the end of a clip.

        Args:
            rngs: {"mask": key} for what is masked, and {"dropout": key} in training.
            example_ids: int32[B], by which masks are drawn; None: 0 to B - 1.
        """
        network = self.network(self._levels(batch))
        ids = self.ids(network, frozen, batch)  # [B, T]
        variables = {"params": params[PRIOR]}
        more = self.network_inputs(network, frozen, ids)
        inputs = (ids, self.cond_of(batch), example_ids)
        return network.apply(variables, *inputs, **more, rngs=rngs, method="objective")

    def __call__(
        self, params: Tree, collections: Tree, frozen: Tree, batch: Batch, context: Context
    ) -> TaskOutput:
        """The loss of one (micro)batch; see `TaskOutput` and `TokenizerTask`."""
        mask, dropout = jax.random.split(context.rng)
        rngs = {"mask": mask} | ({"dropout": dropout} if context.train else {})
        nats, weights = self.objective(params, frozen, batch, rngs)  # [B, T], [B, T]
        nll = jnp.sum(nats * weights) / jnp.sum(weights)
        return TaskOutput(losses={"nll": nll} if "nll" in context.active else {})

    def draw(
        self,
        params: Tree,
        keys: jax.Array,
        cond: Tree | None,
        levels: tuple[Level, ...],
        frozen: Tree,
        **options: Any,
    ) -> Drawn:
        """Draws the tokens of an example per key.

        Args:
            params: by player.
            keys: key[B]; an example depends on its own key alone.
            cond: what the condition takes, of B examples; None: unconditional.
            levels: of tokens.
            frozen: arrays of frozen networks.
            options: `sampling`, `guidance`, `known`: see the prior's `sample`.
        """
        network = self.network(levels)
        options |= self.sampler_inputs(frozen)
        ids = network.sample(params[PRIOR], keys, cond, **options)  # [B, T]
        frames = network.order.frames_of(ids) if self.ends else None
        return Drawn(network.order.unflatten(ids), frames)
