"""Bugs that published quantizers had, one test each: ours must not have them."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from tests import tiny
from tests.quickly import quick
from vqjax.ops import bits
from vqjax.quantizers import BSQ, FSQ, LFQ, EMAVectorQuantizer, Residual, VectorQuantizer
from vqjax.tasks import TokenizerTask
from vqjax.training.mesh import make_mesh
from vqjax.training.step import weighted_sum
from vqjax.types import BATCH_AXES

PUBLISHED = {2**8: (8, 6, 5), 2**10: (8, 5, 5, 5), 2**12: (7, 5, 5, 5, 5)}
PUBLISHED |= {2**14: (8, 8, 8, 6, 5), 2**16: (8, 8, 8, 5, 5, 5)}  # arXiv 2309.15505, table 1
LOG2 = np.log(2.0)


@functools.partial(quick, static_argnums=0)
def initial(quantizer, z):
    return quantizer.init(jax.random.key(0), z, train=False, step=0)


def call(quantizer, variables, z, train=True):
    rngs = {"quantizer": jax.random.key(1)}
    mutable = ["statistics"] if train else False
    out = quantizer.apply(variables, z, train=train, step=0, rngs=rngs, mutable=mutable)
    return out if train else (out, {})


@functools.partial(quick, static_argnums=0)
def quantized(quantizer, z):
    return call(quantizer, initial.__wrapped__(quantizer, z), z)[0]


def all_corners(dim, size):
    """Every vector of {-size, size}^dim once: [2^dim, 1, dim]."""
    corners = np.array(list(itertools.product((-1.0, 1.0), repeat=dim)), np.float32)
    return jnp.asarray(size * corners)[:, None]


def test_beta_weighs_the_commitment_and_not_the_codebook():
    """One vector (3, 0), its code (1, 0), beta = 1/4; means over two elements."""
    quantizer = VectorQuantizer(2, 2)
    z, codes = jnp.array([[[3.0, 0.0]]]), jnp.array([[1.0, 0.0], [-9.0, 0.0]])
    book = initial(quantizer, z)["codebook"]

    def total(z, codes):
        out, _ = call(quantizer, {"params": {"codes": codes}, "codebook": book}, z)
        return sum(weight * out.losses[name] for name, weight in quantizer.loss_weights.items())

    of_z, of_codes = quick(jax.grad(total, argnums=(0, 1)))(z, codes)
    np.testing.assert_allclose(of_z, [[[0.25 * 2.0, 0.0]]])
    np.testing.assert_allclose(of_codes, [[-2.0, 0.0], [0.0, 0.0]])


def test_every_residual_stage_pulls_the_encoder():
    """One number: r_1 = 3, code 1; r_2 = 2, code 1.5; so (r_1 - e_1)^2 and (r_2 - e_2)^2 pull."""
    quantizer = Residual(VectorQuantizer(1, 1), stages=2)
    z = jnp.array([[[3.0]]])
    codes = {"parts_0": {"codes": jnp.array([[1.0]])}, "parts_1": {"codes": jnp.array([[1.5]])}}
    book = initial(quantizer, z)["codebook"]

    def commitment(z):
        return call(quantizer, {"params": codes, "codebook": book}, z)[0].losses["commitment"]

    value, gradient = quick(jax.value_and_grad(commitment))(z)
    assert value == 2.0**2 + 0.5**2
    np.testing.assert_allclose(gradient, [[[2 * 2.0 + 2 * 0.5]]])


def test_bfloat16_does_not_lose_codes():
    """An index that is added up in bfloat16, which has 8 bits, cannot tell 1,000 codes apart."""
    levels = np.array((8, 5, 5, 5))
    fsq, lfq = FSQ(tuple(levels.tolist())), LFQ(10)
    grid = np.array(list(itertools.product(*(range(n) for n in levels))))
    half = (levels - 1) * (1 + 1e-3) / 2
    offset = np.where(levels % 2 == 0, 0.5, 0.0)
    centres = np.arctanh(np.clip((grid - levels // 2 + offset) / half, -0.99, 0.99))
    for quantizer, z in (
        (fsq, jnp.asarray(centres - np.arctanh(offset / half), jnp.float32)[:, None]),
        (lfq, all_corners(10, 0.3)),
    ):
        for dtype in (jnp.float32, jnp.bfloat16):
            (indices,) = quantized(quantizer, z.astype(dtype)).indices
            assert len(np.unique(indices)) == quantizer.codebook_size == len(z)


@pytest.mark.parametrize(
    "quantizer", [EMAVectorQuantizer(16, 4), Residual(VectorQuantizer(8, 4), 2)]
)
def test_evaluation_moves_nothing(quantizer):
    z = jax.random.normal(jax.random.key(0), (4, 8, 4))
    variables = initial(quantizer, z)
    _, after = quantizer.apply(variables, z, train=False, step=0, mutable=True)
    assert not after.get("statistics")
    jax.tree.map(np.testing.assert_array_equal, dict(after["codebook"]), variables["codebook"])


@pytest.mark.parametrize("kind", [LFQ, BSQ])
def test_entropies_of_known_distributions(kind):
    dim = 4
    sure = quantized(kind(dim, temperature=0.01), all_corners(dim, 5.0)).metrics
    np.testing.assert_allclose(sure["sample_entropy"], 0.0, atol=1e-6)
    np.testing.assert_allclose(sure["batch_entropy"], dim * LOG2, rtol=1e-6)
    unsure = quantized(kind(dim), jnp.zeros((3, 2, dim))).metrics
    for name in ("sample_entropy", "batch_entropy"):
        np.testing.assert_allclose(unsure[name], dim * LOG2, rtol=1e-6)
    one = quantized(kind(dim, temperature=0.01), all_corners(dim, 5.0)[:1]).metrics
    np.testing.assert_allclose([one["sample_entropy"], one["batch_entropy"]], 0.0, atol=1e-6)


def test_the_entropy_is_counted_once():
    """LFQ of (1.5, 0.5) alone: its batch is itself, so the loss is (1 - gamma) H, once."""
    quantizer = LFQ(2, temperature=4.0, gamma=0.25)
    out = quantized(quantizer, jnp.array([[[1.5, 0.5]]]))
    p = 1.0 / (1.0 + np.exp(-np.array([1.5, 0.5])))  # log-odds 4 z / temperature
    each = -np.sum(p * np.log(p) + (1 - p) * np.log(1 - p))
    task = TokenizerTask(
        tiny.tokenizer(quantizer), losses=(), loss_weights={"entropy": 0.1, "commitment": 0.5}
    )
    assert set(task.weights) == set(out.losses) == set(task.terms)
    total = weighted_sum(out.losses, task.weights, {}, set(task.terms), jnp.int32(0))
    np.testing.assert_allclose(total, 0.1 * 0.75 * each + 0.5 * 0.25, rtol=1e-6)


def test_the_entropy_in_parts_is_a_bound_that_independent_bits_meet():
    rng = np.random.default_rng(0)
    odds = jnp.asarray(rng.normal(size=(40, 1)) + 0.1 * rng.normal(size=(40, 6)), jnp.float32) * 4
    exact, bound = bits.batch_entropy(odds, 6), bits.batch_entropy(odds, 2)
    assert exact + 0.1 < bound <= 6 * LOG2 * (1 + 1e-6)
    # All combinations of two values per bit: the bits of a row drawn at random are independent.
    values = rng.normal(size=(2, 6))
    rows = [[values[b, i] for i, b in enumerate(c)] for c in itertools.product((0, 1), repeat=6)]
    odds = jnp.asarray(np.array(rows), jnp.float32)
    exact, bound = bits.batch_entropy(odds, 6), bits.batch_entropy(odds, 2)
    np.testing.assert_allclose(bound, exact, rtol=1e-5)


@pytest.mark.parametrize("quantizer", [EMAVectorQuantizer(16, 4), LFQ(4, temperature=1.0)])
def test_statistics_are_those_of_the_whole_batch(quantizer):
    """Rows differ from device to device, so the mean of 8 devices' entropies would be less."""
    z = jax.random.normal(jax.random.key(0), (16, 6, 4)) + 3.0 * all_corners(4, 1.0)
    variables = initial(quantizer, z)
    one_out, one = quick(lambda v, z: call(quantizer, v, z))(variables, z)
    mesh = make_mesh()
    assert mesh.size == 8
    with jax.set_mesh(mesh):
        split = jax.device_put(z, NamedSharding(mesh, PartitionSpec(BATCH_AXES)))
        out, eight = quick(lambda v, z: call(quantizer, v, z))(variables, split)
    np.testing.assert_array_equal(eight["statistics"]["counts"], one["statistics"]["counts"])
    assert np.sum(one["statistics"]["counts"]) == one["statistics"]["seen"] == 16 * 6
    for name, value in {**one_out.losses, **one_out.metrics}.items():
        np.testing.assert_allclose({**out.losses, **out.metrics}[name], value, rtol=1e-5)


