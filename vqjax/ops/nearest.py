"""The nearest code of every vector, with no array of vectors x codes in memory.

    argmin_k |z - e_k|^2 = argmin_k |e_k|^2 / 2 - z . e_k  (arXiv 1711.00937, eq. 1)

Scores are computed in at least float32 at the highest matmul precision whatever the inputs are:
bfloat16 and TF32 products pick other codes. An offset that vectors and codes share says nothing
about distances, but its square would swallow their differences in a score: it is subtracted from
both first.

The best way differs by platform, and is chosen when a program is lowered for one. A TPU's compiler
fuses the product, the minimum and its index. A GPU's writes the scores down, so codes come in
blocks. A CPU is fastest when a block of scores stays in its cache, so rows come in blocks, too.

In a block are n of the N vectors and k of the K codes.
"""

import chex
import jax
import jax.numpy as jnp
from jax import lax

from vqjax.ops import mesh_context
from vqjax.types import TENSOR_AXIS

# A block of 512 x 1,024 scores is 2 MB: what the caches of two cores hold. From 256 x 512 to
# 1,024 x 512 the time is within 30 %.
ROWS, CODES = 512, 1024
LANES = 16  # blocks are multiples of the widest vector, and of what the product works on at once
# Scores in memory at a time where only codes come in blocks: 128 MB in float32.
SCORES = 2**25
FEWEST, MOST = 128, 8192  # codes in such a block
# Splitting a smaller codebook over devices saves less than exchanging the minima costs.
WORTH_SPLITTING = 4096
OFFSET_BITS = 11  # of the fraction


@jax.jit
def nearest(z: jax.Array, codes: jax.Array) -> jax.Array:
    """Index of the code nearest to each vector in Euclidean distance; ties go to the lowest.

    Nothing of size N x K is held. Under a mesh (`jax.set_mesh`) every device works on its own
    rows; a large codebook is split over the axis "tensor". Indices carry no gradient. A vector
    with NaN gets an index in range, too.

    Args:
        z: [N, D].
        codes: [K, D], K > 0.

    Returns:
        int32[N] in [0, K).
    """
    chex.assert_rank([z, codes], 2)
    chex.assert_equal_shape_suffix([z, codes], 1)
    dtype = jnp.promote_types(jnp.promote_types(z.dtype, codes.dtype), jnp.float32)
    z, codes = lax.stop_gradient((z.astype(dtype), codes.astype(dtype)))
    size = codes.shape[0]
    if size < 1:
        raise ValueError("codes of shape [0, D]: at least one code is needed")
    if not z.shape[0]:
        return jnp.zeros((0,), jnp.int32)
    rows, parts = mesh_context.row_axes(z.shape[0]), mesh_context.axis_size(TENSOR_AXIS)
    if parts > 1 and size >= WORTH_SPLITTING and not size % parts:
        every, codes_axis, function = rows or None, TENSOR_AXIS, _nearest_of_all_parts
    elif rows:
        every, codes_axis, function = rows, None, _nearest
    else:
        return _nearest(z, codes)
    in_specs = (mesh_context.Spec(every), mesh_context.Spec(codes_axis))
    return mesh_context.on_every_device(function, in_specs, mesh_context.Spec(every))(z, codes)


def _nearest(z: jax.Array, codes: jax.Array) -> jax.Array:
    centre = offset(codes)  # [D]
    codes = codes - centre[None, :]  # [K, D]
    return lax.platform_dependent(z, codes, centre, cpu=_on_cpu, tpu=_on_tpu, default=_on_gpu)


def offset(x: jax.Array) -> jax.Array:
    """What the vectors x [N, D] have in common, [D]: their mean in the channels where it is more
    than the deviation, else 0.

    Where it is less, subtracting it would gain no digit; and so outliers, such as dead codes, shift
    the other vectors only where most vectors are outliers. It is rounded to few digits: the
    difference to a number near it is exact, and ties of bfloat16 numbers stay ties.
    """
    mean, square = jnp.mean(x, axis=0), jnp.mean(x**2, axis=0)  # [D] each
    exponent = jnp.finfo(x.dtype).nexp
    mean = lax.reduce_precision(mean, exponent, OFFSET_BITS)
    return jnp.where(2.0 * mean**2 > square, mean, 0.0)


def _nearest_of_all_parts(z: jax.Array, part: jax.Array) -> jax.Array:
    """Of z [N, D], the same on all devices of the axis, to which `part` of the codes each has."""
    index = _nearest(z, part)  # [N], in [0, K / parts)
    # The winners' distances, recomputed in one way on every device: equal codes are equally far.
    distance = jnp.sum((z - part[index]) ** 2, axis=-1)  # [N]
    index += part.shape[0] * lax.axis_index(TENSOR_AXIS).astype(jnp.int32)  # [N], in [0, K)
    least = lax.pmin(distance, TENSOR_AXIS)  # [N]
    last = jnp.iinfo(jnp.int32).max
    index = lax.pmin(jnp.where(distance == least, index, last), TENSOR_AXIS)
    return jnp.where(index == last, 0, index)  # NaN equals nothing


