"""The lookup at any size: exact, the same on every mesh, and never an array of rows x codes."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from vqjax.ops import codes as ops
from vqjax.ops import nearest as blocks
from vqjax.ops import progress
from vqjax.quantizers import VectorQuantizer
from vqjax.types import BATCH_AXES, MESH_AXES

MESHES = [(1, 1, 1), (8, 1, 1), (2, 1, 4), (2, 2, 2)]


def make_mesh(shape):
    devices = jax.devices()[: int(np.prod(shape))]
    return jax.make_mesh(shape, MESH_AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)


def put(mesh, x, *axes):
    return jax.device_put(x, NamedSharding(mesh, PartitionSpec(*axes)))


def draw(n, k, d, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(n, d)).astype(np.float32), random.normal(size=(k, d)).astype(
        np.float32
    )


def search(way):
    """One platform's way, with what `nearest` does before it."""

    def run(z, book):
        centre = blocks.offset(book)
        return getattr(blocks, way)(z, book - centre[None, :], centre)

    return jax.jit(run)


def check(z, book, index):
    """The code picked is as near as the nearest, in float64, but for float32's rounding; what
    vectors and codes have in common does not count.
    """
    z, book, index = np.float64(z), np.float64(book), np.asarray(index)
    z, book = z - book.mean(0), book - book.mean(0)
    assert index.dtype == np.int32 and index.shape == (len(z),)
    distances = (z**2).sum(1)[:, None] + (book**2).sum(1)[None] - 2 * z @ book.T
    scale = (z**2).sum(1) + (book**2).sum(1).max()
    assert np.all(distances[np.arange(len(z)), index] <= distances.min(1) + 1e-6 * scale)


SIZES = [
    *[(1, 1, 3), (7, 1, 2), (1, 5000, 4), (513, 1025, 1), (600, 2049, 8), (1024, 2048, 16)],
    *[(1537, 3000, 5), (130, 130, 257)],
]


@pytest.mark.parametrize("way", ["_on_cpu", "_on_gpu", "_on_tpu"])
@pytest.mark.parametrize("size", SIZES, ids=lambda s: "x".join(map(str, s)))
def test_every_way_is_exact(way, size, monkeypatch):
    monkeypatch.setattr(blocks, "MOST", 512)  # several blocks of codes also for few rows
    z, book = draw(*size)
    check(z, book, search(way)(z, book))


@pytest.mark.parametrize("way", ["_on_cpu", "_on_gpu", "_on_tpu"])
def test_ties_go_to_the_lowest_index_across_blocks(way, monkeypatch):
    monkeypatch.setattr(blocks, "MOST", 512)
    z, few = draw(700, 300, 8)
    want = np.asarray(ops.nearest(z, few))
    index = search(way)(z, np.tile(few, (8, 1)))  # 2,400 codes, each 8 times
    np.testing.assert_array_equal(index, want)


OFFSETS = [0.0, 100.0, 1_000.0, 10_000.0]


@pytest.mark.parametrize("way", ["_on_cpu", "_on_gpu", "_on_tpu"])
def test_an_offset_that_vectors_and_codes_share_changes_no_index(way):
    """Compared with float64 of the same inputs, ties included: they are many in bfloat16."""
    run, (z, book) = search(way), draw(700, 300, 8)
    for dtype in (np.float32, jnp.bfloat16):
        for offset in OFFSETS:
            moved = [np.asarray(a + offset).astype(dtype).astype(np.float32) for a in (z, book)]
            wide = [a.astype(np.float64) for a in moved]
            want = ((wide[0][:, None] - wide[1][None]) ** 2).sum(-1).argmin(-1)
            assert np.mean(np.asarray(run(*moved)) != want) < 2e-3, (dtype, offset)


