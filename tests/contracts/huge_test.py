"""A pod's batch: more numbers than an int32 counts, traced and never made."""

import jax
import jax.numpy as jnp
import pytest

from vqjax.metrics import SquaredError
from vqjax.quantizers import VectorQuantizer
from vqjax.types import UsageError


def test_losses_of_a_quantizer():
    quantizer = VectorQuantizer(16, 256)
    z = jax.ShapeDtypeStruct((65_536, 16, 16, 256), jnp.float32)
    shapes = jax.eval_shape(
        lambda z: quantizer.init_with_output(jax.random.key(0), z, train=True, step=0)[0], z
    )
    assert shapes.losses["commitment"].shape == ()


def test_a_metric_says_when_it_cannot_count():
    x = jax.ShapeDtypeStruct((65_536, 256, 256, 3), jnp.float32)
    with pytest.raises(UsageError, match="lower eval_batch_size"):
        jax.eval_shape(SquaredError.of, x, x)
