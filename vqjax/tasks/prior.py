"""`PriorTask`: learn which tokens a trained tokenizer makes, so that new ones can be drawn."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.config import FrozenRun
from vqjax.ops.schedules import Schedule, as_schedule
from vqjax.tasks.base import LENGTH, Part
from vqjax.tasks.frozen_tokens import Drawn, FrozenTokens
from vqjax.tasks.tokens import PRIOR, TokenTask
from vqjax.types import ArraySpec, Batch, Context, Level, Tree, UsageError

FROZEN = "task.tokenizer"  # where the tokenizer's arrays are in `frozen`


@dataclasses.dataclass(frozen=True)
class PriorTask(FrozenTokens, TokenTask):
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

    where, ends_where = "task", "prior.ends"

    def __post_init__(self) -> None:
        self.check_prior()
        self.check_own_fields()

    @property
    def conditions(self) -> dict[str, ArraySpec]:
        """What a batch holds beside inputs or tokens: {array: its spec}."""
        specs = super().conditions
        return specs | ({LENGTH: ArraySpec((), "int32")} if self.ends else {})

    @property
    def ends(self) -> bool:
        """Whether examples are clips that may end early."""
        return getattr(self.prior, "ends", False)

    def network(self, levels: tuple[Level, ...]) -> nn.Module:
        """The prior over these levels."""
        network = super().network(levels)
        return network.clone(shortest=self.shortest) if self.ends else network

    def check(self, inputs: Mapping[str, ArraySpec]) -> None:
        """See `TokenTask.check`."""
        quantizer = self.tokenizer_task.tokenizer.quantizer
        if self._reads_sums and not hasattr(quantizer, "sums"):
            raise UsageError(
                f"task.prior: {type(self.prior).__name__} reads the sums of a MultiScaleResidual's "
                f"scales: {self.tokenizer.path} has {type(quantizer).__name__}"
            )
        super().check(inputs)

    @property
    def _reads_sums(self) -> bool:
        return getattr(self.prior, "reads_sums", False)

    def blank_inputs(self, network: nn.Module, count: int) -> dict[str, Any]:
        """See `TokenTask`."""
        if not self._reads_sums:
            return {}
        features = self.tokenizer_task.tokenizer.quantizer.codebook_dim
        grids = [level.grid for level in network.levels[1:]]
        return {"sums": tuple(jnp.zeros((count, *grid, features)) for grid in grids)}

    def network_inputs(self, network: nn.Module, frozen: Tree, ids: jax.Array) -> dict[str, Any]:
        """See `TokenTask`."""
        if not self._reads_sums:
            return {}
        indices = network.order.unflatten(ids)
        ordered = tuple(indices[level.name] for level in network.levels)
        return {"sums": self._ask_quantizer(frozen, "sums", ordered)}

    def sampler_inputs(self, frozen: Tree) -> dict[str, Any]:
        """See `TokenTask`."""
        if not self._reads_sums:
            return {}
        grow = functools.partial(self._ask_quantizer, frozen, "grow")
        return {"grow": grow, "features": self.tokenizer_task.tokenizer.quantizer.codebook_dim}

    def _ask_quantizer(self, frozen: Tree, method: str, *args: Any) -> Any:
        variables = (frozen[FROZEN][name] for name in ("params", "collections"))
        return self.tokenizer_task.ask_quantizer(*variables, method, *args)

    def tokens(self, frozen: Tree, batch: Batch) -> dict[str, jax.Array]:
        """Those of the batch, or of its inputs: {level name: int32[B, *grid]}."""
        return self.tokens_of(frozen.get(FROZEN), batch)

    def ids(self, network: nn.Module, frozen: Tree, batch: Batch) -> jax.Array:
        """The tokens as one sequence, int32[B, T], where clips end cut to their frames."""
        ids = super().ids(network, frozen, batch)
        if not self.ends:
            return ids
        frames = self.tokenizer_task.frames_of(batch[LENGTH])  # [B]
        return network.order.cut(ids, jnp.maximum(frames, network.shortest))

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
        cond: Tree | None,
        levels: tuple[Level, ...],
        frozen: Tree,
        **options: Any,
    ) -> dict[str, jax.Array]:
        """The indices that `draw` draws: {level name: int32[B, *grid]}."""
        return self.draw(params, keys, cond, levels, frozen, **options).indices

    def decode_drawn(self, frozen: Tree, drawn: Drawn) -> tuple[jax.Array, jax.Array]:
        """See `FrozenTokens.decoded`."""
        return self.decoded(frozen[FROZEN], drawn)

    def decode(self, frozen: Tree, indices: Mapping[str, jax.Array]) -> jax.Array:
        """{level name: int32[B, *grid]} -> x_hat [B, *S, C] in [-1, 1]."""
        return self.decoded(frozen[FROZEN], Drawn(dict(indices)))[0]
