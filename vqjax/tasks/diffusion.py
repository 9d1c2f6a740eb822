"""`DiffusionTask`: learn what data is behind noise, so that new data can be made of noise."""

import dataclasses
import math
import types
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax import arguments
from vqjax.config import FrozenRun
from vqjax.config.annotations import check_fields
from vqjax.ops.diffusion import (
    PREDICTIONS,
    TRAIN_FLOOR,
    LogitNormalTimes,
    Prediction,
    StraightPath,
    mixed,
    understood,
    variational_bits,
    velocity_of,
)
from vqjax.ops.schedules import Schedule
from vqjax.priors.conditions import Tokens
from vqjax.priors.conditions import inputs_of as condition_inputs
from vqjax.sampling import Guidance, Heun, flow_log_prob, with_null
from vqjax.sampling.flow import Velocity
from vqjax.sampling.solvers import Moment, Predict, Sample, Solver, noise_of, solve
from vqjax.tasks.base import LENGTH, Batches, Task
from vqjax.tasks.conditions import Conditions
from vqjax.tasks.frozen_latents import STATISTICS, FrozenLatents
from vqjax.tasks.streams import TokenStream, arrays_of
from vqjax.types import ArraySpec, Batch, Bound, Context, TaskOutput, Tree, UsageError, check_offers

