"""A trained classifier from Python, numpy in and numpy out.

run = vqjax.load("runs/mnist_classifier")
labels, probabilities = run.classify(images)
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from vqjax.evaluation.classification import ClassifierEvaluator
from vqjax.runs.base import Calls, Opening, Run, Sizes
from vqjax.runs.examples import checked_examples, in_parts
from vqjax.runs.footprint import Footprint
from vqjax.training.experiment import Experiment
from vqjax.types import ArraySpec

CALL_BATCH = 100  # examples per call of the program


class ClassifierRun(Run):
    """A trained classifier; made by `vqjax.load`.

    Attributes (see `Run` for the others):
        classes: how many.
        feature_dim: of the features.
    """

    kind = "classifier"
    headline = ("accuracy",)
    next_commands = ("vqjax evaluate PRIOR --judge RUN",)
    evaluator = ClassifierEvaluator

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        self.classes: int = self.task.classes
        self.feature_dim: int = self.task.encoder.latent_dim
        self._all_params = opening.opened.params
        self._program = jax.jit(self.task.classify)

    def network(self) -> nn.Module:
        """The encoder with its dense layer."""
        return self.task.network

    @classmethod
    def footprint(cls, experiment: Experiment, inputs: Mapping[str, ArraySpec]) -> Footprint:
        """Also its features: see `Run.footprint`."""
        sizes = super().footprint(experiment, inputs)
        features = (experiment.task.encoder.latent_dim,)
        return dataclasses.replace(sizes, latents=features, latents_are="features")

    @classmethod
    def single_calls(cls, task: Any, shape: tuple[int, ...]) -> Calls:
        """See `Run.single_calls`."""
        return {"classify": lambda params, _, x: task.classify(params, x)}

    @classmethod
    def learned(cls, experiment: Experiment, sizes: Sizes, data: str, short: bool) -> str:
        """See `Run.learned`."""
        examples = "examples" if sizes is None else sizes.examples
        return f" that learns to tell the class of {examples} from {data}"

    def features(self, images: np.ndarray) -> np.ndarray:
        """The inputs of the last layer for `images`: float32 [B, feature_dim].

        Args:
            images: [B, *S, C] of the training shape, uint8 or float in [-1, 1]; any B, also 0.

        Raises:
            UsageError: another shape or dtype; NaN, or floats that are not in [-1, 1].
        """
        return self.outputs(images)[0]

    def classify(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels int32 [B], the likeliest, and probabilities float32 [B, classes]; see `features`.

        Raises:
            UsageError: another shape or dtype; NaN, or floats that are not in [-1, 1].
        """
        logits = self.outputs(images)[1]
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = shifted / shifted.sum(axis=1, keepdims=True)
        return logits.argmax(axis=1).astype(np.int32), probabilities

    def outputs(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features float32 [B, feature_dim] and logits float32 [B, classes]; see `features`.

        Raises:
            UsageError: another shape or dtype; NaN, or floats that are not in [-1, 1].
        """
        images = checked_examples(images, self.shape, None)
        return self.outputs_of_source(images)

    def outputs_of_source(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`outputs` of examples of the run's own data source, unchecked, as in training."""
        self._check_process()
        with self._context():
            program = functools.partial(self._program, self._all_params)
            return in_parts(program, (images,), CALL_BATCH)