def test_codes_far_off_do_not_take_the_digits_of_the_others():
    """Dead codes where nobody is, nearly half of all; 0 stays the origin of the rest."""
    z, book = draw(700, 299, 8)
    alive = np.arange(299) % 2 == 0
    index = np.asarray(ops.nearest(z, np.where(alive[:, None], book, book + np.float32(1e5))))
    assert alive[index].all()
    check(z, book[alive], index // 2)


def test_no_rows_and_no_codes():
    assert ops.nearest(jnp.zeros((0, 4)), jnp.zeros((9, 4))).shape == (0,)
    with pytest.raises(ValueError, match="at least one code"):
        ops.nearest(jnp.zeros((2, 4)), jnp.zeros((0, 4)))


def test_float64_is_searched_in_float64(x64):
    book = np.linspace(1.0, 1.003, 3001)[:, None]  # float32 scores could not tell them apart
    np.testing.assert_array_equal(ops.nearest(book[:600], book), np.arange(600))


def test_one_channel_whatever_the_compiler_fuses():
    """As under XLA's older code for CPUs, which rounds a product in two ways in two passes."""
    code = """
import jax
import numpy as np
from vqjax.ops import codes as ops
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_disable_most_optimizations", True)
book = np.linspace(1.0, 1.003, 3001)[:, None]
np.testing.assert_array_equal(ops.nearest(book[:600], book), np.arange(600))
"""
    env = os.environ | {"XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false"}
    env.pop("JAX_COMPILATION_CACHE_DIR", None)
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    if "Unknown flag" in out.stderr:
        pytest.skip("this XLA writes code for CPUs in one way")
    assert out.returncode == 0, out.stderr


def test_whatever_is_not_finite_gets_an_index_in_range():
    z, book = draw(600, 2000, 4)
    z[3], z[5], z[590] = np.nan, np.inf, 1e30
    index = np.asarray(ops.nearest(z, book))
    assert index.min() >= 0 and index.max() < 2000
    rest = np.isfinite(z).all(1)
    check(z[rest][:580], book, index[rest][:580])


def test_bfloat16_picks_the_codes_of_its_float32_cast():
    z, book = (jnp.asarray(a, jnp.bfloat16) for a in draw(2000, 3000, 4))
    wide = ops.nearest(z.astype(jnp.float32), book.astype(jnp.float32))
    np.testing.assert_array_equal(ops.nearest(z, book), wide)


@pytest.mark.parametrize("shape", MESHES, ids=str)
@pytest.mark.parametrize(("rows", "offset"), [(1536, 0.0), (100, 0.0), (1536, 1_000.0)])
def test_every_mesh_finds_the_same(shape, rows, offset):
    z, book = (a + np.float32(offset) for a in draw(rows, 4096, 8))
    book[2048:] = book[:2048]  # ties between what different devices hold
    want = ops.nearest(z, book)
    mesh = make_mesh(shape)
    with jax.set_mesh(mesh):
        split = (BATCH_AXES,) if rows % 8 == 0 else ()
        index = ops.nearest(put(mesh, z, *split), put(mesh, book))
    np.testing.assert_array_equal(index, want)
    check(z, book, index)


@pytest.mark.parametrize("shape", MESHES, ids=str)
def test_counts_and_sums_on_every_mesh(shape):
    z, _ = draw(1536, 1, 8)
    indices = np.random.default_rng(1).integers(0, 700, 1536).astype(np.int32)
    want = np.zeros((700, 8))
    np.add.at(want, indices, z)
    mesh = make_mesh(shape)
    with jax.set_mesh(mesh):
        z, indices = put(mesh, z, BATCH_AXES), put(mesh, indices, BATCH_AXES)
        sums = jax.jit(ops.sum_by_code, static_argnums=2)(z, indices, 700)
        counts = jax.jit(ops.count, static_argnums=1)(indices, 700)
    np.testing.assert_allclose(sums, want, atol=1e-5)
    np.testing.assert_array_equal(counts, np.bincount(np.asarray(indices), minlength=700))


def test_one_hot_blocks_add_up_to_the_same(monkeypatch):
    z, _ = draw(1000, 1, 8)
    indices = np.random.default_rng(1).integers(0, 700, 1000).astype(np.int32)
    want = ops.sum_by_code(z, indices, 700), ops.count(indices, 700)
    monkeypatch.setattr(blocks, "MOST", 256)
    # As another platform would: its branch, run here.
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, cpu, default: default(*args))
    np.testing.assert_allclose(ops.sum_by_code(z, indices, 700), want[0], atol=1e-5)
    np.testing.assert_array_equal(ops.count(indices, 700), want[1])


def test_take_is_indexing_with_the_same_gradient():
    g, book = draw(500, 40, 3)
    indices = np.random.default_rng(1).integers(0, 40, 500).astype(np.int32)
    np.testing.assert_array_equal(ops.take(book, indices), book[indices])
    got = jax.grad(lambda b: jnp.sum(ops.take(b, indices) * g))(book)
    want = jax.grad(lambda b: jnp.sum(b[indices] * g))(jnp.asarray(book))
    np.testing.assert_allclose(got, want, atol=1e-5)
    low = jax.grad(lambda b: jnp.sum(ops.take(b, indices)))(jnp.asarray(book, jnp.bfloat16))
    assert low.dtype == jnp.bfloat16


