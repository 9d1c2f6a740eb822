"""How likely a joint prior holds each stream of the eval split, alone and given the others."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh

from vqjax.evaluation.base import Evaluation, check_not_empty, eval_batch_size, over_split
from vqjax.evaluation.stream_samples import StreamSamples
from vqjax.tasks.joint import PRIOR
from vqjax.training.experiment import Experiment
from vqjax.training.sharding import put_batch, replicated
from vqjax.types import Batch, Tree

EXAMPLES = 1_000  # of the eval split, the first ones
MOST_STREAMS = 4  # of which all subsets are conditions
NATS, GAP = "nats_per_example", "order_gap"


def conditionals_of(names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """{"image|audio+text": ("audio", "text", "image")}: each stream alone and given each subset of
    the others; of more than `MOST_STREAMS` streams given those before it and given all others. The
    blocks of a row are in their order, the target last.
    """
    found = {}
    for name in names:
        others = tuple(n for n in names if n != name)
        subsets = [(), names[: names.index(name)], others]
        if len(names) <= MOST_STREAMS:
            sizes = range(len(others) + 1)
            subsets = [c for size in sizes for c in itertools.combinations(others, size)]
        for conditions in dict.fromkeys(subsets):
            found[key_of(name, conditions)] = (*conditions, name)
    return found


def key_of(name: str, conditions: tuple[str, ...]) -> str:
    return f"{name}|{'+'.join(conditions)}" if conditions else name


def order_gaps(nats: dict[str, float]) -> dict[str, float]:
    """{"audio+image": |gap|} of every two streams with these nats: -log p of both, one given the
    other, minus that in the other order. A model without fault has none.
    """
    found = {}
    for key in nats:
        target, _, condition = key.partition("|")
        other = f"{condition}|{target}"
        if condition in nats and other in nats and target < condition:
            gap = nats[target] + nats[other] - nats[condition] - nats[key]
            found[f"{target}+{condition}"] = abs(gap)
    return found


class JointEvaluator:
    """`nats_per_example/x`: the mean of -log p of stream x's tokens over the rows that have it;
    `nats_per_example/x|y+z`: given others, over the rows that have all of these; and
    `nats_per_example`: of all streams, each given those before it. `order_gap/x+y`: see
    `order_gaps`. Both are of means over different rows where some lack a stream. Of the first
    `EXAMPLES` of the eval split, without noise. The gallery has what is drawn for examples of
    each stream.
    """

    def __init__(self, experiment: Experiment, mesh: Mesh, frozen: Tree) -> None:
        self._experiment, self._mesh, self._frozen = experiment, mesh, frozen
        self._task = experiment.network_task()
        self._network: nn.Module | None = None  # over the streams of the first batch
        self._conditionals = conditionals_of(self._task.names)
        self._count = jax.jit(jnp.sum, out_shardings=replicated(mesh))
        self._tokens = jax.jit(self._tokens_of)
        self._samples = StreamSamples(experiment, mesh, frozen)
        # One program for all conditionals: their orders are an argument.
        self._sums = jax.jit(self._batch_sums, out_shardings=replicated(mesh))

    def __call__(self, params: Tree, collections: Tree) -> Evaluation:
        """Evaluates once over these examples.

        Raises:
            DataError: the eval split is empty, or holds numbers out of range.
        """
        self._samples.restart()
        totals = np.zeros((2, len(self._conditionals)), np.float64)  # nats, rows
        count = 0
        batches = -(-EXAMPLES // eval_batch_size(self._experiment, self._mesh))
        split = over_split(self._experiment, self._mesh)
        for positions, batch in itertools.islice(split, batches):  # on every host as many
            self._network = self._network or self._task.network_of(batch)
            mask = batch["mask"] & (positions < EXAMPLES)
            put = put_batch({**batch, "mask": mask}, self._mesh)
            with jax.set_mesh(self._mesh):
                ids, present = self._tokens(self._frozen, put)
                self._samples.add(put, ids, present)
                for column, blocks in enumerate(self._conditionals.values()):
                    target = self._task.names.index(blocks[-1])
                    ranks = np.asarray(self._network.ranks(blocks, 1))
                    sums = self._sums(params, ids, present, ranks)
                    totals[:, column] += jax.device_get(sums)[:, target]
                count += int(self._count(put["mask"]))
        check_not_empty(count, self._experiment)
        named = zip(self._conditionals, *totals, strict=True)
        means = {name: float(total / rows) for name, total, rows in named if rows}
        numbers = {f"{NATS}/{name}": value for name, value in means.items()}
        names = self._task.names
        chain = [key_of(name, names[:i]) for i, name in enumerate(names)]
        if all(key in means for key in chain):
            numbers[NATS] = sum(means[key] for key in chain)
        numbers |= {f"{GAP}/{name}": value for name, value in order_gaps(means).items()}
        with jax.set_mesh(self._mesh):
            gallery = self._samples.gallery(params[PRIOR])
        return Evaluation(numbers, gallery, (f"{count:,} examples of the eval split",))

    def _tokens_of(self, frozen: Tree, batch: Batch) -> tuple[dict[str, jax.Array], jax.Array]:
        """The tokens of a batch, and which streams its rows have, bool[B, n]: padding has none."""
        task = self._task
        ids = task.ids(self._network, frozen, batch)
        return ids, task.present(batch) & batch["mask"][:, None]

    def _batch_sums(
        self, params: Tree, ids: dict[str, jax.Array], present: jax.Array, ranks: jax.Array
    ) -> jax.Array:
        """Nats of each stream, and the rows that have all of the blocks: [2, n]."""
        ranks = jnp.broadcast_to(ranks, present.shape)  # [B, n]
        losses = self._task.objective(params, ids, ranks, self._network)
        there = jnp.all(present | (ranks < 0), axis=1)  # [B]
        nats = [jnp.where(there, losses[n].nats.sum(axis=1), 0.0) for n in self._task.names]
        sums = jnp.stack([values.sum() for values in nats])
        return jnp.stack([sums, jnp.full_like(sums, there.sum())])
