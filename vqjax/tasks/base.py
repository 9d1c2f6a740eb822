"""`Task`: what most tasks have in common. A task says what one batch means.

A subclass has `init` and `__call__`, as README shows; whatever else training asks for
(`vqjax.training.experiment.Task`) is here, with its usual meaning.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from vqjax.ops.schedules import Schedule
from vqjax.types import Alarm, ArraySpec, Batch, Context, Tree, UsageError

Batches = Iterator[Batch]
Part = Callable[[], tuple[Any, Any]]  # -> (its loss, all else)
GAIN, LENGTH = "gain", "length"  # of sound, in a batch


class Task:
    """Base of tasks.

    A subclass has the field `loss_weights`, one number or schedule per loss term, and

        players: networks that are trained, by name.
        terms: {loss term: the player that it trains}.
        inputs: the batch's array that it learns from, a field or an attribute of the class.
        run_class: the class that opens its runs, of a task that is not vqjax's.
    """

    players: ClassVar[tuple[str, ...]]
    terms: ClassVar[Mapping[str, str]]

    @property
    def weights(self) -> Mapping[str, float | Schedule]:
        """{loss term: its weight}."""
        return self.loss_weights

    @property
    def averaged(self) -> tuple[str, ...]:
        """The players whose parameters are worth averaging: what is used after training."""
        return self.players

    @property
    def conditions(self) -> dict[str, ArraySpec]:
        """What a batch holds beside the inputs, where the data is not there to say it."""
        return {}

    def check(self, inputs: Mapping[str, ArraySpec]) -> None:
        """Refuses, with UsageError, settings that cannot work on examples of these arrays."""
        if self.inputs not in inputs:
            raise UsageError(f"task.inputs={self.inputs!r}: the data has {', '.join(inputs)}")

    def start(self, params: Tree, collections: Tree, frozen: Tree, batches: Batches, rng: Any):
        """What is worked out from the data before step 0; here nothing.

        Args:
            params: {player: tree}.
            collections: {player: {collection: tree}}.
            frozen: arrays of frozen networks, by their paths in the experiment.
            batches: global batches of the training split, once through it at the most; as many are
                drawn as are needed. `mask: bool[B]`, where there is one, is False on repetitions.
            rng: a key.

        Returns:
            Parameters and collections as step 0 has them.
        """
        del frozen, batches, rng
        return params, collections

    def update(
        self, params: Tree, collections: Tree, statistics: Tree, rng: jax.Array, step: Any
    ) -> tuple[Tree, Tree]:
        """What a step does after the optimizers, such as moving a codebook; here nothing."""
        del statistics, rng, step
        return params, collections

    def show(
        self, params: Tree, collections: Tree, frozen: Tree, batch: Batch, rng: jax.Array
    ) -> dict[str, jax.Array]:
        """Examples for the gallery of an evaluation, traced: {row: [B, *S, C]}; here none.

        Args:
            batch: the first of the eval split.
            rng: the same every time.
        """
        del params, collections, frozen, batch, rng
        return {}

    def parts(
        self, params: Tree, collections: Tree, frozen: Tree, batch: Batch, context: Context
    ) -> dict[str, Part]:
        """What `vqjax benchmark` may time of the gradient, part by part; here nothing.

        Each part is called without arguments, does what the step does there, its forward pass and
        its gradient, and returns (loss, all else): the weighted losses of the parts add up to those
        of the step.
        """
        del params, collections, frozen, batch, context
        return {}

    def alarm(self, numbers: Mapping[str, float]) -> Alarm | None:
        """What is wrong with the metrics of a step, for people; here nothing."""
        del numbers
        return None


def normalize(x: jax.Array) -> jax.Array:
    """uint8 0..255 -> float32 [-1, 1]; int16 v -> float32 v / 32768, of sound; floats pass."""
    if x.dtype == jnp.uint8:
        return x.astype(jnp.float32) / 127.5 - 1.0
    if x.dtype == jnp.int16:
        return x.astype(jnp.float32) / 32768.0
    return x


def within_length(batch: Batch, x: jax.Array) -> jax.Array:
    """x [B, T, C], zero from the batch's "length" int[B] on, where it has one; else x."""
    if LENGTH not in batch:
        return x
    inside = jnp.arange(x.shape[1])[None] < batch[LENGTH][:, None]  # [B, T]
    return jnp.where(inside[..., None], x, 0)


def last_repeated(frames: jax.Array, count: jax.Array) -> jax.Array:
    """frames [B, F, ..] with the last of the first `count` int[B] repeated after them."""
    at = jnp.minimum(jnp.arange(frames.shape[1])[None], count[:, None] - 1)  # [B, F]
    at = at.reshape(*at.shape, *(1,) * (frames.ndim - 2))  # [B, F, ..]
    return jnp.take_along_axis(frames, jnp.maximum(at, 0), axis=1)


def inputs_of(batch: Batch, name: str) -> jax.Array:
    """What a network takes of the batch's array `name`: [B, *S, C], normalised, and sound at its
    level, times the recorded "gain" float[B] where the batch has one.
    """
    x = normalize(batch[name])
    if batch[name].dtype == jnp.int16 and GAIN in batch:
        gain = batch[GAIN].astype(x.dtype)
        x = x * gain.reshape(-1, *(1,) * (x.ndim - 1))  # [B, *S, C]
    return x
