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

from vqjax import arguments
from vqjax.evaluation.classification import ClassifierEvaluator
from vqjax.runs.base import Calls, Opening, Run, Sizes
from vqjax.runs.clips import at_rate, checked_clips, fitted, levelled
from vqjax.runs.examples import checked_examples, in_parts
from vqjax.runs.footprint import Footprint
from vqjax.training.experiment import Experiment
from vqjax.types import ArraySpec, UsageError

CALL_BATCH = 100  # examples per call of the program


class ClassifierRun(Run):
    """A trained classifier; made by `vqjax.load`.

    Sound may have any length, as one clip [T] or clips [B, T, C], int16 or float in [-1, 1]: it is
    brought to the level of training, cut at the samples of training or padded with zeros. Results
    of one clip have no batch axis.

    Attributes (see `Run` for the others):
        classes: how many.
        feature_dim: of the features.
        rate: Hz of sound, 0 of anything else.
    """

    kind = "classifier"
    headline = ("accuracy",)
    next_commands = ("vqjax evaluate PRIOR --judge RUN",)
    evaluator = ClassifierEvaluator

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        self.classes: int = self.task.classes
        self.feature_dim: int = self.task.encoder.latent_dim
        spec = opening.opened.inputs[self.task.inputs]
        self.rate: int = 0
        if spec.dtype == "int16":
            self.dtype, self.rate = "int16", round(spec.rate or 0)
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

    def features(self, images: np.ndarray, rate: int | None = None) -> np.ndarray:
        """The inputs of the last layer for `images`: float32 [B, feature_dim].

        Args:
            images: [B, *S, C] of the training shape, uint8 or float in [-1, 1]; any B, also 0; or
                sound.
            rate: Hz of sound; another than that of training is resampled. None: that of training.

        Raises:
            UsageError: another shape or dtype; NaN, or floats that are not in [-1, 1]; a rate that
                is none.
        """
        return self.outputs(images, rate)[0]

    def classify(
        self, images: np.ndarray, rate: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Labels int32 [B], the likeliest, and probabilities float32 [B, classes]; see `features`.

        Raises:
            UsageError: as `features`.
        """
        logits = self.outputs(images, rate)[1]
        shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
        probabilities = shifted / shifted.sum(axis=-1, keepdims=True)
        return logits.argmax(axis=-1).astype(np.int32), probabilities

    def outputs(self, images: np.ndarray, rate: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Features float32 [B, feature_dim] and logits float32 [B, classes]; see `features`.

        Raises:
            UsageError: as `features`.
        """
        if self.dtype != "int16":
            if rate is not None:
                raise UsageError(f"rate={arguments.got(rate)}: wanted None, of what is no sound")
            return self.outputs_of_source(checked_examples(images, self.shape, None))
        clips, single = checked_clips(images, self.shape[-1], "images")
        clips = levelled(at_rate(clips, rate, self.rate), self.loudness)
        features, logits = self.outputs_of_source(fitted(clips, self.shape[0]))
        return (features[0], logits[0]) if single else (features, logits)

    @property
    def loudness(self) -> Any:
        """The level that sound is brought to; None: it stays as it is."""
        return getattr(self.experiment.data, "loudness", None)

    def outputs_of_source(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`outputs` of examples of the run's own data source, unchecked, as in training: of sound
        float32 at its level (`vqjax.runs.clips.source_inputs`).
        """
        self._check_process()
        with self._context():
            program = functools.partial(self._program, self._all_params)
            return in_parts(program, (images,), CALL_BATCH)
