"""`TrainState`: the state of a run between two steps, as one tree of arrays."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from vqjax.ops.numerics import make_key
from vqjax.training.experiment import Experiment
from vqjax.training.optim import transformation
from vqjax.types import ArraySpec, Tree, UsageError, VqjaxError

MOST_STATE = 1 << 50  # bytes
MOST_BATCH = 1 << 44  # bytes, of all devices
_REASON = 200  # characters of a network's error


@flax.struct.dataclass
class TrainState:
    """Everything but the position in the data, which follows from `step`.

    Attributes:
        step: int32[], finished updates.
        rng: the run's key; step n uses fold_in(rng, n).
        params: {player: tree}.
        collections: {player: {collection: tree}}.
        optimizers: {player: optax state}.
        ema: averaged parameters {player: tree}, or {} where the experiment keeps none.
        nonfinite: int32[], steps in a row that were skipped for infinite or NaN gradients.
    """

    step: jax.Array
    rng: jax.Array
    params: Tree
    collections: Tree
    optimizers: Tree
    ema: Tree
    nonfinite: jax.Array


@contextlib.contextmanager
def settings_named() -> Iterator[None]:
    """Within `with`, all errors of networks that cannot be built with these settings are raised as
    UsageError. For work on shapes.
    """
    try:
        yield
    except (VqjaxError, jax.errors.JaxRuntimeError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:_REASON]
        kind = type(error).__name__
        raise UsageError(
            f"no network can be built of these settings: {kind}: {reason} (--debug: where)"
        ) from error


def state_shapes(experiment: Experiment, inputs: dict[str, ArraySpec]) -> TrainState:
    """Shapes and dtypes of `create_state`.

    Raises:
        UsageError: no network can be built of the settings.
    """
    with settings_named():
        shapes = jax.eval_shape(lambda: create_state(experiment, inputs))
    check_size("the networks of these settings", shapes, MOST_STATE)
    return shapes


def check_size(what: str, shapes: Tree, most: int) -> None:
    """Refuses, with UsageError, arrays of more than `most` bytes, of which some crash compilers."""
    leaves = jax.tree.leaves(shapes)
    size = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
    if size > most:
        raise UsageError(f"{what}: {float(size):.3g} bytes, more than any machine has")


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
    """A batch of zeros as on the device: without what stays on the host."""
    return {
        name: jnp.zeros((size, *spec.shape), spec.dtype)
        for name, spec in inputs.items()
        if not is_host_only(name)
    }


def is_host_only(name: str) -> bool:
    """Whether an array of a batch stays on the host: "example_id", or that of a stream of paired
    examples, "STREAM.example_id". They are int64, which JAX's default would silently cut to int32.
    """
    return name.rpartition(".")[2] == "example_id"
