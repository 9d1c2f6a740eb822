"""`PriorTask`: learn which tokens a trained tokenizer makes, so that new ones can be drawn."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax.config import FrozenRun
from vqjax.config.annotations import check_fields
from vqjax.ops.numerics import make_key
from vqjax.ops.schedules import Schedule, as_schedule
from vqjax.priors.conditions import inputs_of as condition_inputs
from vqjax.priors.conditions import parts_of
from vqjax.tasks.base import LENGTH, Batches, Part, Task, inputs_of, last_repeated, within_length
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
FRAMES_NEEDS = ("frames_of", "samples_of")  # of a tokenizer's task, where clips end
CONDITION_NEEDS = ("batch_key", "spec", "check_spec")


class Drawn(NamedTuple):
    """What `PriorTask.draw` returns.

    Attributes:
        indices: {level name: int32[B, *grid]}; 0 after the end of a clip.
        frames: how many frames each clip has, int32[B]; None: all have as many as the grid.
    """

    indices: dict[str, jax.Array]
    frames: jax.Array | None = None


@dataclasses.dataclass(frozen=True)
class PriorTask(Task):
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

    def __post_init__(self) -> None:
        check_offers("prior", self.prior, PRIOR_NEEDS)
        for path, part in self._parts.items():
            check_offers(path, part, CONDITION_NEEDS)
        if not isinstance(self.tokenizer, FrozenRun):
            kind = type(self.tokenizer).__name__
            raise UsageError(f"task.tokenizer: wanted a FrozenRun, got {kind}")
        check_fields(self)
        if self.codebooks is not None and self.codebooks < 1:
            raise UsageError(f"task.codebooks={self.codebooks}: wanted at least 1, or None for all")

    @property
    def _parts(self) -> dict[str, Any]:
        """The conditions that read one array each, by their paths in the task."""
        condition, parts = self.prior.condition, parts_of(self.prior.condition)
        if parts and parts[0] is condition:
            return {"prior.condition": condition}
        return {f"prior.condition.parts.{i}": part for i, part in enumerate(parts)}

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
        for path, part in self._parts.items():
            if part.batch_key not in inputs:
                raise UsageError(
                    f"{path} reads {part.batch_key!r}: the data has {', '.join(inputs)}"
                )
            part.check_spec(inputs[part.batch_key])
        if not levels:
            raise UsageError(f"task.tokenizer: {self.tokenizer.path} has no tokens, only latents")
        if self.ends:
            self._check_ends(inputs)
        self.network(levels).check_levels()

    def _check_ends(self, inputs: Mapping[str, Any]) -> None:
        if LENGTH not in inputs:
            raise UsageError(
                f"prior.ends: nothing says where clips end, the data has no {LENGTH!r} (it has "
                f"{', '.join(inputs)})"
            )
        check_offers("prior.ends: task.tokenizer: its task", self.tokenizer_task, FRAMES_NEEDS)

    @property
    def conditions(self) -> dict[str, ArraySpec]:
        """What a batch holds beside inputs or tokens: {array: its spec}."""
        specs = {part.batch_key: part.spec for part in self._parts.values()}
        return specs | ({LENGTH: ArraySpec((), "int32")} if self.ends else {})

    def _check_channels(self, shape: tuple[int, ...]) -> None:
        channels = getattr(self.tokenizer_task.tokenizer.decoder, "channels", shape[-1])
        if shape[-1] != channels:
            raise UsageError(
                f"task.tokenizer: {self.tokenizer.path} was trained on {channels} channels, the "
                f"data's {self.inputs!r} has {shape[-1]}"
            )

    @property
    def ends(self) -> bool:
        """Whether examples are clips that may end early."""
        return getattr(self.prior, "ends", False)

    @property
    def level_names(self) -> tuple[str, ...]:
        """Those of the levels that are learned.

        Raises:
            UsageError: there are fewer than `codebooks`, or the quantizer needs all.
        """
        tokenizer = self.tokenizer_task.tokenizer
        names, count = tokenizer.level_names, self.codebooks
        if count is None or count == len(names):
            return names
        if count > len(names):
            raise UsageError(
                f"task.codebooks={count}: {self.tokenizer.path} has {len(names)} levels of tokens"
            )
        if not getattr(tokenizer.quantizer, "decodes_first_levels", False):
            kind = type(tokenizer.quantizer).__name__
            raise UsageError(
                f"task.codebooks={count}: {kind} decodes from all {len(names)} levels alone"
            )
        return names[:count]

    def token_layout(self, shape: tuple[int, ...]) -> tuple[Level, ...]:
        """Levels of tokens, those that are learned, of one example of `shape` (*S, C)."""
        names = self.level_names
        return tuple(v for v in self.tokenizer_task.token_layout(shape) if v.name in names)

    def levels_of(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Level, ...]:
        """Levels of examples with arrays of these shapes: inputs of the tokenizer, or its tokens.

        Raises:
            UsageError: they have neither.
        """
        names = self.level_names
        if all(name in shapes for name in names):
            size = self.tokenizer_task.tokenizer.quantizer.codebook_size
            return tuple(Level(name, tuple(shapes[name]), size) for name in names)
        if self.inputs not in shapes:
            raise UsageError(
                f"the prior needs {self.inputs!r} or {', '.join(names)}: the data has "
                f"{', '.join(shapes)}"
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
        if not self.ends:
            return self.prior.clone(levels=levels)
        return self.prior.clone(levels=levels, shortest=max(1, self.tokenizer_task.frames_of(1)))

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
        parts = self._parts.values()
        checked = [p for p in parts if hasattr(p, "check") and not hasattr(p, "bound")]
        for batch in itertools.islice(batches, LOOKED_AT) if checked else ():
            for part in checked:
                part.check(np.asarray(batch[part.batch_key]))
        return params, collections

    @property
    def bounds(self) -> dict[str, Bound]:
        """Which numbers a batch may hold, by the name of the array: conditions and tokens."""
        size = self.tokenizer_task.tokenizer.quantizer.codebook_size
        bound = Bound(0, size, f"the tokenizer's codebook_size={size}")
        bounds = dict.fromkeys(self.level_names, bound)
        for path, part in self._parts.items():
            if hasattr(part, "bound"):
                setting = part.bound.setting.replace("prior.condition", path)
                bounds[part.batch_key] = dataclasses.replace(part.bound, setting=setting)
        return bounds

    def cond_of(self, batch: Batch) -> Any:
        """What the prior's condition takes of a batch; None: it has none."""
        return condition_inputs(self.prior.condition, batch)

    def tokens(self, frozen: Tree, batch: Batch) -> dict[str, jax.Array]:
        """Those of the batch, or of its inputs: {level name: int32[B, *grid]}."""
        names = self.level_names
        if all(name in batch for name in names):
            return {name: batch[name] for name in names}
        arrays = frozen[FROZEN]
        x = inputs_of(batch, self.inputs)  # [B, *S, C]
        indices = self.tokenizer_task.encode(arrays["params"], arrays["collections"], x).indices
        return {name: indices[name] for name in names}

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
        """x_hat [B, *S, C] in [-1, 1] of what `draw` returned, zero after the end of each clip, and
        the lengths int32[B] along its first axis.
        """
        if drawn.frames is None:
            x_hat = self.decode(frozen, drawn.indices)
            return x_hat, jnp.full(len(x_hat), x_hat.shape[1], jnp.int32)
        # A decoder that is not causal hears what follows: the last frame, as its own run repeats.
        indices = {k: last_repeated(i, drawn.frames) for k, i in drawn.indices.items()}
        length = self.tokenizer_task.samples_of(drawn.frames).astype(jnp.int32)  # [B]
        return within_length({LENGTH: length}, self.decode(frozen, indices)), length

    def decode(self, frozen: Tree, indices: Mapping[str, jax.Array]) -> jax.Array:
        """{level name: int32[B, *grid]} -> x_hat [B, *S, C] in [-1, 1]."""
        arrays = frozen[FROZEN]
        return self.tokenizer_task.decode_indices(arrays["params"], arrays["collections"], indices)
