"""Fully connected networks: one position per example, of one size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.quickly import quick
from vqjax.quantizers import Identity
from vqjax.tasks import TokenizerTask
from vqjax.tokenizers import MLPDecoder, MLPEncoder, Tokenizer
from vqjax.types import ArraySpec, UsageError


def networks(shape, channels=2, **settings):
    return Tokenizer(
        encoder=MLPEncoder(shape, widths=(7, 5), **settings),
        quantizer=Identity(3),
        decoder=MLPDecoder(shape, widths=(5, 7), channels=channels, **settings),
    )


def started(tokenizer, x):
    """(task, params, collections) after one compiled `init`."""
    task = TokenizerTask(tokenizer, loss_weights={})
    task.check({"image": ArraySpec(x.shape[1:], "float32")})
    return task, *quick(lambda x: task.init(jax.random.key(1), {"image": x}))(x)


@pytest.mark.parametrize("shape", [(6,), (4, 5), (2, 3, 2)])
def test_any_number_of_axes_becomes_one_position(shape):
    x = np.random.default_rng(0).uniform(-1, 1, (3, *shape, 2)).astype(np.float32)
    task, params, collections = started(networks(shape), x)
    z_q = quick(task.encode)(params, collections, x).z_q
    assert z_q.shape == (3, *(1,) * len(shape), 3)
    x_hat = quick(task.decode_latents)(params, collections, z_q)
    assert x_hat.shape == x.shape
    tokenizer, values = params["tokenizer"], 2 * int(np.prod(shape))
    assert tokenizer["encoder"]["layer_0"]["kernel"].shape == (values, 7)
    assert tokenizer["decoder"]["to_output"]["dense"]["kernel"].shape == (7, values)
    size = sum(p.size for p in jax.tree.leaves(tokenizer["encoder"]))
    assert size == values * 7 + 7 + 7 * 5 + 5
    # The last layer by itself, as the adaptive weight of an adversary reaches it.
    h = task.tokenizer.apply({"params": tokenizer}, z_q, method="to_features")
    last = {"params": {"to_output": tokenizer["decoder"]["to_output"]}}
    again = task.tokenizer.decoder.apply(last, h, method=lambda m, h: m.to_output(h))
    np.testing.assert_allclose(again, x_hat, atol=1e-6)


def test_every_value_of_the_result_can_depend_on_every_value_of_the_data():
    x = np.random.default_rng(0).uniform(-1, 1, (1, 4, 5, 2)).astype(np.float32)
    task, params, collections = started(networks((4, 5), activation="tanh"), x)

    def through(x):
        return task.decode_latents(params, collections, task.encode(params, collections, x).z_q)

    assert (quick(jax.jacobian(through))(x) != 0).all()


@pytest.mark.parametrize("shape", [(8, 5, 2), (5, 4, 2), (4, 2)])
def test_another_size_is_refused_with_the_one_that_it_takes(shape):
    task = TokenizerTask(networks((4, 5)), loss_weights={})
    with pytest.raises(UsageError, match=r"only the size that they were made for, \(4, 5\)"):
        task.check({"image": ArraySpec(shape, "float32")})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLPEncoder((4, 4), widths=(8, 0)), r"MLPEncoder.widths=\(8, 0\)"),
        (lambda: MLPDecoder((4, 4), widths=(), channels=1), "MLPDecoder.widths"),
        (lambda: MLPDecoder((4, 4), widths=(8,), channels=0), "decoder.channels=0"),
    ],
)
def test_widths_that_cannot_be_are_refused(make, message):
    x = jnp.zeros((1, 4, 4, 1) if isinstance(make(), MLPEncoder) else (1, 1, 1, 8))
    with pytest.raises(UsageError, match=message):
        jax.eval_shape(make().init, jax.random.key(0), x)


def test_bfloat16_networks_give_bfloat16():
    encoder = MLPEncoder((4,), widths=(3,), dtype="bfloat16")
    z, _ = jax.eval_shape(encoder.init_with_output, jax.random.key(0), jnp.zeros((2, 4, 1)))
    assert z.dtype == jnp.bfloat16 and z.shape == (2, 1, 3)
