"""`PriorTask`: learn which tokens a trained tokenizer makes, so that new ones can be drawn."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax.config import FrozenRun
from vqjax.config.annotations import check_fields
from vqjax.ops.numerics import make_key
from vqjax.ops.schedules import Schedule, as_schedule
from vqjax.tasks.base import Batches, Part, Task, inputs_of
from vqjax.types import (
    ArraySpec,
    Batch,
    Bound,
    Context,
    Level,
    TaskOutput,
    Tree,
    UsageError,
    check_offers,
)

PRIOR = "prior"
FROZEN = "task.tokenizer"  # where the tokenizer's arrays are in `frozen`
LOOKED_AT = 8  # batches, for conditions that do not fit
PRIOR_NEEDS = ("levels", "condition", "objective", "sample")
CONDITION_NEEDS = ("batch_key", "spec", "check_spec")


@dataclasses.dataclass(frozen=True)
class PriorTask(Task):
    """Maximum likelihood of tokens, under a condition where the prior takes one.

    Player: "prior". Loss term: "nll", nats per token of the prior's `objective`.

    Attributes:
        prior: the network; `vqjax.priors`.
        tokenizer: the run whose tokens they are. It is applied inside the step, without noise.
        loss_weights: of "nll".
    """

    prior: nn.Module
    tokenizer: FrozenRun
    loss_weights: Mapping[str, float | Schedule] = dataclasses.field(
        default_factory=lambda: {"nll": 1.0}
    )

    players = (PRIOR,)
    terms = {"nll": PRIOR}

    def __post_init__(self) -> None:
        check_offers("prior", self.prior, PRIOR_NEEDS)
        if self.prior.condition is not None:
            check_offers("prior.condition", self.prior.condition, CONDITION_NEEDS)
        if not isinstance(self.tokenizer, FrozenRun):
            kind = type(self.tokenizer).__name__
            raise UsageError(f"task.tokenizer: wanted a FrozenRun, got {kind}")
        check_fields(self)

    @property
    def tokenizer_task(self) -> Any:
        """What turns examples into tokens and back."""
        experiment = self.tokenizer.experiment
        if experiment is None:
            raise UsageError(
                f"task.tokenizer: {self.tokenizer.path} has not been opened, and the experiment "
                "names no stand-in"
            )
        task = experiment.network_task()
        check_offers("task.tokenizer: its task", task, ("encode", "decode_indices", "token_layout"))
        return task

    @property
    def inputs(self) -> str:
        """The batch's array that is tokenized."""
        return self.tokenizer_task.inputs

    def check(self, inputs: Mapping[str, Any]) -> None:
        """Refuses settings that cannot work on examples of these `ArraySpec`s, with UsageError."""
        levels = self.levels_of({name: tuple(spec.shape) for name, spec in inputs.items()})
        if self.inputs in inputs:
            self._check_channels(tuple(inputs[self.inputs].shape))
        condition = self.prior.condition
        if condition is not None and condition.batch_key not in inputs:
            key = condition.batch_key
            raise UsageError(f"prior.condition reads {key!r}: the data has {', '.join(inputs)}")
        if condition is not None:
            condition.check_spec(inputs[condition.batch_key])
        if not levels:
            raise UsageError(f"task.tokenizer: {self.tokenizer.path} has no tokens, only latents")
        self.network(levels).check_levels()

    @property
    def conditions(self) -> dict[str, ArraySpec]:
        """What a batch holds beside inputs or tokens: {array: its spec}."""
        condition = self.prior.condition
        return {} if condition is None else {condition.batch_key: condition.spec}

    def _check_channels(self, shape: tuple[int, ...]) -> None:
        channels = getattr(self.tokenizer_task.tokenizer.decoder, "channels", shape[-1])
        if shape[-1] != channels:
            raise UsageError(
                f"task.tokenizer: {self.tokenizer.path} was trained on {channels} channels, the "
                f"data's {self.inputs!r} has {shape[-1]}"
            )

    def token_layout(self, shape: tuple[int, ...]) -> tuple[Level, ...]:
        """Levels of tokens of one example of `shape` (*S, C)."""
        return self.tokenizer_task.token_layout(shape)

    def levels_of(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Level, ...]:
        """Levels of examples with arrays of these shapes: inputs of the tokenizer, or its tokens.

        Raises:
            UsageError: they have neither.
        """
        tokenizer = self.tokenizer_task.tokenizer
        if all(name in shapes for name in tokenizer.level_names):
            size = tokenizer.quantizer.codebook_size
            return tuple(Level(name, tuple(shapes[name]), size) for name in tokenizer.level_names)
        if self.inputs not in shapes:
            names = ", ".join(tokenizer.level_names)
            raise UsageError(
                f"the prior needs {self.inputs!r} or {names}: the data has {', '.join(shapes)}"
            )
        return self.token_layout(shapes[self.inputs])

    def example_shape(self, levels: tuple[Level, ...]) -> tuple[int, ...]:
        """(*S, C) of an example with these levels of tokens."""
        tokenizer = self.tokenizer_task.tokenizer
        tokens = tuple(jnp.zeros((1, *level.grid), jnp.int32) for level in levels)
        shapes = jax.eval_shape(
            lambda: tokenizer.init(
                {name: make_key(0) for name in ("params", "quantizer")},
                tokens,
                method="decode_indices",
            )
        )
        made = jax.eval_shape(lambda v: tokenizer.apply(v, tokens, method="decode_indices"), shapes)
        return made.shape[1:]

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
        params = network.init(rng, tokens, self._cond(batch))["params"]
        return {PRIOR: params}, {PRIOR: {}}

    def start(self, params: Tree, collections: Tree, frozen: Tree, batches: Batches, rng: Any):
        """Checks a condition without `bound` on the first batches, before step 0.

        Raises:
            UsageError: it does not.
        """
        condition = self.prior.condition
        if hasattr(condition, "check") and not hasattr(condition, "bound"):
            for batch in itertools.islice(batches, LOOKED_AT):
                condition.check(np.asarray(self._cond(batch)))
        return params, collections

    @property
    def bounds(self) -> dict[str, Bound]:
        """Which numbers a batch may hold, by the name of the array: conditions and tokens."""
        tokenizer = self.tokenizer_task.tokenizer
        names, size = tokenizer.level_names, tokenizer.quantizer.codebook_size
        bounds = {name: Bound(0, size, f"the tokenizer's codebook_size={size}") for name in names}
        condition = self.prior.condition
        if hasattr(condition, "bound"):
            bounds[condition.batch_key] = condition.bound
        return bounds

    def _cond(self, batch: Batch) -> jax.Array | None:
        condition = self.prior.condition
        return None if condition is None else batch[condition.batch_key]

    def tokens(self, frozen: Tree, batch: Batch) -> dict[str, jax.Array]:
        """Those of the batch, or of its inputs: {level name: int32[B, *grid]}."""
        task = self.tokenizer_task
        if all(name in batch for name in task.tokenizer.level_names):
            return {name: batch[name] for name in task.tokenizer.level_names}
        arrays = frozen[FROZEN]
        x = inputs_of(batch, self.inputs)  # [B, *S, C]
        return task.encode(arrays["params"], arrays["collections"], x).indices

    def objective(
        self,
        params: Tree,
        frozen: Tree,
        batch: Batch,
        rngs: Mapping[str, jax.Array],
        example_ids: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """The prior's objective of the batch's tokens: nats [B, T] and their weights [B, T].

        Args:
            rngs: {"mask": key} for what is masked, and {"dropout": key} in training.
            example_ids: int32[B], by which masks are drawn; None: 0 to B - 1.
        """
        network = self.network(self._levels(batch))
        ids = network.order.flatten(self.tokens(frozen, batch))  # [B, T]
        variables = {"params": params[PRIOR]}
        cond = self._cond(batch)
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

    def sample_tokens(
        self,
        params: Tree,
        keys: jax.Array,
        cond: jax.Array | None,
        levels: tuple[Level, ...],
        **options: Any,
    ) -> dict[str, jax.Array]:
        """Draws the tokens of an example per key: {level name: int32[B, *grid]}.

        Args:
            params: by player.
            keys: key[B]; an example depends on its own key alone.
            cond: what the condition takes, of B examples; None: unconditional.
            levels: from `token_layout`.
            options: `sampling`, `guidance`, `known`: see the prior's `sample`.
        """
        network = self.network(levels)
        ids = network.sample(params[PRIOR], keys, cond, **options)  # [B, T]
        return network.order.unflatten(ids)

    def decode(self, frozen: Tree, indices: Mapping[str, jax.Array]) -> jax.Array:
        """{level name: int32[B, *grid]} -> x_hat [B, *S, C] in [-1, 1]."""
        arrays = frozen[FROZEN]
        return self.tokenizer_task.decode_indices(arrays["params"], arrays["collections"], indices)
