"""The modalities of a `SharedCodesTask`: how each is read, made noisy and compared."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from vqjax.config.annotations import check_fields
from vqjax.ops.numerics import at_least_float32, sum_per_example
from vqjax.tasks.base import inputs_of, within_length
from vqjax.tasks.streams import CAPTION, PRESENT, TextStream, with_noise
from vqjax.types import ArraySpec, Batch, Bound, UsageError


@dataclasses.dataclass(frozen=True)
class ImageModality:
    """Pictures, or other examples [B, *S, C] in [-1, 1]; its error is the mean squared one.

    Attributes:
        inputs: the batch's array.
        noise: the largest standard deviation of Gaussian noise on the inputs in training.
    """

    inputs: str = "image"
    noise: float = 0.0

    measure = "error"  # what evaluations call its mean error

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.noise >= 0.0:
            raise UsageError(f"modality.noise={self.noise}: wanted at least 0")

    def check(self, arrays: Mapping[str, ArraySpec]) -> None:
        """Refuses settings that cannot work on examples of these arrays, with UsageError."""
        if self.inputs not in arrays:
            raise UsageError(f"modality.inputs={self.inputs!r}: the data has {', '.join(arrays)}")

    @property
    def bounds(self) -> dict[str, Bound]:
        """Which numbers a batch may hold, by the names of arrays."""
        return {}

    def present(self, batch: Batch) -> jax.Array:
        """Which rows of a batch have it, bool[B]: all, where the batch does not say."""
        return batch.get(PRESENT, jnp.ones(len(batch[self.inputs]), bool))

    def read(self, batch: Batch) -> jax.Array:
        """What its encoder takes of a batch, [B, ...]."""
        return inputs_of(batch, self.inputs)

    def noisy(self, batch: Batch, x: jax.Array, noise: jax.Array, key: jax.Array) -> jax.Array:
        """`x` of that batch with noise of the levels float[B]."""
        del batch
        return with_noise(x, noise, key)

    def target(self, encoder: nn.Module, x: jax.Array) -> jax.Array:
        """What its decoder is to make of codes of x."""
        del encoder
        return x

    def errors(self, target: jax.Array, decoded: jax.Array) -> jax.Array:
        """float[B]."""
        far = jnp.square(at_least_float32(decoded) - target)
        return far.mean(axis=tuple(range(1, far.ndim)))


@dataclasses.dataclass(frozen=True)
class SoundModality(ImageModality):
    """Sound [B, T, C] at its level; its error is the mean squared one of the log mel frames that
    its encoder, a `LogMelEncoder`, hears.

    Attributes:
        inputs: the batch's array.
        noise: see `ImageModality`; there is none after the end of a clip.
    """

    inputs: str = "audio"
    noise: float = 0.0

    def noisy(self, batch: Batch, x: jax.Array, noise: jax.Array, key: jax.Array) -> jax.Array:
        """See `ImageModality.noisy`."""
        return within_length(batch, with_noise(x, noise, key))

    def target(self, encoder: nn.Module, x: jax.Array) -> jax.Array:
        """float32[B, F, mels, 1]."""
        return encoder.log_mel(x)[..., None]


@dataclasses.dataclass(frozen=True)
class TextModality(TextStream):
    """A caption, of which a decoder gives the logits of each id, all at once; its error is -log p
    of all ids, the zeros after its end among them, in nats.

    Attributes:
        vocabulary: V, of the ids (`Captions.vocabulary.size`).
        length: T, of the longest text.
        noise: the largest chance, from 0 to 1, that an id is replaced by any other in training.
    """

    measure = "nats_per_example"

    def read(self, batch: Batch) -> jax.Array:
        """Ids int32[B, T]."""
        return batch[CAPTION]

    def noisy(self, batch: Batch, x: jax.Array, noise: jax.Array, key: jax.Array) -> jax.Array:
        """See `ImageModality.noisy`; `noise` is the chance that an id is replaced."""
        del batch
        return self.replaced(x, noise, key)

    def target(self, encoder: nn.Module, x: jax.Array) -> jax.Array:
        """See `ImageModality.target`."""
        del encoder
        return x

    def errors(self, target: jax.Array, decoded: jax.Array) -> jax.Array:
        """float[B]; `decoded` are logits [B, T, V]."""
        logits = at_least_float32(decoded)
        return sum_per_example(optax.softmax_cross_entropy_with_integer_labels(logits, target))
