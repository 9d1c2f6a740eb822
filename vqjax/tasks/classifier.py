"""`ClassifierTask`: learn the classes of examples, so that samples can be judged by them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from vqjax.config.annotations import check_fields
from vqjax.ops.numerics import at_least_float32
from vqjax.ops.schedules import Schedule
from vqjax.tasks.base import Task, inputs_of, normalize
from vqjax.types import Batch, Bound, Context, TaskOutput, Tree, UsageError, check_offers

CLASSIFIER = "classifier"


class Classifier(nn.Module):
    """x [B, *S, C] -> features, the mean of an encoder's latents, -> logits by one dense layer.

    Attributes:
        encoder: x -> latents [B, *s, latent_dim].
        classes: how many.
    """

    encoder: nn.Module
    classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Features float32[B, latent_dim] and logits float32[B, classes]."""
        latents = at_least_float32(self.encoder(x))
        features = latents.mean(axis=tuple(range(1, latents.ndim - 1)))
        return features, nn.Dense(self.classes, name="head")(features)


@dataclasses.dataclass(frozen=True)
class ClassifierTask(Task):
    """Maximum likelihood of labels.

    Player: "classifier". Loss term: "cross_entropy", in nats per example, against
    (1 - label_smoothing) of the label and label_smoothing / classes of every class
    (arXiv 1512.00567, section 7).

    Attributes:
        encoder: the network under the dense layer; `vqjax.tokenizers` has some. `latent_dim`, the
            channels of its result, is the dimension of the features.
        classes: how many; labels are 0 to classes - 1.
        label_smoothing: share of the target that is spread over all classes.
        loss_weights: of "cross_entropy".
        inputs: the batch's array to classify: uint8 (normalised to [-1, 1]), float in [-1, 1], or
            int16, sound, at its level where the batch has "gain".
        label: the batch's array of their classes.
    """

    encoder: nn.Module
    classes: int
    label_smoothing: float = 0.0
    loss_weights: Mapping[str, float | Schedule] = dataclasses.field(
        default_factory=lambda: {"cross_entropy": 1.0}
    )
    inputs: str = "image"
    label: str = "label"

    players = (CLASSIFIER,)
    terms = {"cross_entropy": CLASSIFIER}

    def __post_init__(self) -> None:
        check_offers("encoder", self.encoder, ("latent_dim", "grid"))
        check_fields(self)
        if self.classes < 2 or not 0.0 <= self.label_smoothing < 1.0:
            raise UsageError(
                f"classes={self.classes}, label_smoothing={self.label_smoothing}: wanted at least "
                "two classes and a share of 0 or more, below 1"
            )

    @property
    def network(self) -> Classifier:
        """The encoder with its dense layer."""
        return Classifier(self.encoder, self.classes)

    def check(self, inputs: Mapping[str, Any]) -> None:
        """Refuses settings that cannot work on examples of these `ArraySpec`s, with UsageError."""
        for name in (self.inputs, self.label):
            if name not in inputs:
                raise UsageError(f"a classifier needs {name!r}: the data has {', '.join(inputs)}")
        if inputs[self.label].shape:
            shape = tuple(inputs[self.label].shape)
            raise UsageError(f"{self.label!r} has shape {shape}: wanted one number")
        self.encoder.grid(tuple(inputs[self.inputs].shape[:-1]))

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Tree, Tree]:
        """Parameters and collections by player, for a batch of any size."""
        variables = self.network.init(rng, inputs_of(batch, self.inputs))
        return {CLASSIFIER: variables["params"]}, {CLASSIFIER: {}}

    @property
    def bounds(self) -> dict[str, Bound]:
        """Which numbers a batch may hold, by the name of the array."""
        return {self.label: Bound(0, self.classes, f"task.classes={self.classes}")}

    def classify(self, params: Tree, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """x [B, *S, C] -> features float32[B, latent_dim] and logits float32[B, classes]."""
        return self.network.apply({"params": params[CLASSIFIER]}, normalize(x))

    def __call__(
        self, params: Tree, collections: Tree, frozen: Tree, batch: Batch, context: Context
    ) -> TaskOutput:
        """The loss of one (micro)batch; see `TaskOutput` and `TokenizerTask`."""
        _, logits = self.classify(params, inputs_of(batch, self.inputs))  # [B, classes]
        labels = batch[self.label]  # [B]
        targets = optax.smooth_labels(jax.nn.one_hot(labels, self.classes), self.label_smoothing)
        nats = optax.softmax_cross_entropy(logits, targets)  # [B]
        hits = jnp.argmax(logits, axis=-1) == labels  # [B]
        return TaskOutput(
            losses={"cross_entropy": nats.mean()} if "cross_entropy" in context.active else {},
            metrics={"accuracy": hits.mean(dtype=jnp.float32)},
        )