DENOISER, DENOISING, VARIATIONAL = "denoiser", "denoising", "variational"
SOURCE = "task.source.tokenizer"  # likewise, of the source
LATENTS = ("mean", "draw")
NEEDS = ("condition", "check_shape")
HALF_LEVELS = 127.5  # of uint8, on either side of 0 in [-1, 1]
PATH_NEEDS = ("alpha", "sigma", "slopes")
UNGUIDED, NO_RNGS = Guidance(), types.MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class DiffusionTask(FrozenLatents, Task):
    """Denoising of examples, or of the latents of a frozen tokenizer.

    Player: "denoiser". Loss term: "denoising", the mean square of what `compares` says; where the
    network learns its variance also "variational", the bound's term in bits (arXiv 2102.09672, eq.
    16 with weight 1), which wants a path of betas and times at its steps.

    Latents are those before the quantizer: of a variational autoencoder the means, or draws, else
    what is then quantized, so that the decoder gets codes as in its training (arXiv 2112.10752,
    section 3.1). Each channel is moved and scaled to mean 0 and deviation 1 over the training
    split, as measured before step 0. Sound and clips have latents along their whole window.

    Attributes:
        denoiser: the network; `vqjax.denoisers`.
        path: how data become noise; `vqjax.ops.diffusion`.
        predicts: what the network says: "x0", "noise" or "velocity".
        compares: of which of these the error counts.
        times: the distribution of t in training.
        solver: how samples are drawn, unless they ask for another one; `vqjax.sampling`.
        tokenizer: the run whose latents are learned; None: the examples themselves.
        latents: of a variational autoencoder, "mean" or "draw", in training; evaluation has means.
        loss_weights: of "denoising", and of "variational" where that is a term.
        array: the batch's array that is learned, without a tokenizer: uint8 (normalised to [-1, 1])
            or float in [-1, 1].
        source: what a condition of `Tokens` reads: tokens of a frozen tokenizer, made in the step,
            of the arrays that `Paired` names by `stream`, as "audio.audio"; None: it is no such.
        stream: see `source`.
    """

    denoiser: nn.Module
    path: Any = StraightPath()
    predicts: str = "velocity"
    compares: str = "velocity"
    times: Any = LogitNormalTimes()
    solver: Any = Heun()
    tokenizer: FrozenRun | None = None
    latents: str = "mean"
    loss_weights: Mapping[str, float | Schedule] = dataclasses.field(
        default_factory=lambda: {DENOISING: 1.0}
    )
    array: str = "image"
    source: TokenStream | None = None
    stream: str = "audio"

    players = (DENOISER,)
    where = "task"

    def __post_init__(self) -> None:
        check_fields(self)
        check_offers("denoiser", self.denoiser, NEEDS)
        check_offers("path", self.path, PATH_NEEDS)
        check_offers("times", self.times, ("draw", "at"))
        check_offers("solver", self.solver, ("advance", "moments"))
        for name, valid in (("predicts", PREDICTIONS), ("compares", PREDICTIONS)):
            arguments.one_of(f"task.{name}", getattr(self, name), valid)
        arguments.one_of("task.latents", self.latents, LATENTS)
        self.solver.check(self.path)
        if self.tokenizer is not None:
            self.check_tokenizer()
        Conditions(self.denoiser.condition, DENOISER)
        if (self.source is not None) != isinstance(self.denoiser.condition, Tokens):
            raise UsageError(
                "task.source: denoiser.condition=Tokens(...) and a source need each other"
            )
        if self._learns_variance:
            steps = getattr(self.path, "count", None)
            if steps is None or steps != getattr(self.times, "steps", None):
                raise UsageError(
                    "denoiser.variance='learned': wanted path=DDPMPath() and "
                    "times=UniformTimes(steps=1000), one step for each beta"
                )

    @property
    def _learns_variance(self) -> bool:
        return getattr(self.denoiser, "variance", "fixed") == "learned"

    @property
    def terms(self) -> dict[str, str]:
        """See `Task`."""
        names = (DENOISING, VARIATIONAL) if self._learns_variance else (DENOISING,)
        return dict.fromkeys(names, DENOISER)

    @property
    def _conditions(self) -> Conditions:
        return Conditions(self.denoiser.condition, DENOISER)

    @property
    def inputs(self) -> str:
        """The batch's array that is learned."""
        return self.array if self.tokenizer is None else self.tokenizer_task.inputs

    @property
    def conditions(self) -> dict[str, ArraySpec]:
        """What a batch holds beside inputs: {array: its spec}."""
        return {} if self.source is not None else self._conditions.specs

    @property
    def bounds(self) -> dict[str, Bound]:
        """Which numbers a batch may hold, by the name of the array."""
        return self._conditions.bounds

    @property
    def network(self) -> nn.Module:
        """The denoiser, its condition of as many codes as the source has."""
        condition = self.denoiser.condition
        if self.source is None or condition.codebook_size is not None:
            return self.denoiser
        size = self.source.tokenizer_task.tokenizer.quantizer.codebook_size
        return self.denoiser.clone(condition=condition.clone(codebook_size=size))

    def check(self, inputs: Mapping[str, ArraySpec]) -> None:
        """Refuses settings that cannot work on examples of these arrays, with UsageError."""
        if self.inputs not in inputs:
            raise UsageError(
                f"the denoiser needs {self.inputs!r}: the data has {', '.join(inputs)}"
            )
        shape = tuple(inputs[self.inputs].shape)
        if self.tokenizer is not None:
            self.check_channels(shape)
        self.denoiser.check_shape(self.latent_shape(shape))
        if self.source is not None:
            own = arrays_of(inputs, self.stream)
            self.source.check(own)
            levels = self.source.levels_of({k: tuple(spec.shape) for k, spec in own.items()})
            (positions,), sizes = levels[0].grid, {v.codebook_size for v in levels}
            if sizes != {self.network.condition.codebook_size}:
                raise UsageError(
                    f"denoiser.condition.codebook_size={self.denoiser.condition.codebook_size}: "
                    f"the source has {', '.join(map(str, sizes))}"
                )
            made = {Tokens.batch_key: ArraySpec((positions, len(levels)), "int32")}
            inputs = {**inputs, **made}
        self._conditions.check(inputs)

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Tree, Tree]:
        """Parameters and collections by player, for a batch of any size."""
        shape = self.latent_shape(tuple(batch[self.inputs].shape[1:]))
        count = len(batch[self.inputs])
        x, t = jnp.zeros((count, *shape), jnp.float32), jnp.zeros(count, jnp.float32)
        none = self.source is not None  # its tokens take frozen arrays, and shapes are enough here
        cond = self.denoiser.condition.null(count) if none else self.cond_of(batch, {})
        params = self.network.init(rng, x, t, cond)["params"]
        collections = {}
        if self.tokenizer is not None:
            channels = jnp.zeros(shape[-1:], jnp.float32)
            collections[STATISTICS] = {"mean": channels, "deviation": channels + 1}
        return {DENOISER: params}, {DENOISER: collections}

    def start(self, params: Tree, collections: Tree, frozen: Tree, batches: Batches, rng: Any):
        """Measures the latents of `MEASURED` examples or all there are; checks conditions.

        Raises:
            UsageError: a condition does not fit, or a latent is not finite.
        """
        self._conditions.look_at(batches)
        if self.tokenizer is None:
            return params, collections
        own = {**collections[DENOISER], STATISTICS: self.measured(frozen, batches, rng)}
        return params, {DENOISER: own}

    def cond_of(self, batch: Batch, frozen: Tree) -> Any:
        """What the denoiser's condition takes of a batch; None: it has none."""
        if self.source is not None:
            batch = {Tokens.batch_key: self.source_tokens(batch, frozen)}
        return condition_inputs(self.denoiser.condition, batch)

    def source_tokens(self, batch: Batch, frozen: Tree) -> jax.Array:
        """Those of the source's arrays in a batch, int32[B, T, Q], -1 after the end of a clip."""
        own = arrays_of(batch, self.stream)
        found = self.source.tokens_of(frozen[SOURCE], own)
        ids = jnp.stack([found[name] for name in self.source.level_names], axis=-1)  # [B, T, Q]
        if not self.source.ends:
            return ids
        frames = self.source.tokenizer_task.frames_of(own[LENGTH])  # [B]
        there = jnp.arange(ids.shape[1])[None] < jnp.maximum(frames, 1)[:, None]
        return jnp.where(there[..., None], ids, -1)

    def predict(
        self, params: Tree, x: jax.Array, t: jax.Array, cond: Tree | None, rngs: Mapping = NO_RNGS
    ) -> tuple[jax.Array, jax.Array | None]:
        """What the denoiser `predicts` of x_t [B, *s, C] at t [B], float32, and the spread of its
        variance, which is None where that is not learned.
        """
        out = self.network.apply({"params": params[DENOISER]}, x, t, cond, rngs=dict(rngs))
        if not self._learns_variance:
            return out, None
        out, spread = jnp.split(out, 2, axis=-1)
        return out, (spread + 1) / 2

    def errors(
        self,
        params: Tree,
        x0: jax.Array,
        noise: jax.Array,
        t: jax.Array,
        cond: Tree | None,
        rngs: Mapping = NO_RNGS,
    ) -> dict[str, jax.Array]:
        """Of each term what it is of an example, float32[B]: of "denoising" the mean square of the
        error of what `compares` says.

        Args:
            params: by player.
            x0: data [B, *s, C].
            noise: mixed into them, [B, *s, C].
            t: how much, [B].
            cond: what the condition takes.
            rngs: {"dropout": key} in training.
        """
        x_t = mixed(self.path, x0, noise, t)
        out, spread = self.predict(params, x_t, t, cond, rngs)
        found = understood(self.path, self.predicts, out, x_t, t, TRAIN_FLOOR)
        said = out if self.predicts == self.compares else getattr(found, self.compares)
        if self.compares == "velocity":
            target = velocity_of(self.path, x0, noise, t)
        else:
            target = x0 if self.compares == "x0" else noise
        errors = {DENOISING: jnp.mean((said - target) ** 2, axis=tuple(range(1, x0.ndim)))}
        if spread is not None:
            found = found._replace(spread=spread)
            errors[VARIATIONAL] = variational_bits(self.path, x0, x_t, t, found, self.path.count)
        return errors

    def __call__(
        self, params: Tree, collections: Tree, frozen: Tree, batch: Batch, context: Context
    ) -> TaskOutput:
        """The loss of one (micro)batch; see `TaskOutput` and `TokenizerTask`."""
        drawn, timed, noised, dropped = jax.random.split(context.rng, 4)
        x0 = self.data_of(collections, frozen, batch, drawn if context.train else None)
        t = self.times.draw(timed, len(x0))
        noise = jax.random.normal(noised, x0.shape, jnp.float32)
        rngs = {"dropout": dropped} if context.train else {}
        errors = self.errors(params, x0, noise, t, self.cond_of(batch, frozen), rngs)
        return TaskOutput({k: v.mean() for k, v in errors.items() if k in context.active})

    def first(self, keys: jax.Array, shape: tuple[int, ...]) -> Sample:
        """Where samples of shape (*S, C) begin: noise, by key[B]."""
        start = noise_of(keys, self.latent_shape(shape), 0)
        return Sample(start, jnp.zeros_like(start))

    def advance(
        self,
        params: Tree,
        sample: Sample,
        moment: Moment,
        keys: jax.Array,
        cond: Tree | None,
        *,
        solver: Solver,
        guidance: Guidance,
    ) -> Sample:
        """One step of samples.

        Args:
            params: by player.
            sample: where they are, from `first`.
            moment: the step, of `solver.moments`.
            keys: key[B].
            cond: what the condition takes, of B examples; None: unconditional.
            solver: how.
            guidance: of this step.
        """
        predict = self._predictor(params, len(keys), cond, guidance)
        return solver.advance(predict, self.path, sample, moment, keys)

    def _predictor(
        self, params: Tree, count: int, cond: Tree | None, guidance: Guidance
    ) -> Predict:
        """What a solver asks, of `count` examples."""
        cond, combine = with_null(self.denoiser.condition, cond, count, guidance, DENOISER)
        copies = 1 if guidance == UNGUIDED else 2

        def predict(x: jax.Array, t: jax.Array) -> Prediction:
            times = jnp.full(copies * count, t, jnp.float32)
            both = jnp.tile(x, (copies, *(1,) * (x.ndim - 1)))  # [B', *s, C]
            out, spread = self.predict(params, both, times, cond)
            out = combine(out, 1.0 - t)  # all predictions are linear in each other
            found = understood(self.path, self.predicts, out, x, times[:count])
            return found if spread is None else found._replace(spread=spread[:count])

        return predict

    def flow(self, params: Tree, count: int, cond: Tree | None) -> Velocity:
        """The velocity (x [B, *s, C], t) -> [B, *s, C] of `count` examples, of a smooth path."""
        predict = self._predictor(params, count, cond, UNGUIDED)
        return lambda x, t: predict(x, t).velocity

    def flow_nats(
        self,
        params: Tree,
        collections: Tree,
        frozen: Tree,
        batch: Batch,
        keys: jax.Array,
        *,
        steps: int,
        probes: int = 1,
    ) -> jax.Array:
        """-log of the density of a batch's examples under the flow, nats, float32[B]; see
        `flow_log_prob`. It is no -log p of tokens, and not to be compared with such.

        Of uint8 examples it is that of their levels with noise uniform in one level, which in the
        mean is at least -log p of the levels (arXiv 1511.01844, section 3.1); of latents that of
        these, as the tokenizer makes them; of others that of their numbers.

        Args:
            params, collections, frozen: by player, and of frozen networks.
            batch: with inputs and conditions.
            keys: key[B], of that noise and of the probes.
            steps, probes: see `flow_log_prob`.
        """
        x0 = self.data_of(collections, frozen, batch)
        size, split = math.prod(x0.shape[1:]), jax.vmap(jax.random.split)(keys)  # key[B, 2]
        levels = 0.0  # nats from the numbers of x0 to those that are asked for
        if self.tokenizer is not None:
            deviation = collections[DENOISER][STATISTICS]["deviation"]
            levels = size * jnp.log(deviation).mean()
        elif batch[self.inputs].dtype == jnp.uint8:
            draw = jax.vmap(lambda key: jax.random.uniform(key, x0.shape[1:], jnp.float32))
            x0 = x0 + (draw(split[:, 0]) - 0.5) / HALF_LEVELS
            levels = size * math.log(HALF_LEVELS)
        velocity = self.flow(params, len(x0), self.cond_of(batch, frozen))
        return levels - flow_log_prob(velocity, x0, split[:, 1], steps, probes)

    def draw(
        self,
        params: Tree,
        collections: Tree,
        frozen: Tree,
        keys: jax.Array,
        cond: Tree | None,
        shape: tuple[int, ...],
        solver: Solver | None = None,
        guidance: Guidance = UNGUIDED,
    ) -> jax.Array:
        """Examples float32 [B, *S, C] in [-1, 1], one per key, as one program; see `advance`."""
        predict = self._predictor(params, len(keys), cond, guidance)
        start = self.first(keys, shape).x
        x = solve(predict, self.path, solver or self.solver, start, keys)
        return self.decode(collections, frozen, x)
