"""What is worked out again is the same; what is kept is less."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.quickly import quick
from vqjax.nn.blocks import Stage
from vqjax.nn.transformer import Transformer
from vqjax.types import UsageError


def kept_floats(loss, params):
    """How much the forward pass keeps for the backward pass, parameters aside."""
    _, back = jax.vjp(loss, params)
    return sum(leaf.size for leaf in jax.tree.leaves(back)) - sum(
        leaf.size for leaf in jax.tree.leaves(params)
    )


@pytest.mark.parametrize("network", ["stage", "transformer"])
def test_gradients_are_the_same_and_less_is_kept(network):
    def make(remat):
        if network == "stage":
            return Stage(8, 2, attention=True, remat=remat)
        return Transformer(2, 2, remat=remat)

    more = () if network == "stage" else (jnp.zeros((16, 2)),)
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 8) if network == "stage" else (2, 16, 8))
    params = quick(make(False).init)(jax.random.key(1), x, *more)
    gradients, kept = [], []
    for remat in (False, "products", True):
        module = make(remat)

        def loss(params, module=module):
            return jnp.sum(module.apply(params, x, *more) ** 2)

        gradients.append(quick(jax.grad(loss))(params))
        kept.append(kept_floats(loss, params))
    assert kept[0] > kept[1] > kept[2]
    for other in gradients[1:]:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), gradients[0], other
        )


def test_a_block_keeps_no_softmax_and_no_float32():
    """In half precision, of every block: nothing that grows with the square of the length, and at
    most gate and up of what is as wide as SwiGLU's inside (24).
    """
    layers, batch, length, width = 3, 2, 7, 8
    transformer = Transformer(layers, 2, dtype="bfloat16")
    x = jnp.zeros((batch, length, width), jnp.bfloat16)
    angles = jnp.zeros((length, 2))
    params = jax.eval_shape(transformer.init, jax.random.key(0), x, angles)

    def forward(params, x):
        return jax.vjp(lambda p, x: transformer.apply(p, x, angles), params, x)[1]

    leaves = jax.tree.leaves(jax.eval_shape(forward, params, x))
    kept = [k for k in leaves if k.shape[:1] == (layers,) and k.ndim > 2]
    of_tokens = [k for k in kept if length in k.shape or batch * length in k.shape]
    assert of_tokens
    assert not [k.shape for k in of_tokens if k.shape.count(length) > 1]
    assert not [k.shape for k in of_tokens if k.dtype == jnp.float32]
    assert len([k for k in kept if k.shape == (layers, batch * length, 24)]) == 2


def test_another_word_is_refused():
    with pytest.raises(UsageError, match="remat='all': wanted false, true or products"):
        Stage(8, 1, remat="all").init(jax.random.key(0), jnp.zeros((1, 4, 4, 8)))
