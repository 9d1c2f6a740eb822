"""How well each modality is made from the codes of others."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vqjax.evaluation.base import Evaluation, check_not_empty, eval_batch_size, over_split
from vqjax.evaluation.joint import EXAMPLES, conditionals_of
from vqjax.training.experiment import Experiment
from vqjax.training.sharding import put_batch, replicated
from vqjax.types import Batch, Tree

NATS = "nats_per_example"


class SharedCodesEvaluator:
    """`nats_per_example/x|y+z`: the mean of -log p of text x under its decoder, from the codes of y
    and z alone, over the rows that have all of these; `error/x|y+z`: likewise the mean error of a
    modality that is no text (`vqjax.tasks.modalities`); and `nats_per_example`: of the first text,
    from the codes of all others. Of the first `EXAMPLES` of the eval split, without noise.
    """

    def __init__(self, experiment: Experiment, mesh: Mesh, frozen: Tree | None = None) -> None:
        """Touches neither data nor devices. There are no `frozen` networks."""
        del frozen
        self._experiment, self._mesh = experiment, mesh
        self._task = experiment.network_task()
        named = conditionals_of(self._task.names)
        self._conditionals = {key: blocks for key, blocks in named.items() if len(blocks) > 1}
        self._count = jax.jit(jnp.sum, out_shardings=replicated(mesh))
        # One program for all of them: which modalities are there is an argument.
        self._sums = jax.jit(self._batch_sums, out_shardings=replicated(mesh))

    def __call__(self, params: Tree, collections: Tree) -> Evaluation:
        """Evaluates once over these examples.

        Raises:
            DataError: the eval split is empty, or holds numbers out of range.
        """
        totals = np.zeros((2, len(self._conditionals)), np.float64)  # errors, rows
        names, count = self._task.names, 0
        batches = -(-EXAMPLES // eval_batch_size(self._experiment, self._mesh))
        split = over_split(self._experiment, self._mesh)
        for positions, batch in itertools.islice(split, batches):  # on every host as many
            put = put_batch({**batch, "mask": batch["mask"] & (positions < EXAMPLES)}, self._mesh)
            with jax.set_mesh(self._mesh):
                for column, (*conditions, target) in enumerate(self._conditionals.values()):
                    inputs = np.array([name in conditions for name in names])
                    sums = self._sums(params, collections, put, inputs)
                    totals[:, column] += jax.device_get(sums)[:, names.index(target)]
                count += int(self._count(put["mask"]))
        check_not_empty(count, self._experiment)
        numbers = {}
        for (key, blocks), total, rows in zip(self._conditionals.items(), *totals, strict=True):
            measure = self._task.modalities[blocks[-1]].measure
            if not rows:
                continue
            numbers[f"{measure}/{key}"] = float(total / rows)
            if measure == NATS and len(blocks) == len(names):
                numbers.setdefault(NATS, float(total / rows))
        return Evaluation(numbers, protocol=(f"{count:,} examples of the eval split",))

    def _batch_sums(
        self, params: Tree, collections: Tree, batch: Batch, inputs: jax.Array
    ) -> jax.Array:
        """Errors of each modality from the codes of `inputs`, bool[n], and the rows that have it
        and them: [2, n].
        """
        task = self._task
        clean, present = task.read(batch), task.present(batch) & batch["mask"][:, None]  # [B, n]
        fusion = task.fuse(params, collections, clean, present & inputs[None])
        there = present & jnp.all(present | ~inputs[None], axis=1, keepdims=True)  # [B, n]
        errors = task.errors(clean, fusion.decoded)
        errors = jnp.stack([errors[name] for name in task.names], axis=1)  # [B, n]
        return jnp.stack([jnp.where(there, errors, 0.0).sum(axis=0), there.sum(axis=0)])