@pytest.mark.parametrize(
    ("levels", "size"),
    list(zip(PUBLISHED.values(), (240, 1000, 4375, 15360, 64000), strict=True)),
)
def test_published_levels_reach_every_code(levels, size):
    quantizer = FSQ(levels)
    assert quantizer.codebook_size == size
    indices = jnp.arange(size)[:, None]
    variables = initial(quantizer, jnp.zeros((1, 1, len(levels))))
    codes = quantizer.apply(variables, (indices,), method="lookup")  # [K, 1, D]
    assert len(np.unique(codes, axis=0)) == size
    # A code is in units of half the width, floor(L / 2): back to what is rounded to it.
    numbers = np.asarray(levels)
    half, offset = (numbers - 1) * (1 + 1e-3) / 2, np.where(numbers % 2 == 0, 0.5, 0.0)
    inner = np.clip((np.asarray(codes) * (numbers // 2) + offset) / half, -0.999, 0.999)
    z = jnp.asarray(np.arctanh(inner) - np.arctanh(offset / half), jnp.float32)
    out = quantized(quantizer, z)
    np.testing.assert_array_equal(out.indices[0], indices)
    np.testing.assert_array_equal(out.z_q, codes)


@pytest.mark.parametrize(
    ("levels", "borders", "codes"),
    [
        # round(1.5015 tanh(z + 0.3463) - 0.5) / 2: borders at atanh((k + 1/2 + 1/2) / 1.5015) less
        # 0.3463 for k = -2, -1, 0; zero is a code's middle and there is one code more below it.
        (4, (-1.1503, -0.3463, 0.4577), (-1.0, -0.5, 0.0, 0.5)),
        # round(2.002 tanh z) / 2: borders at atanh(1/2 / 2.002) and atanh(3/2 / 2.002).
        (5, (-0.9711, -0.2551, 0.2551, 0.9711), (-1.0, -0.5, 0.0, 0.5, 1.0)),
    ],
)
def test_rounding_by_hand(levels, borders, codes):
    below, above = np.array(borders) - 2e-3, np.array(borders) + 2e-3
    z = jnp.asarray([-9.0, *np.stack([below, above], 1).ravel(), 9.0, 0.0], jnp.float32)
    expected = [*np.repeat(codes, 2), 0.0]
    out = quantized(FSQ((levels,)), z[None, :, None])
    np.testing.assert_array_equal(out.z_q[0, :, 0], expected)
    np.testing.assert_array_equal(out.indices[0][0], 2 * np.array(expected) + 2)


def test_every_stage_of_residual_fsq_comes_nearer():
    quantizer = Residual(FSQ((7, 5, 3), bound="clip"), stages=4)
    z = jax.random.uniform(jax.random.key(0), (2_000, 1, 3), minval=-1.0, maxval=1.0)
    variables = quantizer.init(jax.random.key(1), z, train=False, step=0)
    indices = quantizer.apply(variables, z, train=False, step=0).indices
    errors = []
    for stages in range(1, 5):
        z_q = quantizer.apply(variables, indices[:stages], method="lookup")
        errors.append(float(jnp.sqrt(jnp.mean((z_q - z) ** 2))))
    assert all(b < 0.6 * a for a, b in itertools.pairwise(errors)), errors
