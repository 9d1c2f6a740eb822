"""How well a prior predicts the tokens of the eval split, and samples of it."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vqjax.evaluation.base import Evaluation, check_not_empty, over_split
from vqjax.media.gallery import Gallery
from vqjax.ops.numerics import make_key
from vqjax.sampling import Guidance, TokenSampling
from vqjax.training.experiment import Experiment
from vqjax.training.sharding import put_batch, replicated
from vqjax.types import Batch, Level, Tree

SAMPLES = 64  # in the gallery
COLUMNS = 8


class PriorEvaluator:
    """`nats_per_token`: mean of -log p over all tokens of the eval split, or of a bound on it
    (`Prior.is_bound`); `bits_per_dim`: the same per value of an example. The gallery has `SAMPLES`
    samples; of a conditional prior under the conditions of the first examples of the split.
    """

    def __init__(self, experiment: Experiment, mesh: Mesh, frozen: Tree) -> None:
        self._experiment, self._mesh = experiment, mesh
        self._task = experiment.network_task()
        self._frozen = frozen
        sharding = replicated(mesh)
        self._sum = jax.jit(self._batch_sum, out_shardings=sharding)
        self._sample = jax.jit(self._draw, static_argnames="levels", out_shardings=sharding)

    def __call__(self, params: Tree, collections: Tree) -> Evaluation:
        """Evaluates once over the split.

        Raises:
            DataError: the eval split is empty, or holds tokens or conditions out of range.
        """
        condition = self._task.prior.condition
        total, count, levels = np.zeros((), np.float64), 0, ()
        conditions: list[np.ndarray] = []
        for positions, batch in over_split(self._experiment, self._mesh):
            levels = self._task.levels_of({k: a.shape[1:] for k, a in batch.items()})
            put = put_batch({**batch, "eval_position": positions}, self._mesh)
            with jax.set_mesh(self._mesh):
                nats, examples = self._sum(params, self._frozen, put)
            total, count = total + float(nats), count + int(examples)
            if condition is not None and sum(map(len, conditions)) < SAMPLES:
                conditions.append(np.asarray(jax.device_get(put[condition.batch_key])))
        check_not_empty(count, self._experiment)
        with jax.set_mesh(self._mesh):
            cond = None
            if conditions:
                cond = np.resize(np.concatenate(conditions), (SAMPLES, *conditions[0].shape[1:]))
            samples = np.asarray(self._sample(params, self._frozen, cond, levels=levels))
        nats = float(total) / count
        numbers = {
            "nats_per_token": nats / self._task.network(levels).order.length,
            "bits_per_dim": nats / np.log(2.0) / float(np.prod(samples.shape[1:])),
        }
        return Evaluation(numbers, Gallery({"samples": samples}, columns=COLUMNS))

    def _batch_sum(self, params: Tree, frozen: Tree, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """-log p of the examples that are not padding, in nats, and how many these are."""
        rngs = {"mask": make_key(0)}
        nats, _ = self._task.objective(params, frozen, batch, rngs, batch["eval_position"])
        mask = batch["mask"]
        return jnp.sum(jnp.where(mask, nats.sum(axis=1), 0.0)), jnp.sum(mask)

    def _draw(
        self, params: Tree, frozen: Tree, cond: jax.Array | None, *, levels: tuple[Level, ...]
    ) -> jax.Array:
        keys = jax.vmap(lambda i: jax.random.fold_in(make_key(0), i))(jnp.arange(SAMPLES))
        plain = {"sampling": TokenSampling(), "guidance": Guidance()}
        indices = self._task.sample_tokens(params, keys, cond, levels, **plain)
        return self._task.decode(frozen, indices)
