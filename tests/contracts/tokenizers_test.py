"""The laws of a tokenizer, for one, two and three spatial axes. A new one is a row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tests.quickly import quick
from vqjax.tasks import TokenizerTask
from vqjax.types import UsageError

TOKENIZERS = {
    "signal": (lambda: tiny.tokenizer(), (8, 1)),
    "picture": (lambda: tiny.tokenizer(channels=3), (8, 4, 3)),
    "clip": (lambda: tiny.tokenizer(), (4, 4, 4, 1)),
    "frames": (lambda: tiny.sound_tokenizer(hop=2), (8, 1)),
}
rows = pytest.mark.parametrize("name", TOKENIZERS)


@pytest.fixture(scope="module")
def opened():
    """{name: (task, params, collections, x)}, made once."""
    made = {}
    for name, (make, shape) in TOKENIZERS.items():
        task = TokenizerTask(make(), loss_weights={})
        x = np.random.default_rng(0).integers(0, 256, (3, *shape), np.uint8)
        init = quick(lambda x, t=task: t.init(jax.random.key(0), {"image": x}))
        params, collections = init(x)
        made[name] = (task, params, collections, jnp.array(x))
    return made


@rows
def test_indices_fill_the_layout_and_decode_to_the_shape_of_x(opened, name):
    task, params, collections, x = opened[name]
    tokens = task.encode(params, collections, x)
    layout = task.token_layout(x.shape[1:])
    assert [level.name for level in layout] == list(tokens.indices)
    for level in layout:
        indices = tokens.indices[level.name]
        assert indices.shape == (3, *level.grid) and indices.dtype == jnp.int32
        assert indices.min() >= 0 and indices.max() < level.codebook_size
    x_hat = task.decode_indices(params, collections, tokens.indices)
    assert x_hat.shape == x.shape and x_hat.dtype == jnp.float32


@rows
def test_decoding_indices_is_decoding_their_codes(opened, name):
    task, params, collections, x = opened[name]
    tokens = task.encode(params, collections, x)
    np.testing.assert_array_equal(
        task.decode_indices(params, collections, tokens.indices),
        task.decode_latents(params, collections, tokens.z_q),
    )


@rows
def test_a_size_that_the_factor_does_not_divide_is_refused_with_the_nearest(opened, name):
    task, _, _, x = opened[name]
    shape = (5, *x.shape[2:])
    with pytest.raises(UsageError, match="4 or 6"):
        task.token_layout(shape)


@rows
def test_last_layer_after_features_is_the_decoder(opened, name):
    task, params, collections, x = opened[name]
    tokenizer = task.tokenizer
    variables = {"params": params["tokenizer"], **collections["tokenizer"]}
    z_q = task.encode(params, collections, x).z_q
    h = tokenizer.apply(variables, z_q, method="to_features")
    last = {"params": {"to_output": params["tokenizer"]["decoder"]["to_output"]}}
    logits = tokenizer.decoder.apply(last, h, method=lambda m, h: m.to_output(h))
    expected = tokenizer.apply(variables, z_q, method="decode")
    np.testing.assert_allclose(tokenizer.link(logits), expected, atol=1e-6)
