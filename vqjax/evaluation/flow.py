"""How likely held-out examples are under the flow of a denoiser."""

import jax
import jax.numpy as jnp
import tqdm
from jax.sharding import Mesh

from vqjax import arguments
from vqjax.evaluation.base import check_not_empty, over_split
from vqjax.ops.numerics import make_key
from vqjax.sampling import Heun
from vqjax.tasks.diffusion import DiffusionTask
from vqjax.training.experiment import Experiment
from vqjax.training.sharding import put_batch, replicated
from vqjax.types import Batch, Tree, UsageError

STEPS = 50  # of Heun


class FlowEvaluator:
    """`flow_nats`: the mean of `DiffusionTask.flow_nats` over the first examples of the eval split,
    by `STEPS` steps and one probe each, both a function of the example's position alone.
    """

    def __init__(self, experiment: Experiment, mesh: Mesh, count: int) -> None:
        """Touches neither data nor devices.

        Args:
            experiment, mesh: see `Run.evaluator`.
            count: of examples, at least 1.

        Raises:
            UsageError: the run is no denoiser, or its path has no velocities.
        """
        self._task = experiment.network_task()
        if not isinstance(self._task, DiffusionTask):
            raise UsageError("flow_nats is of denoisers: this run has no flow")
        Heun().check(self._task.path)
        self._count = arguments.whole("flow_nats", count, 1, arguments.MOST_COUNT)
        self._experiment, self._mesh = experiment, mesh
        self._sum = jax.jit(self._batch_sum, out_shardings=replicated(mesh))

    def __call__(self, params: Tree, collections: Tree, frozen: Tree) -> dict[str, float]:
        """Evaluates once.

        Raises:
            DataError: the eval split is empty.
        """
        total, count = 0.0, 0
        bar = {"desc": "flow_nats", "unit": "example", "delay": 2.0, "disable": None}
        with tqdm.tqdm(total=self._count, leave=False, **bar) as progress:
            for positions, batch in over_split(self._experiment, self._mesh):
                put = put_batch({**batch, "eval_position": positions}, self._mesh)
                with jax.set_mesh(self._mesh):
                    nats, examples = self._sum(params, collections, frozen, put)
                total, count = total + float(nats), count + int(examples)
                progress.update(int(examples))
                if count >= self._count:
                    break
        check_not_empty(count, self._experiment)
        return {"flow_nats": total / count}

    def _batch_sum(
        self, params: Tree, collections: Tree, frozen: Tree, batch: Batch
    ) -> tuple[jax.Array, jax.Array]:
        """The sum over the examples that count, and how many these are."""
        positions = batch["eval_position"]
        keys = jax.vmap(lambda i: jax.random.fold_in(make_key(0), i))(positions)
        nats = self._task.flow_nats(params, collections, frozen, batch, keys, steps=STEPS)
        counts = batch["mask"] & (positions < self._count)
        return jnp.sum(jnp.where(counts, nats, 0.0)), jnp.sum(counts)
