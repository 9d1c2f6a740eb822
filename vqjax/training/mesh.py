"""`MeshShape`: how a run's devices are laid out; `make_mesh`: the mesh of it.

Parameters are replicated along "data" and sharded along "fsdp" and "tensor"
(`vqjax.training.partition`). The batch is split over "data" and "fsdp".
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from vqjax.config.annotations import check_fields
from vqjax.training.platform import devices_at_hand
from vqjax.types import MESH_AXES, UsageError

__all__ = ["MeshShape"]


@dataclasses.dataclass(frozen=True)
class MeshShape:
    """Devices along each axis of the mesh. A run can resume in any other shape.

    Attributes:
        data: replicas, groups of devices that each hold all parameters; None: as many as fit.
        fsdp: devices over which a replica shards parameters, averages and optimizer states (ZeRO,
            arXiv 1910.02054); each has rows of its own.
        tensor: devices that share the work on the same rows in wide layers of transformers
            (arXiv 1909.08053).
        slices: TPU slices, or groups of hosts, connected by a slower network; only "data" extends
            across it.
    """

    data: int | None = None
    fsdp: int = 1
    tensor: int = 1
    slices: int = 1

    def __post_init__(self) -> None:
        check_fields(self)

    def sizes(self, devices: int) -> tuple[int, int, int]:
        """Sizes of the axes "data", "fsdp" and "tensor" for a number of devices.

        Raises:
            UsageError: they do not fit.
        """
        for name, value in dataclasses.asdict(self).items():
            if value is not None and value < 1:
                raise UsageError(f"mesh.{name}={value}: at least 1 is needed")
        pieces = self.fsdp * self.tensor
        data = self.data or max(devices // pieces, 1)
        if data * pieces != devices:
            shape = f"data={self.data}, fsdp={self.fsdp}, tensor={self.tensor}"
            raise UsageError(f"mesh: {shape} do not multiply to the {devices} devices at hand")
        if data % self.slices:
            raise UsageError(f"mesh: slices={self.slices} do not divide data={data}")
        return data, self.fsdp, self.tensor


def make_mesh(devices: Sequence[jax.Device] | None = None, shape: MeshShape | None = None) -> Mesh:
    """The devices (None: all) in the given shape (None: all on the axis "data").

    Axes are Auto: the partitioner, not the type of each array, decides what moves where.

    Raises:
        UsageError: the shape does not fit the devices.
    """
    devices = list(devices or devices_at_hand())
    shape = shape or MeshShape()
    sizes = shape.sizes(len(devices))
    auto = (AxisType.Auto,) * len(MESH_AXES)
    if shape.slices == 1:
        return jax.make_mesh(sizes, MESH_AXES, axis_types=auto, devices=devices)
    return Mesh(_across_slices(devices, sizes, shape.slices), MESH_AXES, axis_types=auto)


def _across_slices(
    devices: list[jax.Device], sizes: tuple[int, int, int], slices: int
) -> np.ndarray:
    """Devices in which the slices follow each other along "data"."""
    groups = {getattr(d, "slice_index", d.process_index) for d in devices}
    if len(groups) % slices:
        raise UsageError(f"mesh.slices={slices}: the devices lie in {len(groups)} groups")
    per_slice = (sizes[0] // slices, *sizes[1:])
    if hasattr(devices[0], "slice_index") and len(groups) == slices:
        return mesh_utils.create_hybrid_device_mesh(per_slice, (slices, 1, 1), devices)
    # Hosts of GPUs, in the order of their processes.
    ordered = sorted(devices, key=lambda d: (d.process_index, d.id))
    return np.array(ordered).reshape(sizes)
