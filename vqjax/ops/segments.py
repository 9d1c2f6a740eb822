"""What vectors that share a code come to: counts, sums, and the gradient of having picked it.

On a CPU rows are added one by one where they belong. On TPUs and GPUs, where that is slow or in no
fixed order, sums are products with one-hot rows, for a block of codes at a time.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vqjax.ops import mesh_context
from vqjax.ops.nearest import block_of_codes
from vqjax.ops.numerics import at_least_float32


def count(indices: jax.Array, size: int) -> jax.Array:
    """How often each index in [0, size) occurs: float32[size], exact up to 2^24 each."""

    def add(indices):
        return jnp.zeros(size, jnp.float32).at[indices].add(1.0)

    def compare(indices):
        def block(places):  # fused: nothing of size N x C is written
            return jnp.sum(places[:, None] == indices[None, :], axis=-1, dtype=jnp.float32)

        return _over_blocks(block, indices.shape[0], size)

    def local(indices):
        return lax.platform_dependent(indices, cpu=add, default=compare)

    return _over_rows(local, indices.reshape(-1))


def sum_by_code(z: jax.Array, indices: jax.Array, size: int) -> jax.Array:
    """Sum of the rows of `z` [N, D] that share an index (int32[N]): [size, D], at least float32."""

    def add(z, indices):
        return jax.ops.segment_sum(z, indices, num_segments=size)

    def multiply(z, indices):
        def block(places):
            picked = (places[:, None] == indices[None, :]).astype(z.dtype)  # [C, N]
            return jnp.matmul(picked, z, precision=lax.Precision.HIGHEST)  # [C, D]

        return _over_blocks(block, indices.shape[0], size)

    def local(z, indices):
        return lax.platform_dependent(z, indices, cpu=add, default=multiply)

    return _over_rows(local, at_least_float32(z), indices)


@jax.custom_vjp
def take(codes: jax.Array, indices: jax.Array) -> jax.Array:
    """codes[indices]: [K, D] and int32[...] -> [..., D]; gradients come back by `sum_by_code`."""
    return codes[indices]


def _take_forward(codes, indices):
    return codes[indices], (indices, jnp.zeros((codes.shape[0], 0), codes.dtype))


def _take_backward(kept, gradient):
    indices, like = kept
    flat = gradient.reshape(-1, gradient.shape[-1])
    summed = sum_by_code(flat, indices.reshape(-1), like.shape[0]).astype(like.dtype)
    return summed, np.zeros(indices.shape, jax.dtypes.float0)


take.defvjp(_take_forward, _take_backward)


def _over_rows(function, *arrays):
    """The sum of `function` over every device's own rows; everywhere the same."""
    axes = mesh_context.row_axes(arrays[0].shape[0])
    if not axes:
        return function(*arrays)

    def summed(*arrays):
        return lax.psum(function(*arrays), axes)

    in_specs = tuple(mesh_context.Spec(axes) for _ in arrays)
    return mesh_context.on_every_device(summed, in_specs, mesh_context.Spec())(*arrays)


def _over_blocks(function, rows: int, size: int) -> jax.Array:
    """function(places int32[C]) -> [C, ...] of blocks of [0, size), put together: [size, ...]."""
    columns = block_of_codes(rows, size)
    blocks = -(-size // columns)
    places = jnp.arange(blocks * columns, dtype=jnp.int32).reshape(blocks, columns)
    out = lax.map(function, places)  # [blocks, C, ...]
    return out.reshape(blocks * columns, *out.shape[2:])[:size]
