"""The laws of a quantizer. To add one is to add a row to `DISCRETE`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from vqjax import config
from vqjax.quantizers import EMAVectorQuantizer, KMeans, Revival, VectorQuantizer
from vqjax.training.sharding import batch_sharding, make_mesh

K, D = 16, 4
DISCRETE = {
    "vq": lambda: VectorQuantizer(K, D, start=KMeans(), revival=Revival()),
    "ema": lambda: EMAVectorQuantizer(K, D),
}
rows = pytest.mark.parametrize("name", DISCRETE)


def latents(shape=(8, 3, 2), dtype=jnp.float32):
    return jax.random.normal(jax.random.key(7), (*shape, D), jnp.float32).astype(dtype)


def variables_of(quantizer):
    tree = quantizer.init(jax.random.key(0), latents(), train=False, step=0)
    # Codes spread like the data, so that each is somebody's nearest.
    codes = jax.random.normal(jax.random.key(1), (K, D))
    return jax.tree.map(lambda x: codes if x.shape == (K, D) else x, tree)


def quantize(quantizer, variables, z, train=True):
    """The result and the statistics that the call collected."""
    out, mutated = quantizer.apply(
        variables,
        z,
        train=train,
        step=0,
        rngs={"quantizer": jax.random.key(5)},
        mutable=["statistics"] if train else [],
    )
    return out, dict(mutated).get("statistics", {})


@rows
@pytest.mark.parametrize("shape", [(8, 5), (8, 3, 2), (2, 2, 3, 2)])
def test_indices_are_in_range_and_look_up_to_z_q_exactly(name, shape):
    quantizer = DISCRETE[name]()
    variables = variables_of(quantizer)
    for train in (False, True):
        out, _ = quantize(quantizer, variables, latents(shape), train)
        (indices,) = out.indices
        assert indices.shape == shape and indices.dtype == jnp.int32
        assert indices.min() >= 0 and indices.max() < quantizer.codebook_size
        again = quantizer.apply(variables, out.indices, method="lookup")
        np.testing.assert_array_equal(out.z_q, again)


@rows
def test_the_encoder_gets_a_finite_gradient_other_than_zero(name):
    quantizer = DISCRETE[name]()
    variables = variables_of(quantizer)

    def through_codes(z):
        return jnp.sum(quantize(quantizer, variables, z)[0].z_q ** 2)

    def through_commitment(z):
        return quantize(quantizer, variables, z)[0].losses["commitment"]

    for f in (through_codes, through_commitment):
        gradient = jax.grad(f)(latents())
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


@rows
def test_the_commitment_does_not_move_the_codes(name):
    quantizer = DISCRETE[name]()
    variables = variables_of(quantizer)

    def commitment(variables):
        return quantize(quantizer, variables, latents(), train=False)[0].losses["commitment"]

    gradient = jax.grad(commitment, allow_int=True)(variables)
    for leaf in jax.tree.leaves(gradient.get("params", {})):
        np.testing.assert_array_equal(leaf, 0)


@rows
def test_evaluation_collects_nothing(name):
    quantizer = DISCRETE[name]()
    variables = variables_of(quantizer)
    _, mutated = quantizer.apply(variables, latents(), train=False, step=0, mutable=True)
    assert not mutated.get("statistics")
    for key in mutated:
        jax.tree.map(np.testing.assert_array_equal, mutated[key], variables[key])


@rows
def test_the_same_under_jit_sharded_and_after_json(name):
    quantizer = DISCRETE[name]()
    variables = variables_of(quantizer)
    z = latents()
    out, _ = quantize(quantizer, variables, z)
    again = config.decode(config.encode(quantizer))
    mesh = make_mesh()
    sharded = jax.device_put(z, batch_sharding(mesh))
    everywhere = jax.device_put(variables, NamedSharding(mesh, PartitionSpec()))
    run = jax.jit(lambda v, z: quantize(quantizer, v, z)[0])
    for other in (
        run(variables, z),
        run(everywhere, sharded),
        quantize(again, variables, z)[0],
    ):
        np.testing.assert_array_equal(other.indices[0], out.indices[0])
        np.testing.assert_allclose(other.z_q, out.z_q, atol=1e-6)


@rows
def test_bfloat16_picks_the_codes_of_its_float32_cast(name):
    quantizer = DISCRETE[name]()
    variables = variables_of(quantizer)
    z = latents((64, 8), jnp.bfloat16)
    low, _ = quantize(quantizer, variables, z)
    high, _ = quantize(quantizer, variables, z.astype(jnp.float32))
    np.testing.assert_array_equal(low.indices[0], high.indices[0])
    assert all(v.dtype == jnp.float32 for v in low.losses.values())


@rows
def test_an_empty_batch(name):
    quantizer = DISCRETE[name]()
    out, statistics = quantize(quantizer, variables_of(quantizer), latents((0, 3, 2)))
    assert out.z_q.shape == (0, 3, 2, D)
    assert all(np.isfinite(v) for v in out.losses.values())
    assert not np.any(statistics["counts"])


@rows
def test_statistics_add_over_calls(name):
    quantizer = DISCRETE[name]()
    variables = variables_of(quantizer)
    z = latents((8, 6))
    _, whole = quantize(quantizer, variables, z)
    _, half = quantize(quantizer, variables, z[:4])
    _, both = quantize(quantizer, {**variables, "statistics": half}, z[4:])
    for key in ("counts", "sums", "seen"):
        np.testing.assert_allclose(whole[key], both[key], atol=1e-5)
    flat = np.asarray(z).reshape(-1, D)
    for candidate in np.asarray(both["candidates"]):
        assert (np.abs(flat - candidate).max(-1) == 0).any()  # each is a vector that was seen


@rows
def test_update_counts_and_revives(name):
    quantizer = DISCRETE[name]()
    variables = variables_of(quantizer)
    far = jnp.full((K, D), 1e3).at[0].set(0.0)  # all but one code are out of reach
    variables = jax.tree.map(lambda x: far if x.shape == (K, D) else x, variables)
    params, book = variables.get("params", {}), variables["codebook"]
    for step in range(300):
        now = {**({"params": params} if params else {}), "codebook": book}
        _, statistics = quantize(quantizer, now, latents())
        key = jax.random.fold_in(jax.random.key(2), step)
        params, book = quantizer.update(params, book, statistics, key, jnp.int32(step))
    assert int(book["revived"]) >= K - 1
    codes = book.get("codes", params.get("codes"))
    assert np.abs(codes).max() < 10
    out, _ = quantize(
        quantizer, {**({"params": params} if params else {}), "codebook": book}, latents()
    )
    assert out.metrics["codebook_usage"] > 0.8


@rows
def test_begin_puts_the_codes_among_the_encodings(name):
    quantizer = DISCRETE[name]()
    variables = variables_of(quantizer)
    z = latents((64, 8)).reshape(-1, D) + 50.0
    params, book = quantizer.begin(
        variables.get("params", {}), variables["codebook"], z, jax.random.key(0)
    )
    codes = book.get("codes", params.get("codes"))
    assert np.abs(np.asarray(codes) - 50.0).max() < 6


def test_ema_by_hand():
    quantizer = EMAVectorQuantizer(2, 1, decay=0.5, revival=None)
    book = {
        "codes": jnp.array([[0.0], [10.0]]),
        "sums": jnp.array([[0.0], [20.0]]),
        "counts": jnp.array([2.0, 2.0]),
        "revived": jnp.int32(0),
    }
    z = jnp.array([[[1.0], [3.0], [9.0]]])
    _, statistics = quantize(quantizer, {"codebook": book}, z)
    _, new = quantizer.update({}, book, statistics, jax.random.key(0), jnp.int32(100))
    # N = (2 + 2) / 2, (2 + 1) / 2; m = (0 + 4) / 2, (20 + 9) / 2
    np.testing.assert_allclose(new["counts"], [2.0, 1.5])
    np.testing.assert_allclose(new["sums"], [[2.0], [14.5]])
    np.testing.assert_allclose(new["codes"], [[1.0], [14.5 / 1.5]], rtol=1e-6)


def test_vq_losses_by_hand():
    quantizer = VectorQuantizer(2, 1)
    variables = variables_of_vq(jnp.array([[0.0], [4.0]]))
    z = jnp.array([[[1.0], [7.0]]])

    def loss(variables, z, name):
        return quantize(quantizer, variables, z, train=False)[0].losses[name]

    assert loss(variables, z, "commitment") == pytest.approx((1 + 9) / 2)
    assert loss(variables, z, "codebook") == pytest.approx((1 + 9) / 2)
    to_codes = jax.grad(loss, allow_int=True)(variables, z, "codebook")["params"]["codes"]
    np.testing.assert_allclose(to_codes, [[-1.0], [-3.0]])
    np.testing.assert_allclose(jax.grad(loss, 1)(variables, z, "commitment"), [[[1.0], [3.0]]])
    np.testing.assert_allclose(jax.grad(loss, 1)(variables, z, "codebook"), 0)


def variables_of_vq(codes):
    book = {"counts": jnp.zeros(len(codes)), "revived": jnp.int32(0)}
    return {"params": {"codes": codes}, "codebook": book}
