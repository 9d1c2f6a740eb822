"""The programs of a run's steps, traced for a mesh, to be compiled."""

from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from vqjax.training.experiment import Experiment
from vqjax.training.restore import state_target
from vqjax.training.sharding import batch_sharding
from vqjax.training.state import MOST_BATCH, check_size, example_batch, settings_named
from vqjax.training.step import make_train_step, patterns
from vqjax.types import ArraySpec, Tree


def batch_target(inputs: Mapping[str, ArraySpec], batch_size: int, mesh: Mesh) -> Tree:
    """Shapes, dtypes and shardings of a global batch on the mesh.

    Raises:
        UsageError: no machine could hold it.
    """
    with settings_named():
        shapes = jax.eval_shape(lambda: example_batch(inputs, batch_size))
    check_size(f"batch_size={batch_size}", shapes, MOST_BATCH)
    return jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=batch_sharding(mesh)), shapes
    )


def trace_programs(
    experiment: Experiment,
    inputs: Mapping[str, ArraySpec],
    frozen: Tree,
    mesh: Mesh,
    first: int = 0,
) -> dict[tuple[str, ...], Any]:
    """{active: traced step} of every program that steps first..total_steps-1 need, in the order in
    which they are first needed. Nothing is computed, and no device of the mesh need be present.

    Args:
        inputs: `ArraySpec` of one example.
        frozen: arrays, or their shapes with shardings on the mesh.
        mesh: of devices or of descriptions of them.
        first: step.

    Raises:
        UsageError: no step can be built with these settings.
    """
    train_step = make_train_step(experiment, mesh)
    state = state_target(experiment, inputs, mesh)
    batch = batch_target(inputs, experiment.batch_size, mesh)
    # Layers that work on each device's own rows need the mesh while they are traced.
    with settings_named(), jax.set_mesh(mesh):
        return {
            active: train_step.trace(state, frozen, batch, active=active)
            for active in patterns(experiment, first, experiment.total_steps)
        }
