"""`GANTask`: make examples of noise that a discriminator cannot tell from real ones."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.lax import stop_gradient

from vqjax import arguments
from vqjax.config.annotations import check_fields
from vqjax.discriminators.residual import QUANTIZATION
from vqjax.losses import Relativistic, gradient_penalty
from vqjax.ops.numerics import make_key
from vqjax.ops.schedules import Schedule
from vqjax.priors.conditions import inputs_of as condition_inputs
from vqjax.tasks import codebooks
from vqjax.tasks.adversary import DISCRIMINATOR, GENERATOR
from vqjax.tasks.base import Batches, Task, inputs_of
from vqjax.tasks.conditions import Conditions
from vqjax.types import (
    Alarm,
    ArraySpec,
    Batch,
    Bound,
    Context,
    TaskOutput,
    Tree,
    UsageError,
    check_offers,
)

R1, R2 = "r1", "r2"
PENALTIES = (R1, R2)
COLLAPSED, APART = 0.3, 20.0  # spread of samples over that of data; distance of mean logits
SHOWN = 64  # samples in the gallery


@dataclasses.dataclass(frozen=True)
class GANTask(Task):
    """A generator of examples out of noise, and a discriminator (arXiv 1406.2661).

    Players: "discriminator" and "generator", of whom the second one is averaged. Loss terms: those
    of both, "generator" and "discriminator"; and, where `loss_weights` names them, "r1" and "r2",
    `gradient_penalty` at real and at made examples, whose weight is gamma / 2; and the losses of
    the discriminator's quantizer, if it has one (arXiv 2004.02088), of real and made examples
    alike.

    Attributes:
        generator: the network; `vqjax.generators`.
        discriminator: (x [B, *S, C], cond) -> logits; `ResidualDiscriminator`.
        loss_weights: of the terms.
        adversarial: the losses of both players.
        augment: what the discriminator sees instead of examples, real and made alike, in the
            updates of both: `DiffAugment()`, or None.
        penalised: share of a batch at which penalties are taken, above 0.
        array: the batch's array that is learned: uint8 (normalised to [-1, 1]) or float in [-1, 1].
    """

    generator: nn.Module
    discriminator: nn.Module
    loss_weights: Mapping[str, float | Schedule] = dataclasses.field(
        default_factory=lambda: {GENERATOR: 1.0, DISCRIMINATOR: 1.0, R1: 0.5, R2: 0.5}
    )
    adversarial: Any = Relativistic()
    augment: Any = None
    penalised: float = 1.0
    array: str = "image"

    players = (DISCRIMINATOR, GENERATOR)
    averaged = (GENERATOR,)

    def __post_init__(self) -> None:
        check_fields(self)
        check_offers("generator", self.generator, ("latents", "check_shape", "condition"))
        check_offers("discriminator", self.discriminator, ("condition",))
        check_offers("adversarial", self.adversarial, (GENERATOR, DISCRIMINATOR))
        arguments.real("task.penalised", self.penalised, above=0, most=1)
        for player in (GENERATOR, DISCRIMINATOR):
            condition = getattr(self, player).condition
            Conditions(condition, player)
            if condition is not None and condition.dropout:
                raise UsageError(
                    f"{player}.condition.dropout={condition.dropout}: both players see every "
                    "condition: wanted 0.0"
                )
        if self.generator.condition != self.discriminator.condition:
            raise UsageError("discriminator.condition: wanted that of the generator")

    @property
    def terms(self) -> dict[str, str]:
        """See `Task`."""
        penalties = [name for name in PENALTIES if name in self.loss_weights]
        codes = () if self.codes is None else self.codes.loss_weights
        own = (DISCRIMINATOR, *penalties, *codes)
        return {GENERATOR: GENERATOR} | dict.fromkeys(own, DISCRIMINATOR)

    @property
    def codes(self) -> nn.Module | None:
        """The quantizer of the discriminator's features; None: it has none."""
        return getattr(self.discriminator, "quantizer", None)

    @property
    def inputs(self) -> str:
        """The batch's array that is learned."""
        return self.array

    @property
    def _conditions(self) -> Conditions:
        return Conditions(self.generator.condition, GENERATOR)

    @property
    def conditions(self) -> dict[str, ArraySpec]:
        """What a batch holds beside inputs: {array: its spec}."""
        return self._conditions.specs

    @property
    def bounds(self) -> dict[str, Bound]:
        """Which numbers a batch may hold, by the name of the array."""
        return self._conditions.bounds

    def check(self, inputs: Mapping[str, ArraySpec]) -> None:
        """Refuses settings that cannot work on examples of these arrays, with UsageError."""
        if self.inputs not in inputs:
            raise UsageError(f"the GAN learns {self.inputs!r}: the data has {', '.join(inputs)}")
        shape = tuple(inputs[self.inputs].shape)
        self.generator.check_shape(self.made_shape(shape))
        self._conditions.check(inputs)
        example = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
        jax.eval_shape(lambda x: self._init_discriminator(make_key(0), x), example)

    def made_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(*s, c) of what the generator makes for examples (*S, C): the examples themselves."""
        return tuple(shape)

    def network(self, shape: tuple[int, ...]) -> nn.Module:
        """The generator of examples (*S, C)."""
        return self.generator.clone(shape=self.made_shape(shape))

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Tree, Tree]:
        """Parameters and collections by player, for a batch of any size."""
        x = inputs_of(batch, self.inputs)
        one, two = jax.random.split(rng)
        z = jnp.zeros((len(x), self.generator.latents), jnp.float32)
        variables = dict(self._init_discriminator(two, x))
        variables.pop(QUANTIZATION, None)
        made = self.network(x.shape[1:]).init(one, z, self.cond_of(batch))["params"]
        params = {DISCRIMINATOR: variables.pop("params"), GENERATOR: made}
        return params, {DISCRIMINATOR: variables, GENERATOR: {}}

    def _init_discriminator(self, rng: jax.Array, x: jax.Array) -> Tree:
        condition = self.discriminator.condition
        cond = None if condition is None else jnp.zeros_like(condition.null(len(x)))
        rngs = dict(zip(("params", "quantizer"), jax.random.split(rng), strict=True))
        return self.discriminator.init(rngs, x, cond)

    def start(self, params: Tree, collections: Tree, frozen: Tree, batches: Batches, rng: Any):
        """Checks conditions without `bound` on the first batches, before step 0; and initialises
        the codes of features from those of real examples, where their quantizer has a `start`.

        Raises:
            UsageError: a condition does not fit.
        """
        del frozen
        self._conditions.look_at(batches)
        if self.codes is None:
            return params, collections

        @jax.jit
        def features(params: Tree, collections: Tree, batch: Batch) -> jax.Array:
            x, variables = inputs_of(batch, self.inputs), self._judging(params, collections)
            cond = self.cond_of(batch)
            _, seen = self.discriminator.apply(variables, x, cond, mutable=[QUANTIZATION])
            return seen[QUANTIZATION]["features"][0]

        encode = functools.partial(features, params, collections)
        return codebooks.start(self.codes, encode, params, collections, batches, rng, DISCRIMINATOR)

    def update(self, params: Tree, collections: Tree, statistics: Tree, rng: jax.Array, step: Any):
        """Updates the codes of features, once per step in which the discriminator is updated."""
        if self.codes is None:
            return params, collections
        return codebooks.update(
            self.codes, params, collections, statistics, rng, step, DISCRIMINATOR
        )

    def cond_of(self, batch: Batch) -> Any:
        """What both players' condition takes of a batch; None: they have none."""
        return condition_inputs(self.generator.condition, batch)

    def make(
        self,
        params: Tree,
        collections: Tree,
        frozen: Tree,
        z: jax.Array,
        cond: Tree | None,
        shape: tuple[int, ...],
        train: bool = False,
    ) -> jax.Array:
        """Examples float32 [B, *S, C] of noise z [B, Z]; `shape`: (*S, C)."""
        made = self.network(shape).apply({"params": params[GENERATOR]}, z, cond)
        return self.finished(collections, frozen, made, train)

    def finished(self, collections: Tree, frozen: Tree, made: jax.Array, train: bool) -> jax.Array:
        """Examples [B, *S, C] of what the generator makes [B, *s, c]: the same."""
        del collections, frozen, train
        return made

    def judge(
        self,
        params: Tree,
        collections: Tree,
        x: jax.Array,
        cond: Tree | None,
        keys: jax.Array | None,
    ) -> jax.Array:
        """Logits [B, 1] of examples [B, *S, C], as the discriminator of `params` sees them: changed
        by key[B] where there is an `augment`; None: as they are.
        """
        x = self._changed(x, keys)
        return self.discriminator.apply(self._judging(params, collections), x, cond)

    def _judging(self, params: Tree, collections: Tree) -> Tree:
        return {"params": params[DISCRIMINATOR], **collections[DISCRIMINATOR]}

    def _changed(self, x: jax.Array, keys: jax.Array | None) -> jax.Array:
        return x if self.augment is None or keys is None else self.augment(x, keys)

    def __call__(
        self, params: Tree, collections: Tree, frozen: Tree, batch: Batch, context: Context
    ) -> TaskOutput:
        """The losses of one (micro)batch; see `TaskOutput` and `TokenizerTask`."""
        real, cond = inputs_of(batch, self.inputs), self.cond_of(batch)
        noise_key, augment_key, code_key = jax.random.split(context.rng, 3)
        count, active, train = len(real), context.active, context.train
        z = jax.random.normal(noise_key, (count, self.generator.latents), jnp.float32)
        keys = jax.random.split(augment_key, count) if train else None
        fixed = {name: stop_gradient(tree) for name, tree in params.items()}
        losses, output = {}, TaskOutput({})
        trained = params if GENERATOR in active else fixed
        fake = self.make(trained, collections, frozen, z, cond, real.shape[1:], train)
        if GENERATOR in active:
            made = self.judge(fixed, collections, fake, cond, keys)
            if getattr(self.adversarial, "sees_both", False):
                real_logits = self.judge(fixed, collections, real, cond, keys)
                losses[GENERATOR] = self.adversarial.generator(made, real_logits)
            else:
                losses[GENERATOR] = self.adversarial.generator(made)
        fake = stop_gradient(fake)
        if DISCRIMINATOR in active:
            sides = [self._changed(x, keys) for x in (real, fake)]
            output = self._discriminated(params, collections, sides, cond, code_key, context)
        some = max(1, round(self.penalised * count))
        for name, x in ((R1, real), (R2, fake)):
            if name in active:
                losses[name] = self._penalty(params, collections, x, cond, keys, some)
        metrics = dict(output.metrics)
        if count > 1:
            metrics["spread"] = spread_of(fake) / jnp.maximum(spread_of(real), 1e-6)
        return TaskOutput({**losses, **output.losses}, metrics, statistics=output.statistics)

    def _discriminated(
        self,
        params: Tree,
        collections: Tree,
        sides: Sequence[jax.Array],
        cond: Tree | None,
        key: jax.Array,
        context: Context,
    ) -> TaskOutput:
        """The discriminator's losses, but for penalties, of real and made examples."""
        variables, logits, codes = self._judging(params, collections), [], []
        statistics = context.statistics if context.train else {}
        collected = [QUANTIZATION, *(["statistics"] if context.train else [])]
        for number, x in enumerate(sides):
            if self.codes is None:
                logits.append(self.discriminator.apply(variables, x, cond))
                continue
            verdict, seen = self.discriminator.apply(
                {**variables, "statistics": statistics},
                x,
                cond,
                train=context.train,
                step=context.step,
                rngs={"quantizer": jax.random.fold_in(key, number)},
                mutable=collected,
            )
            logits.append(verdict)
            codes.append(seen[QUANTIZATION]["quantized"][0])
            statistics = seen.get("statistics", {})
        losses = {DISCRIMINATOR: self.adversarial.discriminator(*logits)}
        metrics = {"logits_real": logits[0].mean(), "logits_fake": logits[1].mean()}
        if codes:
            names = [name for name in self.codes.loss_weights if name in context.active]
            losses |= {name: sum(c.losses[name] for c in codes) / 2 for name in names}
            metrics |= codes[0].metrics  # of real examples
        return TaskOutput(losses, metrics, statistics=statistics)

    def _penalty(
        self,
        params: Tree,
        collections: Tree,
        x: jax.Array,
        cond: Tree | None,
        keys: jax.Array | None,
        count: int,
    ) -> jax.Array:
        """`gradient_penalty` at the first `count` examples, by what they are before they change."""
        cond = jax.tree.map(lambda leaf: leaf[:count], cond)
        keys = None if keys is None else keys[:count]
        return gradient_penalty(lambda x: self.judge(params, collections, x, cond, keys), x[:count])

    def show(
        self, params: Tree, collections: Tree, frozen: Tree, batch: Batch, rng: jax.Array
    ) -> dict[str, jax.Array]:
        """See `Task.show`: samples under the conditions of the batch."""
        x, cond = inputs_of(batch, self.inputs), self.cond_of(batch)
        z = jax.random.normal(rng, (len(x), self.generator.latents), jnp.float32)
        made = self.make(params, collections, frozen, z, cond, x.shape[1:])
        return {"samples": jnp.clip(made, -1, 1)}

    def alarm(self, numbers: Mapping[str, float]) -> Alarm | None:
        """Whether all samples are alike, or the discriminator tells everything apart."""
        remedies = "task.loss_weights.r1 and .r2 ten times as large, task.augment='DiffAugment()'"
        spread = numbers.get("spread", 1.0)
        if spread < COLLAPSED:
            return Alarm(
                f"spread {spread:.0%}",
                f"samples differ by {spread:.0%} of what examples do (alarm below "
                f"{COLLAPSED:.0%}): the generator collapses; what may help: {remedies}",
            )
        apart = abs(numbers.get("logits_real", 0.0) - numbers.get("logits_fake", 0.0))
        if apart > APART:
            return Alarm(
                f"logits {apart:.0f} apart",
                f"the mean logits of real and made examples are {apart:.0f} apart (alarm above "
                f"{APART:.0f}): the discriminator has won; what may help: {remedies}",
            )
        return codebooks.dying_codes(self.codes, numbers, DISCRIMINATOR) if self.codes else None


def spread_of(x: jax.Array) -> jax.Array:
    """How much examples [B, *S, C] differ: the root of the mean variance of their numbers."""
    return jnp.sqrt(jnp.mean(jnp.var(x, axis=0)))
