"""The laws of a denoiser. To add one is to add a row to `DENOISERS`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from tests.quickly import quick
from vqjax import config
from vqjax.denoisers import DiT, RotaryDiT
from vqjax.denoisers.dit import SIZES
from vqjax.priors import ClassLabel, Several, Text
from vqjax.training.mesh import make_mesh
from vqjax.types import BATCH_AXES, UsageError

B = 8
SEVERAL = Several((ClassLabel(3), ClassLabel(2, batch_key="speaker")))
DENOISERS = {
    "dit": (lambda: DiT(16, 2, 2, condition=ClassLabel(3)), (4, 6, 3)),
    "dit_of_sound": (lambda: DiT(16, 1, 2, patch=4), (24, 2)),
    "dit_of_learned_variance": (lambda: DiT(16, 1, 2, variance="learned"), (4, 4, 2)),
    "rotary": (lambda: RotaryDiT(16, 2, 2, patch=2, condition=ClassLabel(3)), (4, 6, 3)),
    "rotary_of_a_text": (
        lambda: RotaryDiT(16, 2, 2, condition=Text(9, 3, 8, 1, 2, by="cross")),
        (2, 3, 4),
    ),
    "rotary_of_several": (lambda: RotaryDiT(16, 1, 2, condition=SEVERAL, qk_norm=False), (5, 2)),
    "rotary_of_clips": (lambda: RotaryDiT(24, 1, 2, patch=2, remat=True), (2, 4, 4, 1)),
}
rows = pytest.mark.parametrize("name", DENOISERS)


def conditions_of(condition):
    numbers = np.arange(B)
    if condition is None:
        return None
    if isinstance(condition, Several):
        return {part.batch_key: conditions_of(part) for part in condition.parts}
    if isinstance(condition, ClassLabel):
        return jnp.asarray(numbers % (condition.classes + 1) - 1, jnp.int32)
    return jnp.asarray(numbers[:, None] % [9, 2, 1], jnp.int32)


@functools.cache
def made(name):
    """(network, its first parameters, some without zeros, x_t, t, conditions)."""
    make, shape = DENOISERS[name]
    network = make()
    x = jax.random.normal(jax.random.key(1), (B, *shape))
    t, cond = jnp.linspace(0, 1, B), conditions_of(network.condition)
    first = quick(network.init)(jax.random.key(0), x, t, cond)["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape).astype(p.dtype), first)
    return network, first, params, x, t, cond


def call(network, params, *arguments):
    return quick(lambda p, *a: network.apply({"params": p}, *a))(params, *arguments)


@rows
def test_at_first_it_says_nothing_and_blocks_are_the_identity(name):
    network, first, _, *inputs = made(name)
    assert np.all(np.asarray(call(network, first, *inputs)) == 0)
    # A head that is not zero reads from the patches alone: nothing has been added to them.
    head = jax.tree.map(lambda p: p + 1.0, first["head"])
    deeper = network.clone(layers=network.layers + 1)
    more = jax.tree.map(lambda p: jnp.concatenate([p, p[:1]]), first["blocks"])
    np.testing.assert_allclose(
        call(network, {**first, "head": head}, *inputs),
        call(deeper, {**first, "head": head, "blocks": more}, *inputs),
        atol=1e-6,
    )


@rows
def test_every_parameter_is_reached_and_every_example_is_alone(name):
    network, _, params, x, t, cond = made(name)

    @quick
    def gradient(params):
        return jax.grad(lambda p: jnp.sum(network.apply({"params": p}, x, t, cond) ** 2))(params)

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(params)):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, path
    whole = call(network, params, x, t, cond)
    channels = x.shape[-1] * (2 if getattr(network, "variance", "") == "learned" else 1)
    assert whole.shape == (*x.shape[:-1], channels) and whole.dtype == jnp.float32
    some = slice(2, 5)
    part = call(network, params, x[some], t[some], jax.tree.map(lambda a: a[some], cond))
    np.testing.assert_allclose(part, whole[some], atol=1e-5)


@rows
def test_times_and_conditions_matter(name):
    network, _, params, x, t, cond = made(name)
    same, other = jnp.ones_like(x), jnp.broadcast_to(t[:1], t.shape)
    assert np.ptp(np.asarray(call(network, params, same, t, cond)), axis=0).max() > 1e-3
    if cond is not None:
        out = np.asarray(call(network, params, same, other, cond)).reshape(B, -1)
        kinds = np.concatenate([np.reshape(a, (B, -1)) for a in jax.tree.leaves(cond)], axis=1)
        equal = (kinds[:, None] == kinds[None]).all(-1)
        apart = np.abs(out[:, None] - out[None]).max(-1) > 1e-5
        np.testing.assert_array_equal(apart, ~equal)


@rows
def test_the_same_on_any_number_of_devices_and_after_json(name):
    network, _, params, *inputs = made(name)
    again = config.decode(config.from_json(config.to_json(config.encode(network))))
    assert again == network
    mesh = make_mesh(jax.devices())
    split = NamedSharding(mesh, PartitionSpec(BATCH_AXES))
    put = jax.tree.map(lambda a: jax.device_put(a, split), inputs)
    with jax.set_mesh(mesh):
        divided = call(again, jax.device_put(params, NamedSharding(mesh, PartitionSpec())), *put)
    np.testing.assert_allclose(divided, call(network, params, *inputs), atol=1e-5)


@pytest.mark.parametrize("name", ["dit", "rotary_of_a_text"])
def test_bfloat16_networks_say_float32(name):
    network, _, params, *inputs = made(name)
    low = call(network.clone(dtype="bfloat16"), params, *inputs)
    assert low.dtype == jnp.float32
    assert 0 < np.abs(np.asarray(low) - call(network, params, *inputs)).max() < 0.1


@pytest.mark.parametrize(
    ("size", "millions"), [("S", 32.9), ("B", 130.3), ("L", 457.8), ("XL", 674.8)]
)
def test_dit_has_the_published_sizes(size, millions):
    width, layers, heads = SIZES[size]
    network = DiT(width, layers, heads, condition=ClassLabel(1_000), variance="learned")
    inputs = jnp.zeros((1, 32, 32, 4)), jnp.zeros(1), jnp.zeros(1, jnp.int32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert round(count / 1e6, 1) == millions


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DiT(16, 1, 3), "heads=3 does not divide width=16"),
        (lambda: RotaryDiT(16, 0, 2), "layers=0"),
        (lambda: RotaryDiT(16, 1, 2, patch=0), "patch=0"),
        (lambda: RotaryDiT(16, 1, 2, dropout=1.0), "dropout=1.0"),
        (lambda: DiT(16, 1, 2, variance="learnt"), "did you mean 'learned'"),
        (lambda: DiT(16, 1, 2, condition=Text(9, 3, 8, heads=2, by="cross")), "RotaryDiT does"),
        (lambda: DiT(16, 1, 2, patch=3).check_shape((4, 6, 3)), "patches of 3 do not divide 4 x 6"),
        (lambda: RotaryDiT(16, 1, 2).check_shape((4, 4, 4, 1)), "3 axes of positions"),
    ],
)
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(UsageError, match=words):
        make()
