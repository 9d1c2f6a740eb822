"""A trained classifier: how well it does on the eval split, and how it is used from Python.

run = vqjax.load("runs/mnist_classifier")
labels, probabilities = run.classify(images)
"""

import jax
import numpy as np
from jax.sharding import Mesh

from vqjax.evaluation.examples import checked_examples
from vqjax.evaluation.reconstruction import Evaluation
from vqjax.evaluation.run import in_parts
from vqjax.evaluation.trained import TrainedRun
from vqjax.metrics import Classification
from vqjax.tasks.classifier import CLASSIFIER, LABEL
from vqjax.training.bounds import within_bounds
from vqjax.training.experiment import Experiment
from vqjax.training.restore import OpenedRun
from vqjax.training.sharding import local_rows, put_batch, replicated
from vqjax.types import Batch, DataError, Tree

BATCH = 100  # examples per call of the program


class ClassifierEvaluator:
    """`accuracy` and `cross_entropy` over the eval split; every example counts once, padding never.

    The cross-entropy is that of the labels themselves, whatever smoothing training had.
    """

    def __init__(self, experiment: Experiment, mesh: Mesh, frozen: Tree | None = None) -> None:
        """Touches neither data nor devices. A classifier builds on nothing `frozen`."""
        del frozen
        self._experiment, self._mesh = experiment, mesh
        self._task = experiment.network_task()
        self._program = jax.jit(self._batch_state, out_shardings=replicated(mesh))

    def __call__(self, params: Tree, collections: Tree) -> Evaluation:
        """Evaluates once over the split.

        Raises:
            DataError: the eval split is empty, or a label is no class.
        """
        size = self._experiment.eval_batch_size or self._experiment.batch_size
        size = -(-size // self._mesh.size) * self._mesh.size
        state = Classification.empty()
        data = self._experiment.data
        batches = data.eval(size, local_rows(size, self._mesh))
        for batch in within_bounds(self._task, data, "eval", batches):
            wanted = {name: batch[name] for name in (self._task.inputs, LABEL, "mask")}
            put = put_batch(wanted, self._mesh)
            with jax.set_mesh(self._mesh):
                state = state.merge(self._program(params, put))
        if not state.count:
            raise DataError(f"the eval split of {type(self._experiment.data).__name__} is empty")
        return Evaluation(state.compute(), None)

    def _batch_state(self, params: Tree, batch: Batch) -> Classification:
        _, logits = self._task.classify(params, batch[self._task.inputs])
        return Classification.of(logits, batch[LABEL], batch["mask"])


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