def _on_tpu(z: jax.Array, codes: jax.Array, centre: jax.Array) -> jax.Array:
    """Of z [N, D]; of codes [K, D], `centre` [D] is subtracted already. So in the other ways."""
    z = z - centre[None, :]
    dot = jnp.matmul(z, codes.T, precision=lax.Precision.HIGHEST)  # [N, K], never written
    score = _half_norms(codes)[None, :] - dot  # [N, K]; eq. 1
    return jnp.argmin(score, axis=-1).astype(jnp.int32)  # [N]


def _on_gpu(z: jax.Array, codes: jax.Array, centre: jax.Array) -> jax.Array:
    """Over blocks of codes: rows stay whole, wherever they are."""
    z = z - centre[None, :]

    def block(codes, half):  # [k, D], [k]
        dot = jnp.matmul(z, codes.T, precision=lax.Precision.HIGHEST)  # [N, k]
        score = half[None, :] - dot  # [N, k]; eq. 1
        return jnp.min(score, axis=-1), jnp.argmin(score, axis=-1).astype(jnp.int32)  # [N] each

    columns = block_of_codes(z.shape[0], codes.shape[0])  # k
    return _least_of_blocks(z.shape[0], codes, columns, block)  # [N]


def block_of_codes(rows: int, size: int) -> int:
    """How many of `size` codes to take at a time for all of `rows`, so that memory is bounded."""
    most = min(max(SCORES // max(rows, 1), FEWEST), MOST)
    return _block(size, most // FEWEST * FEWEST, FEWEST)


def _on_cpu(z: jax.Array, codes: jax.Array, centre: jax.Array) -> jax.Array:
    """Over blocks of rows, and for each over blocks of codes.

    A block's minimum comes first and the minimum's index after it: two passes over numbers in the
    cache that compile to vector instructions, while an argmin goes one number at a time. Scores
    have the row as their last axis, so both passes run along whole vectors.
    """
    # With one channel the product would be fused into each pass, which may round it differently:
    # then no score equals the least. With a second channel it is an array.
    z, codes, centre = (_of_two_channels(x) for x in (z, codes, centre))
    n, dim = z.shape  # N, D
    rows, columns = _block(n, ROWS, LANES), _block(codes.shape[0], CODES, LANES)  # n, k
    blocks = -(-n // rows)
    padded = jnp.pad(z, ((0, blocks * rows - n), (0, 0)))  # [blocks n, D]
    padded = padded.reshape(blocks, rows, dim)  # [blocks, n, D]
    column = jnp.arange(columns, dtype=jnp.int32)[:, None]  # [k, 1]

    def of_rows(z):  # [n, D]
        z = z - centre[None, :]  # here, where a block is in the cache

        def block(codes, half):  # [k, D], [k]
            dot = jnp.matmul(codes, z.T, precision=lax.Precision.HIGHEST)  # [k, n]
            score = half[:, None] - dot  # [k, n]; eq. 1
            least = jnp.min(score, axis=0)  # [n]
            index = jnp.min(jnp.where(score == least[None, :], column, columns), axis=0)  # [n]
            return least, index

        return _least_of_blocks(rows, codes, columns, block)  # [n]

    return lax.map(of_rows, padded).reshape(-1)[:n]  # [blocks, n] -> [N]


def _of_two_channels(x: jax.Array) -> jax.Array:
    """x [..., D], or [..., 2] with a zero in each where D is 1."""
    return x if x.shape[-1] > 1 else jnp.pad(x, ((0, 0),) * (x.ndim - 1) + ((0, 1),))


def _least_of_blocks(rows, codes, columns, block):
    """The index of the least score over all blocks of codes, the lowest index in a tie: int32[n].

    Args:
        rows: n.
        codes: [K, D].
        columns: codes in a block, k.
        block: codes [k, D], |e|^2 / 2 [k] -> least score [n] and its column int32[n] in [0, k).
    """
    size, dim = codes.shape
    blocks = -(-size // columns)
    missing = blocks * columns - size
    half = _half_norms(codes)  # [K]
    half = jnp.pad(half, (0, missing), constant_values=jnp.inf)  # [blocks k], never the least
    stacked = jnp.pad(codes, ((0, missing), (0, 0))).reshape(blocks, columns, dim)  # [blocks, k, D]
    firsts = jnp.arange(blocks, dtype=jnp.int32) * columns  # [blocks]

    def step(best, of_block):  # the carry: the least score so far [n] and its index [n]
        codes, half, first = of_block  # [k, D], [k], []
        least, index = block(codes, half)  # [n] each
        better = least < best[0]
        return (jnp.where(better, least, best[0]), jnp.where(better, first + index, best[1])), None

    start = (jnp.full((rows,), jnp.inf, codes.dtype), jnp.zeros((rows,), jnp.int32))  # [n] each
    (_, index), _ = lax.scan(step, start, (stacked, half.reshape(blocks, columns), firsts))
    return index


def _half_norms(codes: jax.Array) -> jax.Array:
    return 0.5 * jnp.sum(codes**2, axis=-1)  # [K]


def _block(size: int, most: int, unit: int) -> int:
    """The size of equal blocks of at most `most` that cover `size`, in multiples of `unit`."""
    if size <= most:
        return size
    count = -(-size // most)
    return -(-size // (count * unit)) * unit
