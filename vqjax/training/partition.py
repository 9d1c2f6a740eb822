"""How each array of the state is sharded, by the array's path.

Everything that belongs to a parameter (gradient, optimizer state, average) has its shape and a path
that ends like its path, so the same rule shards it; a codebook's counts and sums likewise.
"""

import math
import re

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vqjax.types import FSDP_AXIS, TENSOR_AXIS, Tree

WHOLE_BELOW = 4096  # elements: the memory of smaller arrays is not worth the collectives

# (path, the axis that "tensor" shards, counted from the end). A layer with many output channels is
# sharded along them, and the next one along the same as its inputs: one all-reduce for both.
TENSOR_RULES = (
    (r"(attention|cross)/(query|key|value)/kernel$", -1),
    (r"(attention|cross)/out/kernel$", -2),
    (r"mlp/(gate|up)/kernel$", -1),
    (r"mlp/down/kernel$", -2),
    (r"head/kernel$", -1),
    (r"quantizer/.*\b(codes|sums)$", -2),  # as `vqjax.ops.nearest` looks through them
)
# Layers stacked for a scan: their first axis is scanned and stays whole.
STACKED = re.compile(r"/blocks/block/")


def spec_of(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """How an array is sharded.

    Args:
        path: in the state, "params/prior/.../kernel".
        shape: of the whole array.
        mesh: of which the axes "fsdp" and "tensor" are used.

    Returns:
        "tensor" on the axis that its rule names, "fsdp" on the first other axis that it divides,
        whose shards are contiguous in memory; nothing where an array is small, has no such axis (as
        an optimizer's sums over rows) or where none divides evenly.
    """
    names: list[str | None] = [None] * len(shape)
    tensor, fsdp = mesh.shape[TENSOR_AXIS], mesh.shape[FSDP_AXIS]
    if math.prod(shape) < WHOLE_BELOW:
        return PartitionSpec()
    if tensor > 1:
        axis = next((a for rule, a in TENSOR_RULES if re.search(rule, path)), None)
        if axis is not None and len(shape) >= -axis and shape[axis] % tensor == 0:
            names[axis] = TENSOR_AXIS
    if fsdp > 1:
        first = 1 if STACKED.search(path) else 0
        free = [a for a in range(first, len(shape)) if names[a] is None and shape[a] % fsdp == 0]
        if free:
            names[free[0]] = FSDP_AXIS
    return PartitionSpec(*names)


def shardings(shapes: Tree, mesh: Mesh) -> Tree:
    """The sharding of every array of a state, or of any part of one, given its shapes."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, spec_of(path_of(path), leaf.shape, mesh)), shapes
    )


def replicated_arrays(shapes: Tree, mesh: Mesh) -> dict[str, tuple[int, ...]]:
    """{path: shape} of the arrays of which every device has a whole copy."""
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    arrays = {path_of(path): leaf.shape for path, leaf in leaves}
    return {p: s for p, s in arrays.items() if not any(spec_of(p, s, mesh))}


def path_of(path: tuple) -> str:
    """ "params/tokenizer/encoder/..." of a key path."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
