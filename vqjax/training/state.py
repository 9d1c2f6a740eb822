"""`TrainState`: all that a run is between two steps, as one tree of arrays."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from vqjax.ops.numerics import make_key
from vqjax.training.experiment import Experiment
from vqjax.training.optim import transformation
from vqjax.types import ArraySpec, Tree


@flax.struct.dataclass
class TrainState:
    """Everything but the data's place, which follows from `step`.

    Attributes:
        step: int32[], finished updates.
        rng: the run's key; step n uses fold_in(rng, n).
        params: {player: tree}.
        collections: {player: {collection: tree}}.
        optimizers: {player: optax state}.
        ema: averaged parameters {player: tree}, or {} where the experiment keeps none.
        nonfinite: int32[], steps in a row that were left out for infinite or NaN gradients.
    """

    step: jax.Array
    rng: jax.Array
    params: Tree
    collections: Tree
    optimizers: Tree
    ema: Tree
    nonfinite: jax.Array


def create_state(experiment: Experiment, inputs: dict[str, ArraySpec]) -> TrainState:
    """Step 0. Pure: call it under `jit` with output shardings, or under `eval_shape`."""
    params_key, run_key = jax.random.split(make_key(experiment.seed))
    task = experiment.network_task()
    params, collections = task.init(params_key, example_batch(inputs))
    averaged = task.averaged if experiment.ema_decay is not None else ()
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        rng=run_key,
        params=params,
        collections=collections,
        optimizers={
            player: transformation(experiment.optimizers[player]).init(params[player])
            for player in task.players
        },
        # A copy: one buffer must not be donated under two names.
        ema={player: jax.tree.map(jnp.array, params[player]) for player in averaged},
        nonfinite=jnp.zeros((), jnp.int32),
    )


def example_batch(inputs: dict[str, ArraySpec], size: int = 1) -> dict[str, Any]:
    """A batch of zeros that travels to the device: no `example_id`, which stays on the host."""
    return {
        name: jnp.zeros((size, *spec.shape), spec.dtype)
        for name, spec in inputs.items()
        if name not in HOST_ONLY
    }


HOST_ONLY = ("example_id",)  # int64: JAX's default would cut it to int32 in silence
