"""A trained classifier from Python, numpy in and numpy out.

run = vqjax.load("runs/mnist_classifier")
labels, probabilities = run.classify(images)
"""

import jax
import numpy as np
from jax.sharding import Mesh

from vqjax.runs.base import TrainedRun, in_parts
from vqjax.runs.examples import checked_examples
from vqjax.tasks.classifier import CLASSIFIER
from vqjax.training.restore import OpenedRun

BATCH = 100  # examples per call of the program


class ClassifierRun(TrainedRun):
    """A trained classifier; made by `vqjax.load`.

    Attributes (see `TrainedRun` for the others):
        shape: of one example, (*S, C).
        classes: how many.
        feature_dim: of the features.
    """

    def __init__(self, opened: OpenedRun, mesh: Mesh) -> None:
        task = opened.experiment.network_task()
        super().__init__(opened, mesh, task.network, CLASSIFIER)
        self.shape: tuple[int, ...] = tuple(opened.inputs[task.inputs].shape)
        self.classes: int = task.classes
        self.feature_dim: int = task.encoder.latent_dim
        self._params = opened.params
        self._program = jax.jit(task.classify)

    def features(self, images: np.ndarray) -> np.ndarray:
        """What the last layer sees of `images`: float32 [B, feature_dim].

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
        return outputs_of_source(self, images)


def outputs_of_source(run: ClassifierRun, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`run.outputs` of examples of the run's own data source, taken as training takes them."""
    run._check_process()
    with run._at_home():
        return in_parts(lambda x: run._program(run._params, x), (images,), BATCH)
