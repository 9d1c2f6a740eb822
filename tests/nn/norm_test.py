import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.nn import BatchNorm, GroupNorm
from vqjax.nn.norm import group_count


@pytest.mark.parametrize(
    ("channels", "most", "wanted"),
    [(128, 32, 32), (512, 32, 32), (64, 32, 16), (48, 32, 12), (7, 32, 1), (34, 32, 2), (2, 32, 1)],
)
def test_groups_divide_the_channels_and_have_four(channels, most, wanted):
    assert group_count(channels, most) == wanted


@pytest.mark.parametrize("shape", [(2, 9, 8), (2, 3, 4, 8), (2, 2, 3, 2, 8)])
def test_group_norm_equals_flax(shape):
    x = jax.random.normal(jax.random.key(0), shape) * 3.0 + 1.0
    params = {"scale": jnp.linspace(0.5, 2.0, 8), "bias": jnp.linspace(-1.0, 1.0, 8)}
    flax = nn.GroupNorm(num_groups=2, epsilon=1e-6)
    g = jax.random.normal(jax.random.key(1), shape)

    def both(module):
        y, pull = jax.vjp(lambda p, x: module.apply({"params": p}, x), params, x)
        return jax.tree.leaves((y, pull(g)))

    for ours, theirs in zip(both(GroupNorm(groups=2)), both(flax), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_group_norm_of_a_constant_is_its_bias():
    y, _ = GroupNorm().init_with_output(jax.random.key(0), jnp.full((1, 4, 8), 1e4))
    np.testing.assert_allclose(y, 0.0, atol=1e-2)


def test_group_norm_of_bfloat16_has_float32_statistics():
    x = (jax.random.normal(jax.random.key(0), (1, 4096, 1)) + 8.0).astype(jnp.bfloat16)
    module = GroupNorm(dtype="bfloat16")
    y, variables = module.init_with_output(jax.random.key(0), x)
    assert y.dtype == jnp.bfloat16
    assert {v.dtype for v in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    # In bfloat16 E[x^2] - E[x]^2 = 65 - 64 would have no digits left.
    assert abs(float(jnp.std(y.astype(jnp.float32))) - 1.0) < 0.01


def test_group_norm_of_one_example_ignores_the_others():
    x = jax.random.normal(jax.random.key(0), (3, 5, 8))
    y, variables = GroupNorm().init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(GroupNorm().apply(variables, x[1:2]), y[1:2], atol=1e-6)


def test_batch_norm_is_over_the_whole_call():
    x = jax.random.normal(jax.random.key(0), (4, 3, 5, 2)) * jnp.array([1.0, 9.0]).reshape(
        1, 1, 1, 2
    )
    y, variables = BatchNorm().init_with_output(jax.random.key(0), x)
    wanted = (x - x.mean((0, 1, 2), keepdims=True)) / x.std((0, 1, 2), keepdims=True)
    np.testing.assert_allclose(y, wanted, atol=1e-4)
    assert set(variables) == {"params"}
