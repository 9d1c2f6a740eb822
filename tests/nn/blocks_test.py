import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.quickly import quick
from vqjax.nn import Middle, ResBlock, Stage
from vqjax.types import UsageError


def zeroed(params, *names):
    return {k: jax.tree.map(jnp.zeros_like, v) if k in names else v for k, v in params.items()}


def test_res_block_is_the_identity_beside_a_silent_branch():
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 8))
    params = quick(ResBlock(8).init)(jax.random.key(1), x)["params"]
    assert "shortcut" not in params
    y = ResBlock(8).apply({"params": zeroed(params, "conv_2")}, x)
    np.testing.assert_array_equal(y, x)
    assert not np.allclose(ResBlock(8).apply({"params": params}, x), x)


def test_res_block_changes_channels_by_its_shortcut():
    x = jax.random.normal(jax.random.key(0), (2, 6, 4))
    params = quick(ResBlock(6).init)(jax.random.key(1), x)["params"]
    y = ResBlock(6).apply({"params": zeroed(params, "conv_2")}, x)
    np.testing.assert_allclose(y, x @ params["shortcut"]["kernel"], atol=1e-6)


def test_stage_and_middle_have_readable_names():
    x = jnp.zeros((1, 4, 4))
    stage = quick(Stage(4, blocks=2, attention=True).init)(jax.random.key(0), x)["params"]
    assert set(stage) == {"block_0", "attention_0", "block_1", "attention_1"}
    assert set(quick(Stage(4, blocks=1).init)(jax.random.key(0), x)["params"]) == {"block_0"}
    middle = quick(Middle().init)(jax.random.key(0), x)["params"]
    assert set(middle) == {"block_0", "attention", "block_1"}
    assert set(quick(Middle(attention=False).init)(jax.random.key(0), x)["params"]) == {
        "block_0",
        "block_1",
    }


def test_unknown_activation_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'silu'"):
        ResBlock(4, activation="sillu").init(jax.random.key(0), jnp.zeros((1, 4, 4)))
