"""The mesh around an operation: which of its axes split rows, and work done by each device.

The partitioner splits most programs by itself. It does not split a loop over blocks of rows: it
gathers the rows on every device first. Such an operation takes the mesh that `jax.set_mesh` put
around its tracing and runs on every device's own rows.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, PartitionSpec

from vqjax.types import BATCH_AXES

Spec = PartitionSpec


def _free_axes() -> dict[str, int]:
    """{axis: size} of the ambient mesh, without axes that a surrounding `shard_map` has taken."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return {}
    kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
    return {name: mesh.shape[name] for name, kind in kinds if kind == AxisType.Auto}


def row_axes(rows: int) -> tuple[str, ...]:
    """The axes over which `rows` of a batch are split evenly; () where there are none."""
    free = _free_axes()
    axes = tuple(axis for axis in BATCH_AXES if free.get(axis, 1) > 1)
    return () if rows % math.prod(free[axis] for axis in axes) else axes


def keep_rows(x: jax.Array) -> jax.Array:
    """x [B, ...], split by rows as the batch is; as it was where B does not divide.

    Where parameters are sharded too, the partitioner may choose to shard activations by channels
    and to gather them for every layer. With this constraint it gathers the layer's parameters.
    """
    axes = row_axes(x.shape[0])
    if not axes:
        return x
    others = (Spec.UNCONSTRAINED,) * (x.ndim - 1)
    return jax.lax.with_sharding_constraint(x, Spec(axes, *others))


def axis_size(axis: str) -> int:
    """Size of an axis of the ambient mesh; 1 where it has none of that name."""
    return _free_axes().get(axis, 1)


def on_every_device(function: Callable, in_specs: Any, out_specs: Any) -> Callable:
    """`function` of each device's own part of the arguments, over the ambient mesh.

    Axes that a spec does not name hold copies. What `out_specs` calls a copy has to be one: the
    check is off, because it refuses loops whose first carry is a constant.
    """
    return jax.shard_map(
        function,
        in_specs=in_specs,
        out_specs=out_specs,
        axis_names=set(_free_axes()),
        check_vma=False,
    )
