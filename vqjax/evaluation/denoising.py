"""How well a denoiser tells data from noise, by how much noise there is, and samples of it."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vqjax.evaluation.base import Evaluation, check_not_empty, over_split
from vqjax.evaluation.prior import COLUMNS, SAMPLES, SOUNDS, first_samples
from vqjax.media.gallery import Gallery
from vqjax.ops.numerics import make_key
from vqjax.tasks.diffusion import DENOISING
from vqjax.training.experiment import Experiment
from vqjax.training.sharding import put_batch, replicated
from vqjax.types import Batch, Tree

QUARTERS = 4  # of the times, of each of which every example has one
TIMES = 16  # altogether, at equal distances


class DenoisingEvaluator:
    """`denoising`: the mean of the task's error over the eval split, t uniform in [0, 1];
    `denoising/q1` to `denoising/q4` the same by quarters of t, q1 nearest to the data. The whole
    number says little of samples, the quarters say where learning goes on.

    Of `TIMES` times at equal distances an example has four, one of each quarter, by its position in
    the split, as has its noise: no number depends on the batch size. The gallery has `SAMPLES`
    samples, by the task's own solver, under the conditions of the first examples of the split.
    """

    def __init__(self, experiment: Experiment, mesh: Mesh, frozen: Tree) -> None:
        self._experiment, self._mesh, self._frozen = experiment, mesh, frozen
        self._task = experiment.network_task()
        sharding = replicated(mesh)
        self._sum = jax.jit(self._batch_sum, out_shardings=sharding)
        self._cond = jax.jit(self._task.cond_of, out_shardings=sharding)
        self._draw = jax.jit(self._drawn, static_argnames="shape", out_shardings=sharding)

    def __call__(self, params: Tree, collections: Tree) -> Evaluation:
        """Evaluates once over the split.

        Raises:
            DataError: the eval split is empty.
        """
        totals, count = np.zeros(QUARTERS, np.float64), 0
        conditions: list[Tree] = []
        shape, shown = (), 0
        for positions, batch in over_split(self._experiment, self._mesh):
            shape = tuple(batch[self._task.inputs].shape[1:])
            put = put_batch({**batch, "eval_position": positions}, self._mesh)
            with jax.set_mesh(self._mesh):
                sums, examples = self._sum(params, collections, self._frozen, put)
            totals += np.asarray(sums, np.float64)
            count += int(examples)
            if shown < SAMPLES:
                cond = jax.device_get(self._cond(put, self._frozen))  # of all hosts' rows
                conditions += [] if cond is None else [cond]
                shown += len(put[self._task.inputs])
        check_not_empty(count, self._experiment)
        means = totals / count
        numbers = {DENOISING: float(means.mean())}
        numbers |= {f"{DENOISING}/q{i + 1}": float(mean) for i, mean in enumerate(means)}
        cond = jax.tree.map(first_samples, *conditions) if conditions else None
        with jax.set_mesh(self._mesh):
            samples = self._draw(params, collections, self._frozen, cond, shape=shape)
        return Evaluation(numbers, self._gallery(np.asarray(samples)))

    def _gallery(self, samples: np.ndarray) -> Gallery:
        spec = self._experiment.data.example_spec()[self._task.inputs]
        if spec.shown_as == "audio":
            return Gallery({"samples": samples[:SOUNDS]}, spec.shown_as, spec.rate)
        return Gallery({"samples": samples}, columns=COLUMNS)

    def _batch_sum(
        self, params: Tree, collections: Tree, frozen: Tree, batch: Batch
    ) -> tuple[jax.Array, jax.Array]:
        """Sums of errors by quarter, [QUARTERS], of the examples that are not padding, and how many
        these are.
        """
        positions, mask = batch["eval_position"], batch["mask"]
        x0, cond = self._task.data_of(collections, frozen, batch), self._task.cond_of(batch, frozen)
        keys = jax.vmap(lambda i: jax.random.fold_in(make_key(0), i))(positions)
        per_quarter = TIMES // QUARTERS

        def error(quarter: jax.Array) -> jax.Array:
            own = jax.vmap(lambda key: jax.random.fold_in(key, quarter))(keys)
            draw = jax.vmap(lambda key: jax.random.normal(key, x0.shape[1:], jnp.float32))
            t = (quarter * per_quarter + positions % per_quarter + 0.5) / TIMES  # [B]
            errors = self._task.errors(params, x0, draw(own), t.astype(jnp.float32), cond)
            return jnp.sum(jnp.where(mask, errors[DENOISING], 0.0))

        return jax.lax.map(error, jnp.arange(QUARTERS)), jnp.sum(mask)

    def _drawn(
        self, params: Tree, collections: Tree, frozen: Tree, cond: Tree | None, *, shape: tuple
    ) -> jax.Array:
        keys = jax.vmap(lambda i: jax.random.fold_in(make_key(0), i))(jnp.arange(SAMPLES))
        return self._task.draw(params, collections, frozen, keys, cond, shape)
