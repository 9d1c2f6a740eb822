"""How well a classifier tells the classes of the eval split."""

import jax
from jax.sharding import Mesh

from vqjax.evaluation.base import Evaluation, check_not_empty, over_split
from vqjax.metrics import Classification
from vqjax.tasks.base import GAIN, inputs_of
from vqjax.training.experiment import Experiment
from vqjax.training.sharding import put_batch, replicated
from vqjax.types import Batch, Tree

BATCH = 100  # examples per call of the program


class ClassifierEvaluator:
    """`accuracy` and `cross_entropy` over the eval split; every example counts once, padding never.

    The cross-entropy is that of the labels themselves, whatever smoothing training used.
    """

    def __init__(self, experiment: Experiment, mesh: Mesh, frozen: Tree | None = None) -> None:
        """Touches neither data nor devices. A classifier has no `frozen` networks."""
        del frozen
        self._experiment, self._mesh = experiment, mesh
        self._task = experiment.network_task()
        self._program = jax.jit(self._batch_state, out_shardings=replicated(mesh))

    def __call__(self, params: Tree, collections: Tree) -> Evaluation:
        """Evaluates once over the split.

        Raises:
            DataError: the eval split is empty, or a label is out of range.
        """
        state = Classification.empty()
        for _, batch in over_split(self._experiment, self._mesh):
            names = (self._task.inputs, GAIN, self._task.label, "mask")
            arrays = {name: batch[name] for name in names if name in batch}
            put = put_batch(arrays, self._mesh)
            with jax.set_mesh(self._mesh):
                state = state.merge(self._program(params, put))
        check_not_empty(state.count, self._experiment)
        return Evaluation(state.compute())

    def _batch_state(self, params: Tree, batch: Batch) -> Classification:
        _, logits = self._task.classify(params, inputs_of(batch, self._task.inputs))
        return Classification.of(logits, batch[self._task.label], batch["mask"])
