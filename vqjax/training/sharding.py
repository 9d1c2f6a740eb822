"""Shardings of batches and whole copies on the mesh.

`jit` over arrays with a `NamedSharding` is the only way to run on many devices: models name no axis
and call no collective; the batch axis is global.
"""

import math

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vqjax.training.state import is_host_only
from vqjax.types import BATCH_AXES, Batch, Tree, UsageError


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The batch axis split over "data" and "fsdp"."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def check_batch_size(name: str, size: int, accumulate: int, mesh: Mesh) -> None:
    """Refuses a batch that does not divide over the devices and microbatches."""
    unit = math.prod(mesh.shape[axis] for axis in BATCH_AXES) * accumulate
    if size % unit:
        low = size // unit * unit
        near = f"{low} or {low + unit}" if low else f"{unit}"
        parts = f" x accumulate={accumulate}" if accumulate > 1 else ""
        raise UsageError(
            f"{name}={size} does not divide over {unit // accumulate} devices{parts}: use {near}"
        )


def local_rows(batch_size: int, mesh: Mesh) -> np.ndarray:
    """This host's rows of a global batch, in increasing order, each once."""
    index = batch_sharding(mesh).addressable_devices_indices_map((batch_size,))
    rows = [np.arange(batch_size)[slices] for slices in index.values()]
    return np.unique(np.concatenate(rows))


def put_batch(batch: Batch, mesh: Mesh) -> Batch:
    """This host's rows -> global arrays split over the mesh, without what stays on it."""
    sharding = batch_sharding(mesh)
    with jax.transfer_guard("allow"):  # with several processes JAX calls it an implicit transfer
        return {
            name: jax.make_array_from_process_local_data(sharding, np.asarray(value))
            for name, value in batch.items()
            if not is_host_only(name)
        }


def replicate(tree: Tree, mesh: Mesh) -> Tree:
    """Host values -> a whole copy on every device."""
    return jax.device_put(tree, replicated(mesh))
