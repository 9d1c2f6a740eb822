"""`PriorTask`: learn which tokens a trained tokenizer makes, so that new ones can be drawn."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.config import FrozenRun
from vqjax.ops.schedules import Schedule, as_schedule
from vqjax.priors.conditions import inputs_of as condition_inputs
from vqjax.tasks.base import LENGTH, Batches, Part, Task
from vqjax.tasks.conditions import Conditions
from vqjax.tasks.frozen_tokens import Drawn, FrozenTokens
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
FROZEN = "task.tokenizer"  # where the tokenizer's arrays are in `frozen`
PRIOR_NEEDS = ("levels", "condition", "objective", "sample")


@dataclasses.dataclass(frozen=True)
class PriorTask(FrozenTokens, Task):
    """Maximum likelihood of tokens, under a condition where the prior takes one.

    Player: "prior". Loss term: "nll", nats per token of the prior's `objective`.

    Where the prior knows clips that end, they end after the frames that hold the batch's "length"
    of samples, as `frames_of(length)` of the tokenizer's task says, and `samples_of(frames)` back.

    Attributes:
        prior: the network; `vqjax.priors`.
        tokenizer: the run whose tokens they are. It is applied inside the step, without noise.
        loss_weights: of "nll".
        codebooks: how many of the tokenizer's levels are learned, the first ones; None: all. Fewer
            need a quantizer that decodes from its first levels, as `Residual` does.
    """

    prior: nn.Module
    tokenizer: FrozenRun
    loss_weights: Mapping[str, float | Schedule] = dataclasses.field(
        default_factory=lambda: {"nll": 1.0}
    )
    codebooks: int | None = None

    players = (PRIOR,)
    terms = {"nll": PRIOR}
    where, ends_where = "task", "prior.ends"

    def __post_init__(self) -> None:
        check_offers("prior", self.prior, PRIOR_NEEDS)
        Conditions(self.prior.condition, PRIOR)
        self.check_own_fields()

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
        specs = self._conditions.specs
        return specs | ({LENGTH: ArraySpec((), "int32")} if self.ends else {})

    @property
    def ends(self) -> bool:
        """Whether examples are clips that may end early."""
        return getattr(self.prior, "ends", False)

    def _levels(self, batch: Batch) -> tuple[Level, ...]:
        return self.levels_of({name: tuple(array.shape[1:]) for name, array in batch.items()})

    def network(self, levels: tuple[Level, ...]) -> nn.Module:
        """The prior over these levels."""
        if not self.ends:
            return self.prior.clone(levels=levels)
        return self.prior.clone(levels=levels, shortest=self.shortest)

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Tree, Tree]:
        """Parameters and collections by player, for a batch of any size."""
        network = self.network(self._levels(batch))
        count = len(next(iter(batch.values())))
        tokens = jnp.zeros((count, network.order.length), jnp.int32)
        params = network.init(rng, tokens, self.cond_of(batch))["params"]
        return {PRIOR: params}, {PRIOR: {}}

    def start(self, params: Tree, collections: Tree, frozen: Tree, batches: Batches, rng: Any):
        """Checks conditions without `bound` on the first batches, before step 0.

        Raises:
            UsageError: one does not fit.
        """
        self._conditions.look_at(batches)
        return params, collections

    @property
    def bounds(self) -> dict[str, Bound]:
        """Which numbers a batch may hold, by the name of the array: conditions and tokens."""
        return self.token_bounds | self._conditions.bounds

    def cond_of(self, batch: Batch) -> Any:
        """What the prior's condition takes of a batch; None: it has none."""
        return condition_inputs(self.prior.condition, batch)

    def tokens(self, frozen: Tree, batch: Batch) -> dict[str, jax.Array]:
        """Those of the batch, or of its inputs: {level name: int32[B, *grid]}."""
        return self.tokens_of(frozen.get(FROZEN), batch)

    def _ids(self, network: nn.Module, frozen: Tree, batch: Batch) -> jax.Array:
        """The tokens as one sequence, int32[B, T], where clips end cut to their frames."""
        ids = network.order.flatten(self.tokens(frozen, batch))
        if not self.ends:
            return ids
        frames = self.tokenizer_task.frames_of(batch[LENGTH])  # [B]
        return network.order.cut(ids, jnp.maximum(frames, network.shortest))

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
        ids = self._ids(network, frozen, batch)  # [B, T]
        variables = {"params": params[PRIOR]}
        cond = self.cond_of(batch)
        return network.apply(variables, ids, cond, example_ids, rngs=rngs, method="objective")

    def __call__(
        self, params: Tree, collections: Tree, frozen: Tree, batch: Batch, context: Context
    ) -> TaskOutput:
        """The loss of one (micro)batch; see `TaskOutput` and `TokenizerTask`."""
        mask, dropout = jax.random.split(context.rng)
        rngs = {"mask": mask} | ({"dropout": dropout} if context.train else {})
        nats, weights = self.objective(params, frozen, batch, rngs)  # [B, T], [B, T]
        nll = jnp.sum(nats * weights) / jnp.sum(weights)
        return TaskOutput(losses={"nll": nll} if "nll" in context.active else {})

    def parts(
        self, params: Tree, collections: Tree, frozen: Tree, batch: Batch, context: Context
    ) -> dict[str, Part]:
        """Tokenizing, and the gradient from tokens; nothing where the batch holds tokens. See
        `Task.parts`.
        """
        if self.inputs not in batch:
            return {}
        tokenize = jax.jit(self.tokens)
        rest = {name: array for name, array in batch.items() if name != self.inputs}
        tokens = {**rest, **tokenize(frozen, batch)}
        weight = as_schedule(self.weights["nll"])

        @jax.jit
        def gradient(
            prior: Tree, tokens: Batch, rng: jax.Array, step: jax.Array
        ) -> tuple[Any, Tree]:
            def loss(prior: Tree) -> jax.Array:
                now = dataclasses.replace(context, rng=rng, step=step)
                out = self({PRIOR: prior}, collections, frozen, tokens, now)
                return weight(step) * out.losses["nll"]

            return jax.value_and_grad(loss)(prior)

        return {
            "tokenizer": lambda: (0.0, tokenize(frozen, batch)),
            "gradient": lambda: gradient(params[PRIOR], tokens, context.rng, context.step),
        }

    def draw(
        self,
        params: Tree,
        keys: jax.Array,
        cond: Tree | None,
        levels: tuple[Level, ...],
        **options: Any,
    ) -> Drawn:
        """Draws the tokens of an example per key.

        Args:
            params: by player.
            keys: key[B]; an example depends on its own key alone.
            cond: what the condition takes, of B examples; None: unconditional.
            levels: from `token_layout`.
            options: `sampling`, `guidance`, `known`: see the prior's `sample`.
        """
        network = self.network(levels)
        ids = network.sample(params[PRIOR], keys, cond, **options)  # [B, T]
        frames = network.order.frames_of(ids) if self.ends else None
        return Drawn(network.order.unflatten(ids), frames)

    def sample_tokens(
        self,
        params: Tree,
        keys: jax.Array,
        cond: Tree | None,
        levels: tuple[Level, ...],
        **options: Any,
    ) -> dict[str, jax.Array]:
        """The indices that `draw` draws: {level name: int32[B, *grid]}."""
        return self.draw(params, keys, cond, levels, **options).indices

    def decode_drawn(self, frozen: Tree, drawn: Drawn) -> tuple[jax.Array, jax.Array]:
        """See `FrozenTokens.decoded`."""
        return self.decoded(frozen[FROZEN], drawn)

    def decode(self, frozen: Tree, indices: Mapping[str, jax.Array]) -> jax.Array:
        """{level name: int32[B, *grid]} -> x_hat [B, *S, C] in [-1, 1]."""
        return self.decoded(frozen[FROZEN], Drawn(dict(indices)))[0]
