import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.nn import activation
from vqjax.nn.activations import ACTIVATIONS
from vqjax.types import UsageError


def test_values():
    x = jnp.array([-1.0, 0.0, 2.0])
    np.testing.assert_allclose(activation("relu")(x), [0, 0, 2])
    np.testing.assert_allclose(activation("silu")(x), [-0.268941, 0, 1.761594], atol=1e-5)
    np.testing.assert_allclose(activation("elu")(x), [-0.632121, 0, 2], atol=1e-5)
    np.testing.assert_allclose(activation("gelu")(x), [-0.158808, 0, 1.954598], atol=1e-5)
    np.testing.assert_allclose(activation("tanh")(x), [-0.761594, 0, 0.964028], atol=1e-5)
    assert set(ACTIVATIONS) == {"relu", "silu", "elu", "gelu", "tanh"}


def test_unknown_name():
    with pytest.raises(UsageError, match="did you mean 'relu'"):
        activation("rellu")
