"""`DiffusionTask`: learn what data is behind noise, so that new data can be made of noise."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
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
from vqjax.ops.numerics import at_least_float32
from vqjax.ops.schedules import Schedule
from vqjax.priors.conditions import inputs_of as condition_inputs
from vqjax.sampling import Guidance, Heun, with_null
from vqjax.sampling.solvers import Moment, Sample, Solver, noise_of
from vqjax.tasks.base import Batches, Task, inputs_of, normalize
from vqjax.tasks.conditions import Conditions
from vqjax.tasks.frozen_tokens import FrozenTokenizer
from vqjax.types import ArraySpec, Batch, Bound, Context, TaskOutput, Tree, UsageError, check_offers

DENOISER, DENOISING, VARIATIONAL = "denoiser", "denoising", "variational"
FROZEN = "task.tokenizer"  # where the tokenizer's arrays are in `frozen`
STATISTICS = "latents"  # the collection of their mean and deviation
MEASURED = 2_000  # examples, at least, from which these come
LATENTS = ("mean", "draw")
NEEDS = ("condition", "check_shape")
PATH_NEEDS = ("alpha", "sigma", "slopes")
UNGUIDED, NO_RNGS = Guidance(), types.MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class DiffusionTask(FrozenTokenizer, Task):
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
        return self._conditions.specs

    @property
    def bounds(self) -> dict[str, Bound]:
        """Which numbers a batch may hold, by the name of the array."""
        return self._conditions.bounds

    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(*s, C) of what is denoised, of examples (*S, C).

        Raises:
            UsageError: the tokenizer does not take such examples.
        """
        if self.tokenizer is None:
            return shape
        tokenizer = self.tokenizer_task.tokenizer
        return (*tokenizer.encoder.grid(shape[:-1]), tokenizer.quantizer.codebook_dim)

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
        self._conditions.check(inputs)

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Tree, Tree]:
        """Parameters and collections by player, for a batch of any size."""
        shape = self.latent_shape(tuple(batch[self.inputs].shape[1:]))
        count = len(batch[self.inputs])
        x, t = jnp.zeros((count, *shape), jnp.float32), jnp.zeros(count, jnp.float32)
        params = self.denoiser.init(rng, x, t, self.cond_of(batch))["params"]
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
        draws = self.latents == "draw"

        @jax.jit
        def sums(frozen: Tree, batch: Batch, key: jax.Array) -> tuple[jax.Array, ...]:
            z = self.raw_latents(frozen, batch, key if draws else None)  # [B, *s, C]
            mask = batch.get("mask", jnp.ones(len(z), bool))
            z = jnp.where(mask.reshape(-1, *(1,) * (z.ndim - 1)), z, 0.0)
            axes = tuple(range(z.ndim - 1))
            return z.sum(axes), (z * z).sum(axes), mask.sum() * (z[0].size // z.shape[-1])

        total, squares, count, examples = 0.0, 0.0, 0, 0
        for number, batch in enumerate(batches):
            found = jax.device_get(sums(frozen, batch, jax.random.fold_in(rng, number)))
            total, squares, count = (
                a + np.asarray(b, np.float64)
                for a, b in zip((total, squares, count), found, strict=True)
            )
            examples += len(batch[self.inputs])
            if examples >= MEASURED:
                break
        mean = total / count
        variance = squares / count - mean**2
        if not np.isfinite(variance).all():
            raise UsageError(
                f"task.tokenizer: {self.tokenizer.path} has latents that are not finite"
            )
        # A channel that never changes stays as it is.
        deviation = np.sqrt(np.where(variance > 1e-12, variance, 1.0))
        measured = {"mean": jnp.float32(mean), "deviation": jnp.float32(deviation)}
        return params, {DENOISER: {**collections[DENOISER], STATISTICS: measured}}

    def cond_of(self, batch: Batch) -> Any:
        """What the denoiser's condition takes of a batch; None: it has none."""
        return condition_inputs(self.denoiser.condition, batch)

    def raw_latents(self, frozen: Tree, batch: Batch, key: jax.Array | None = None) -> jax.Array:
        """Of a batch, not moved and scaled: float32 [B, *s, C].

        Args:
            frozen: with the tokenizer's arrays.
            batch: with inputs.
            key: of the draws from a variational autoencoder; None: means.
        """
        task, arrays = self.tokenizer_task, frozen[FROZEN]
        z = task.raw_latents(arrays["params"], arrays["collections"], inputs_of(batch, self.inputs))
        quantizer = task.tokenizer.quantizer
        if not quantizer.has_prior:
            return at_least_float32(z)
        mean, _ = quantizer.split(z)
        if key is None:
            return mean
        return quantizer.draw(z, jax.random.normal(key, mean.shape)).z

    def data_of(
        self, collections: Tree, frozen: Tree, batch: Batch, key: jax.Array | None = None
    ) -> jax.Array:
        """What is denoised, float32 [B, *s, C]; see `raw_latents`."""
        if self.tokenizer is None:
            return at_least_float32(normalize(inputs_of(batch, self.inputs)))
        z = self.raw_latents(frozen, batch, key if self.latents == "draw" else None)
        mean, deviation = self._statistics(collections, z)
        return (z - mean) / deviation

    def decode(self, collections: Tree, frozen: Tree, x: jax.Array) -> jax.Array:
        """What `data_of` makes, backwards: float32 [B, *S, C] in [-1, 1]."""
        if self.tokenizer is None:
            return x
        mean, deviation = self._statistics(collections, x)
        task, arrays = self.tokenizer_task, frozen[FROZEN]
        return task.decode_raw(arrays["params"], arrays["collections"], x * deviation + mean)

    def _statistics(self, collections: Tree, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and deviation of latents, with the axes of z [B, *s, C]."""
        found = collections[DENOISER][STATISTICS]
        shape = (*(1,) * (z.ndim - 1), -1)
        return found["mean"].reshape(shape), found["deviation"].reshape(shape)

    def predict(
        self, params: Tree, x: jax.Array, t: jax.Array, cond: Tree | None, rngs: Mapping = NO_RNGS
    ) -> tuple[jax.Array, jax.Array | None]:
        """What the denoiser `predicts` of x_t [B, *s, C] at t [B], float32, and the spread of its
        variance, which is None where that is not learned.
        """
        out = self.denoiser.apply({"params": params[DENOISER]}, x, t, cond, rngs=dict(rngs))
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
        errors = self.errors(params, x0, noise, t, self.cond_of(batch), rngs)
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
        count = len(keys)
        cond, combine = with_null(self.denoiser.condition, cond, count, guidance, DENOISER)
        copies = 1 if guidance == UNGUIDED else 2

        def predict(x: jax.Array, t: jax.Array) -> Prediction:
            times = jnp.full(copies * count, t, jnp.float32)
            both = jnp.tile(x, (copies, *(1,) * (x.ndim - 1)))  # [B', *s, C]
            out, spread = self.predict(params, both, times, cond)
            out = combine(out, 1.0 - t)  # all predictions are linear in each other
            found = understood(self.path, self.predicts, out, x, times[:count])
            return found if spread is None else found._replace(spread=spread[:count])

        return solver.advance(predict, self.path, sample, moment, keys)

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
        solver = solver or self.solver
        solver.check(self.path)

        def step(sample: Sample, moment: Moment) -> tuple[Sample, None]:
            how = {"solver": solver, "guidance": guidance}
            return self.advance(params, sample, moment, keys, cond, **how), None

        moments = jax.tree.map(jnp.asarray, solver.moments())
        sample, _ = jax.lax.scan(step, self.first(keys, shape), moments)
        return self.decode(collections, frozen, sample.x)
