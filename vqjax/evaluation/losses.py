"""The means of a task's losses over the eval split: the evaluation of any task."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vqjax.evaluation.base import Evaluation, check_not_empty, over_split
from vqjax.media.gallery import Gallery
from vqjax.ops.numerics import make_key
from vqjax.training.experiment import Experiment
from vqjax.training.sharding import put_batch, replicated
from vqjax.types import Batch, Context, Tree

SEED = 0  # of the noise
SHOWN = 16  # examples in the gallery, of the first batch


class LossEvaluator:
    """The mean over held-out examples of each unweighted loss, by its name, and a gallery of what
    the task shows of the first ones.

    The losses of an example are those that the task computes for a batch of it alone, not training,
    all players and terms active. The noise of an example is a pure function of its position in the
    split. So every example counts once, padding never, whatever the batch size and the devices.
    """

    def __init__(self, experiment: Experiment, mesh: Mesh, frozen: Tree | None = None) -> None:
        """Touches neither data nor devices; the program compiles at the first call."""
        self._experiment, self._mesh, self._frozen = experiment, mesh, frozen or {}
        self._task = experiment.network_task()
        self._active = tuple(sorted({*self._task.players, *self._task.terms}))
        self._sums = jax.jit(self._batch_sums, out_shardings=replicated(mesh))
        self._rows: tuple[str, ...] = ()
        self._show = jax.jit(self._shown, out_shardings=replicated(mesh))

    def __call__(self, params: Tree, collections: Tree) -> Evaluation:
        """Evaluates once over the split.

        Raises:
            DataError: the eval split is empty.
        """
        sums: dict[str, float] = dict.fromkeys(self._task.terms, 0.0)
        count, shown = 0, {}
        for positions, batch in over_split(self._experiment, self._mesh):
            put = put_batch({**batch, "eval_position": positions}, self._mesh)
            step = np.int32(self._experiment.total_steps)
            if not count:
                shown = jax.device_get(self._show(params, collections, self._frozen, put))
                mask, *rows = shown  # of all hosts' rows
                rows = zip(self._rows, rows, strict=True)
                shown = {name: examples[mask][:SHOWN] for name, examples in rows}
            batch_sums, examples = self._sums(params, collections, self._frozen, put, step)
            count += int(examples)
            for name, value in jax.device_get(batch_sums).items():
                sums[name] += float(value)
        check_not_empty(count, self._experiment)
        spec = self._experiment.data.example_spec().get(self._task.inputs)
        kind = {} if spec is None else {"medium": spec.shown_as, "rate": spec.rate}
        gallery = Gallery(shown, **kind) if shown else None
        return Evaluation({name: value / count for name, value in sums.items()}, gallery)

    def _shown(self, params: Tree, collections: Tree, frozen: Tree, batch: Batch) -> Any:
        batch = {name: array for name, array in batch.items() if name != "eval_position"}
        rows = self._task.show(params, collections, frozen, batch, make_key(SEED))
        self._rows = tuple(rows)  # `jit` would sort them
        return (batch["mask"], *rows.values())

    def _batch_sums(
        self, params: Tree, collections: Tree, frozen: Tree, batch: Batch, step: jax.Array
    ) -> Any:
        """Sums of each loss over the examples that are not padding, and how many these are."""
        batch = dict(batch)
        positions, mask = batch.pop("eval_position"), batch.pop("mask")

        def losses_of(position: jax.Array, example: Batch) -> dict[str, jax.Array]:
            rng = jax.random.fold_in(make_key(SEED), position)
            context = Context(rng, step, self._active, train=False)
            single = jax.tree.map(lambda array: array[None], example)
            return self._task(params, collections, frozen, single, context).losses

        losses = jax.vmap(losses_of)(positions, batch)  # {name: [B]}
        sums = jax.tree.map(lambda loss: jnp.sum(jnp.where(mask, loss, 0.0)), losses)
        return sums, jnp.sum(mask)