def test_no_device_gathers_rows_or_codes():
    mesh = make_mesh((2, 1, 4))
    z, book = draw(1024, 4096, 8)
    indices = np.zeros(1024, np.int32)

    def gradient(book, indices, z):
        return jax.grad(lambda b: jnp.sum(ops.take(b, indices) * z))(book)

    with jax.set_mesh(mesh):
        z, indices = put(mesh, z, BATCH_AXES), put(mesh, indices, BATCH_AXES)
        book = put(mesh, book, "tensor")
        for function, args in (
            (ops.nearest, (z, book)),
            (lambda z, i: ops.sum_by_code(z, i, 4096), (z, indices)),
            (lambda i: ops.count(i, 4096), (indices,)),
            (gradient, (put(mesh, np.asarray(book)), indices, z)),
            (lambda z: ops.kmeans(z, 64, 2, jax.random.key(0)), (z,)),
        ):
            text = jax.jit(function).lower(*args).compile().as_text()
            assert "all-gather" not in text and "all-to-all" not in text
            assert "all-reduce" in text


def quantizer_step(size):
    """Forwards and backwards through a quantizer, statistics and all."""
    quantizer = VectorQuantizer(codebook_size=size, codebook_dim=4)

    def loss(params, z, codebook):
        variables = {"params": params, "codebook": codebook, "statistics": {}}
        out, mutated = quantizer.apply(
            variables,
            z,
            train=True,
            step=0,
            rngs={"quantizer": jax.random.key(0)},
            mutable=["statistics"],
        )
        total = sum(out.losses.values()) + jnp.sum(out.z_q**2)
        return total, mutated

    return quantizer, jax.grad(loss, argnums=(0, 1), has_aux=True)


def step_memory(n, k):
    quantizer, step = quantizer_step(k)
    z = jax.ShapeDtypeStruct((1, n, 4), jnp.float32)
    variables = jax.eval_shape(
        lambda z: quantizer.init(jax.random.key(0), z, train=False, step=0), z
    )
    compiled = jax.jit(step).lower(variables["params"], z, variables["codebook"]).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def lookup_memory(way, n, k):
    shapes = [jax.ShapeDtypeStruct((s, 8), jnp.float32) for s in (n, k)]
    return jax.jit(way).lower(*shapes).compile().memory_analysis().temp_size_in_bytes


MEMORY = {
    "step": step_memory,
    "cpu": lambda n, k: lookup_memory(ops.nearest, n, k),
    "gpu": lambda n, k: lookup_memory(search("_on_gpu"), n, k),
}


@pytest.mark.parametrize("memory", MEMORY.values(), ids=MEMORY)
def test_memory_grows_with_rows_plus_codes(memory):
    small, large = memory(2**16, 2**15), memory(2**17, 2**16)
    assert large <= 2.2 * small
    assert large < 4 * 2**33 / 50  # bytes of rows x codes


def test_kmeans_is_the_same_on_one_device_and_on_eight():
    z, _ = draw(1024, 1, 4)
    found = []
    for shape in ((1, 1, 1), (8, 1, 1)):
        mesh = make_mesh(shape)
        with jax.set_mesh(mesh):
            program = jax.jit(lambda z: ops.kmeans(z, 32, 3, jax.random.key(0)))
            found.append(np.asarray(program(put(mesh, z, BATCH_AXES))))
            np.testing.assert_array_equal(found[-1], program(put(mesh, z, BATCH_AXES)))
    np.testing.assert_allclose(*found, atol=1e-5)


def test_kmeans_of_vectors_far_from_zero_fits_them_as_well():
    z, _ = draw(4000, 1, 8)
    program = jax.jit(lambda z: ops.kmeans(z, 64, 5, jax.random.key(0)))

    def error(offset):
        moved = z + np.float32(offset)
        left = np.float64(moved)[:, None] - np.float64(program(moved))[None]
        return (left**2).sum(-1).min(-1).mean()

    errors = [error(offset) for offset in OFFSETS]
    np.testing.assert_allclose(errors, errors[0], rtol=0.01)
    jitted, eager = program(z), ops.kmeans(z, 64, 5, jax.random.key(0))
    np.testing.assert_allclose(jitted, eager, atol=1e-5)


def test_long_kmeans_is_told_of_and_can_be_ended(monkeypatch):
    z, _ = draw(1000, 1, 4)
    z, want = jnp.asarray(z), ops.kmeans(jnp.asarray(z), 32, 3, jax.random.key(0))
    monkeypatch.setattr(ops, "PART", 250 * 32)
    told = []
    with progress.heard_by(lambda *words: told.append(words)):
        got = ops.kmeans(z, 32, 3, jax.random.key(0))
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert told == [("k-means", part, 12) for part in range(12)]

    def end(what, done, total):
        if done == 5:
            raise KeyboardInterrupt

    with progress.heard_by(end), pytest.raises(KeyboardInterrupt):
        ops.kmeans(z, 32, 3, jax.random.key(0))
