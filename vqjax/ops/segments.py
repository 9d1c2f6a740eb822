"""Vectors that share a code: their counts, their sums, and the gradient of a lookup.

On a CPU rows are added one by one where they belong. On TPUs and GPUs, where that is slow or in no
fixed order, sums are products with one-hot rows, for a block of k of the K codes at a time.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vqjax.ops import mesh_context
from vqjax.ops.nearest import block_of_codes
from vqjax.ops.numerics import at_least_float32


def count(indices: jax.Array, size: int) -> jax.Array:
    """How often each index in [0, K) occurs, K = size: float32[K], exact up to 2^24 each."""

    def add(indices):
        return jnp.zeros(size, jnp.float32).at[indices].add(1.0)  # [K]

    def compare(indices):
        def block(code_ids):  # [k]
            picked = code_ids[:, None] == indices[None, :]  # [k, N], fused: never written
            return jnp.sum(picked, axis=-1, dtype=jnp.float32)  # [k]

        return _over_blocks(block, indices.shape[0], size)

    def local(indices):
        return lax.platform_dependent(indices, cpu=add, default=compare)

    return _over_rows(local, indices.reshape(-1))  # [K]


def sum_by_code(z: jax.Array, indices: jax.Array, size: int) -> jax.Array:
    """Sums of the rows of z [N, D] by index (int32[N]): [K, D], K = size, in at least float32."""

    def add(z, indices):
        return jax.ops.segment_sum(z, indices, num_segments=size)  # [K, D]

    def multiply(z, indices):
        def block(code_ids):  # [k]
            picked = (code_ids[:, None] == indices[None, :]).astype(z.dtype)  # [k, N]
            return jnp.matmul(picked, z, precision=lax.Precision.HIGHEST)  # [k, D]

        return _over_blocks(block, indices.shape[0], size)

    def local(z, indices):
        return lax.platform_dependent(z, indices, cpu=add, default=multiply)

    return _over_rows(local, at_least_float32(z), indices)


@jax.custom_vjp
def take(codes: jax.Array, indices: jax.Array) -> jax.Array:
    """codes[indices]: [K, D] and int32[...] -> [..., D]; gradients come back by `sum_by_code`."""
    return codes[indices]


def _take_forward(codes, indices):
    picked_codes = codes[indices]  # [..., D]
    like = jnp.zeros((codes.shape[0], 0), codes.dtype)  # [K, 0], for its size and dtype
    return picked_codes, (indices, like)


def _take_backward(residuals, gradient):
    indices, like = residuals
    flat = gradient.reshape(-1, gradient.shape[-1])  # [N, D]
    summed = sum_by_code(flat, indices.reshape(-1), like.shape[0])  # [K, D]
    return summed.astype(like.dtype), np.zeros(indices.shape, jax.dtypes.float0)


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
    """function(code_ids int32[k]) -> [k, ...], over blocks of [0, K), K = size: [K, ...]."""
    columns = block_of_codes(rows, size)  # k
    blocks = -(-size // columns)
    code_ids = jnp.arange(blocks * columns, dtype=jnp.int32).reshape(blocks, columns)  # [blocks, k]
    out = lax.map(function, code_ids)  # [blocks, k, ...]
    return out.reshape(blocks * columns, *out.shape[2:])[:size]  # [K, ...]
