"""How likely a joint prior holds each stream of the eval split, alone and given the others."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vqjax.evaluation.base import Evaluation, check_not_empty, eval_batch_size, over_split
from vqjax.training.experiment import Experiment
from vqjax.training.sharding import put_batch, replicated
from vqjax.types import Batch, Tree

EXAMPLES = 1_000  # of the eval split, the first ones


def conditionals_of(names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """{"image|audio+text": ("audio", "text", "image")}: each stream alone, and given all others;
    the blocks of a row in their order, the target last.
    """
    found = {}
    for name in names:
        others = tuple(n for n in names if n != name)
        found[name] = (name,)
        if others:
            found[f"{name}|{'+'.join(others)}"] = (*others, name)
    return found


class JointEvaluator:
    """`nats_per_example/x`: the mean of -log p of stream x's tokens over the rows that have it;
    `nats_per_example/x|y+z`: given all the others, over the rows that have all. Of the first
    `EXAMPLES` of the eval split, without noise.
    """

    def __init__(self, experiment: Experiment, mesh: Mesh, frozen: Tree) -> None:
        self._experiment, self._mesh, self._frozen = experiment, mesh, frozen
        self._task = experiment.network_task()
        self._conditionals = conditionals_of(self._task.names)
        self._sums = jax.jit(self._batch_sums, out_shardings=replicated(mesh))

    def __call__(self, params: Tree, collections: Tree) -> Evaluation:
        """Evaluates once over these examples.

        Raises:
            DataError: the eval split is empty, or holds numbers out of range.
        """
        totals = np.zeros((2, len(self._conditionals)), np.float64)  # nats, rows
        count = 0
        batches = -(-EXAMPLES // eval_batch_size(self._experiment, self._mesh))
        split = over_split(self._experiment, self._mesh)
        for positions, batch in itertools.islice(split, batches):  # on every host as many
            mask = batch["mask"] & (positions < EXAMPLES)
            put = put_batch({**batch, "mask": mask}, self._mesh)
            with jax.set_mesh(self._mesh):
                sums, number = jax.device_get(self._sums(params, self._frozen, put))
            totals += sums
            count += int(number)
        check_not_empty(count, self._experiment)
        nats, rows = totals
        named = zip(self._conditionals, nats, rows, strict=True)
        numbers = {f"nats_per_example/{name}": total / n for name, total, n in named if n}
        line = f"{count:,} examples of the eval split"
        return Evaluation(numbers, protocol=(line,))

    def _batch_sums(self, params: Tree, frozen: Tree, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Nats and rows of each conditional, [2, number], and how many examples count."""
        task, mask = self._task, batch["mask"]
        network = task.network_of(batch)
        ids, present = task.ids(network, frozen, batch), task.present(batch)  # [B, n]
        columns = []
        for blocks in self._conditionals.values():
            ranks = network.ranks(blocks, len(mask))
            loss = task.objective(params, ids, ranks, network)[blocks[-1]]
            there = mask & jnp.all(present | (ranks < 0), axis=1)  # [B]
            nats = jnp.where(there, loss.nats.sum(axis=1), 0.0)
            columns.append(jnp.stack([nats.sum(), there.sum().astype(nats.dtype)]))
        return jnp.stack(columns, axis=1), jnp.sum(mask)
