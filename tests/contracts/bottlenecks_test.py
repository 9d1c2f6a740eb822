"""The laws of a bottleneck without codes. To add one is to add a row to `CONTINUOUS`."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from tests.quickly import quick
from vqjax import config
from vqjax.quantizers import Gaussian, Identity
from vqjax.training.mesh import make_mesh
from vqjax.training.sharding import batch_sharding
from vqjax.types import UsageError

D = 4
CONTINUOUS = {
    "identity": lambda: Identity(D),
    "gaussian": lambda: Gaussian(D),
    "gaussian, free bits": lambda: Gaussian(D, free_bits=2.0),
}
GAUSSIAN = {name: make for name, make in CONTINUOUS.items() if name.startswith("gaussian")}
rows = pytest.mark.parametrize("name", CONTINUOUS)


def latents(quantizer, shape=(8, 3, 2), dtype=jnp.float32):
    dim = getattr(quantizer, "input_dim", D)
    return jax.random.normal(jax.random.key(7), (*shape, dim), jnp.float32).astype(dtype)


def call(quantizer, z, train=True, key=5):
    rngs = {"quantizer": jax.random.key(key)} if train else {}
    return quantizer.apply({}, z, train=train, step=0, rngs=rngs)


quantize = quick(call, static_argnums=(0, 2))


@rows
@pytest.mark.parametrize("shape", [(8, 5), (8, 3, 2), (2, 2, 3, 2)])
def test_it_has_no_parameters_no_codes_and_d_channels(name, shape):
    quantizer = CONTINUOUS[name]()
    z = latents(quantizer, shape)
    init = functools.partial(quantizer.init, train=False, step=0)
    assert not jax.eval_shape(init, jax.random.key(0), z)
    assert (quantizer.num_codebooks, quantizer.codebook_size) == (0, 0)
    for train in (False, True):
        out = quantize(quantizer, z, train)
        assert out.indices == () and out.z_q.shape == (*shape, D)
        assert set(out.losses) == set(quantizer.loss_weights)


@rows
def test_the_encoder_gets_a_finite_gradient_other_than_zero(name):
    quantizer = CONTINUOUS[name]()

    def through_z(z):
        return jnp.sum(call(quantizer, z).z_q ** 2)

    def through_losses(z):
        return sum(call(quantizer, z).losses.values(), start=jnp.sum(z) * 0.0)

    for f in (through_z, *((through_losses,) if quantizer.loss_weights else ())):
        gradient = quick(jax.grad(f))(latents(quantizer))
        assert np.isfinite(gradient).all()
        assert all(np.abs(part).max() > 0 for part in np.split(gradient, gradient.shape[-1], -1))


@rows
def test_evaluation_is_deterministic_and_keeps_nothing(name):
    quantizer = CONTINUOUS[name]()
    z = latents(quantizer)
    out, mutated = quantizer.apply({}, z, train=False, step=0, mutable=True)  # no rng stream
    assert not mutated
    np.testing.assert_array_equal(out.z_q, z[..., :D])  # as it came, or the mean


@rows
def test_the_same_under_jit_sharded_and_after_json(name):
    quantizer = CONTINUOUS[name]()
    z = latents(quantizer)
    out = call(quantizer, z)
    again = config.decode(config.encode(quantizer))
    assert again == quantizer
    sharded = jax.device_put(z, batch_sharding(make_mesh()))
    run = jax.jit(lambda z: call(quantizer, z))
    for other in (run(z), run(sharded), call(again, z)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), out, other)


@rows
def test_bfloat16_counts_in_float32(name):
    quantizer = CONTINUOUS[name]()
    z = latents(quantizer, (64, 8), jnp.bfloat16)
    low, high = quantize(quantizer, z), quantize(quantizer, z.astype(jnp.float32))
    assert low.z_q.dtype == jnp.float32
    assert all(v.dtype == jnp.float32 for v in (*low.losses.values(), *low.metrics.values()))
    jax.tree.map(np.testing.assert_array_equal, low, high)


@rows
def test_an_empty_batch(name):
    quantizer = CONTINUOUS[name]()
    out = quantize(quantizer, latents(quantizer, (0, 3, 2)))
    assert out.z_q.shape == (0, 3, 2, D)
    assert all(np.isfinite(v) for v in (*out.losses.values(), *out.metrics.values()))


def test_float64_stays(x64):
    for make in CONTINUOUS.values():
        quantizer = make()
        out = quantize(quantizer, latents(quantizer).astype(jnp.float64))
        assert out.z_q.dtype == jnp.float64
        assert all(v.dtype == jnp.float64 for v in out.losses.values())


@pytest.mark.parametrize("name", GAUSSIAN)
def test_training_draws_anew_with_the_mean_and_the_variance_that_were_given(name):
    quantizer = GAUSSIAN[name]()
    # (mean, log variance) by channel: the last is clipped to variance e^-30, that is, none.
    means, logs = [0.0, 3.0, -1.0, 5.0], [0.0, math.log(4.0), -2.0, -1e9]
    z = jnp.broadcast_to(jnp.array([*means, *logs]), (20_000, 2 * D))
    one, two = (np.asarray(quantize(quantizer, z, key=key).z_q) for key in (1, 2))
    assert (one[:, :3] != two[:, :3]).mean() > 0.99
    np.testing.assert_allclose(one.mean(0), means, atol=0.06)
    np.testing.assert_allclose(one.std(0), [1.0, 2.0, math.exp(-1.0), 0.0], atol=0.04)


def test_kl_by_hand():
    # Two examples of one position and two channels; KL = (m^2 + v - log v - 1) / 2 each.
    means, variances = np.array([[0.0, 2.0], [1.0, 0.0]]), np.array([[1.0, 1.0], [4.0, 0.5]])
    z = jnp.asarray(np.concatenate([means, np.log(variances)], -1), jnp.float32)[:, None]
    each = 0.5 * (means**2 + variances - np.log(variances) - 1.0)
    kl = quantize(Gaussian(2), z).losses["kl"]
    np.testing.assert_allclose(kl, each.sum() / 2, rtol=1e-6)
    drawn = Gaussian(2).draw(z, jnp.zeros((2, 1, 2)))
    np.testing.assert_allclose(drawn.kl, each.sum(1), rtol=1e-6)


def test_free_bits_by_hand():
    # One position; the batch's mean KL of the channels is 1/4 and 2.
    z = jnp.array([[1.0, 2.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]])[:, None]
    for free, wanted in ((0.0, 2.25), (0.5, 0.5 + 2.0), (3.0, 6.0)):
        out = quantize(Gaussian(2, free_bits=free), z)
        np.testing.assert_allclose(out.losses["kl"], wanted, rtol=1e-6)
        if free:
            np.testing.assert_allclose(out.metrics["kl_exact"], 2.25, rtol=1e-6)
    pressed = jax.grad(lambda z: call(Gaussian(2, free_bits=0.5), z).losses["kl"])(z)
    assert not pressed[..., 0].any() and pressed[..., 1].all()  # only the channel that is above
    with pytest.raises(UsageError, match="free_bits=-1.0"):
        quantize(Gaussian(2, free_bits=-1.0), z)


def test_active_latents_by_hand():
    # Means -0.2 and 0.2 vary by 0.04, -0.05 and 0.05 by 0.0025; the threshold is 0.01.
    z = jnp.array([[0.2, 0.05, 1.0, 1.0], [-0.2, -0.05, 1.0, 9.0]])[:, None]
    assert quantize(Gaussian(2), z).metrics["active_latents"] == 1.0


def test_draw_weighs_prior_against_posterior():
    quantizer = Gaussian(2)
    z = latents(quantizer, (3, 5))
    noise = jax.random.normal(jax.random.key(3), (3, 5, 2))
    drawn = quantizer.draw(z, noise)
    mean, deviation = z[..., :2], jnp.exp(0.5 * z[..., 2:])
    np.testing.assert_allclose(drawn.z, mean + deviation * noise, rtol=1e-6)
    logpdf = jax.scipy.stats.norm.logpdf
    ratio = logpdf(drawn.z) - logpdf(drawn.z, mean, deviation)
    np.testing.assert_allclose(drawn.log_ratio, ratio.sum((1, 2)), rtol=1e-4, atol=1e-4)


def test_prior_is_standard_normal_on_the_grid():
    quantizer = Gaussian(3)
    draws = jax.vmap(lambda key: quantizer.prior(key, (2, 5)))(
        jax.random.split(jax.random.key(0), 2_000)
    )
    assert draws.shape == (2_000, 2, 5, 3)
    np.testing.assert_allclose(draws.mean(0), 0.0, atol=0.12)
    np.testing.assert_allclose(draws.std(0), 1.0, atol=0.1)


def test_a_mesh_does_not_change_what_is_drawn():
    quantizer = Gaussian(D)
    z = latents(quantizer, (8, 3, 2))
    everywhere = NamedSharding(make_mesh(), PartitionSpec())
    run = jax.jit(lambda z: call(quantizer, z).z_q, out_shardings=everywhere)
    one = run(jax.device_put(z, everywhere))
    np.testing.assert_array_equal(run(jax.device_put(z, batch_sharding(make_mesh()))), one)
