"""How well a prior predicts the tokens of the eval split, and samples of it."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vqjax.evaluation.base import Evaluation, check_not_empty, over_split
from vqjax.media.gallery import Gallery
from vqjax.ops.numerics import make_key
from vqjax.sampling import Guidance, TokenSampling
from vqjax.tasks.base import LENGTH
from vqjax.training.experiment import Experiment
from vqjax.training.sharding import put_batch, replicated
from vqjax.types import Batch, Level, Tree

SAMPLES = 64  # in the gallery
COLUMNS = 8
SOUNDS = 16  # of them, where they are sound


def _count(cond: Tree) -> int:
    return len(jax.tree.leaves(cond)[0])


def first_samples(*arrays: np.ndarray) -> np.ndarray:
    """`SAMPLES` rows of the batches' arrays, in turn where there are fewer."""
    return np.resize(np.concatenate(arrays), (SAMPLES, *arrays[0].shape[1:]))


class PriorEvaluator:
    """`nats_per_token`: mean of -log p over all tokens of the eval split, or of a bound on it
    (`Prior.is_bound`); `bits_per_dim`: the same per value of an example. Where clips end, tokens
    and values are those of the clips, of which each also has the end itself as a token, and
    `nats_per_clip` is the mean over clips; of a clip that is longer than the window, its beginning
    counts, and no end. The gallery has `SAMPLES` samples; of a conditional
    prior under the conditions of the first examples of the split.
    """

    def __init__(self, experiment: Experiment, mesh: Mesh, frozen: Tree) -> None:
        self._experiment, self._mesh = experiment, mesh
        self._task = experiment.network_task()
        self._frozen = frozen
        sharding = replicated(mesh)
        self._sum = jax.jit(self._batch_sum, out_shardings=sharding)
        self._cond = jax.jit(self._task.cond_of, out_shardings=sharding)
        self._sample = jax.jit(self._draw, static_argnames="levels", out_shardings=sharding)

    def __call__(self, params: Tree, collections: Tree) -> Evaluation:
        """Evaluates once over the split.

        Raises:
            DataError: the eval split is empty, or holds tokens or conditions out of range.
        """
        condition = self._task.prior.condition
        totals, levels = np.zeros(4, np.float64), ()  # nats, examples, tokens, values
        conditions: list[Tree] = []
        for positions, batch in over_split(self._experiment, self._mesh):
            levels = self._task.levels_of({k: a.shape[1:] for k, a in batch.items()})
            put = put_batch({**batch, "eval_position": positions}, self._mesh)
            with jax.set_mesh(self._mesh):
                sums = self._sum(params, self._frozen, put)
            totals += [float(value) for value in sums]
            if condition is not None and sum(map(_count, conditions)) < SAMPLES:
                conditions.append(jax.device_get(self._cond(put)))  # of all hosts' rows
        nats, count, tokens, values = totals.tolist()
        check_not_empty(int(count), self._experiment)
        with jax.set_mesh(self._mesh):
            cond = jax.tree.map(first_samples, *conditions) if conditions else None
            samples, lengths = self._sample(params, self._frozen, cond, levels=levels)
            samples, lengths = np.asarray(samples), np.asarray(lengths)
        nats = nats / count
        if self._task.ends:
            tokens, values = tokens / count, values / count * samples.shape[-1]
            numbers = {"nats_per_token": nats / tokens, "nats_per_clip": nats}
        else:
            tokens, values = self._task.network(levels).order.length, np.prod(samples.shape[1:])
            numbers = {"nats_per_token": nats / tokens}
        numbers["bits_per_dim"] = nats / np.log(2.0) / float(values)
        return Evaluation(numbers, self._gallery(samples, lengths))

    def _gallery(self, samples: np.ndarray, lengths: np.ndarray) -> Gallery:
        specs = self._task.tokenizer.inputs or {}  # of a set of tokens, too
        specs = {**specs, **self._experiment.data.example_spec()}
        spec = specs.get(self._task.inputs)
        if spec is None or spec.shown_as != "audio":
            return Gallery({"samples": samples}, columns=COLUMNS)
        sounds = [x[: max(1, n)] for x, n in zip(samples, lengths.tolist(), strict=True)]
        return Gallery({"samples": sounds[:SOUNDS]}, spec.shown_as, spec.rate)

    def _batch_sum(self, params: Tree, frozen: Tree, batch: Batch) -> tuple[jax.Array, ...]:
        """Of the examples that are not padding: -log p in nats, how many these are and, where clips
        end, of how many tokens and samples.
        """
        rngs = {"mask": make_key(0)}
        nats, weights = self._task.objective(params, frozen, batch, rngs, batch["eval_position"])
        mask = batch["mask"]

        def total(values: jax.Array) -> jax.Array:
            return jnp.sum(jnp.where(mask, values, 0))

        length = batch[LENGTH] if self._task.ends else jnp.zeros_like(mask, jnp.int32)  # [B]
        return total(nats.sum(axis=1)), jnp.sum(mask), total(weights.sum(axis=1)), total(length)

    def _draw(
        self, params: Tree, frozen: Tree, cond: Tree | None, *, levels: tuple[Level, ...]
    ) -> tuple[jax.Array, jax.Array]:
        keys = jax.vmap(lambda i: jax.random.fold_in(make_key(0), i))(jnp.arange(SAMPLES))
        plain = {"sampling": TokenSampling(), "guidance": Guidance()}
        drawn = self._task.draw(params, keys, cond, levels, **plain)
        return self._task.decode_drawn(frozen, drawn)
