import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.nn import SelfAttention
from vqjax.types import UsageError


def attend(params, x, heads):
    """The same by loops over positions, in numpy."""
    flat = np.asarray(x).reshape(x.shape[0], -1, x.shape[-1]).astype(np.float64)
    channels = flat.shape[-1]
    mean, var = flat.mean((1, 2), keepdims=True), flat.var((1, 2), keepdims=True)  # one group
    y = (flat - mean) / np.sqrt(var + 1e-6) * params["norm"]["scale"] + params["norm"]["bias"]
    q, k, v = (y @ params[n]["kernel"] + params[n]["bias"] for n in ("query", "key", "value"))
    mixed = np.zeros_like(y)
    width = channels // heads
    for b in range(y.shape[0]):
        for h in range(heads):
            part = slice(h * width, (h + 1) * width)
            for i in range(y.shape[1]):
                w = np.exp(k[b, :, part] @ q[b, i, part] / np.sqrt(width))
                mixed[b, i, part] = w / w.sum() @ v[b, :, part]
    out = mixed @ params["out"]["kernel"] + params["out"]["bias"]
    return (flat + out).reshape(x.shape)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("shape", [(2, 5, 4), (2, 2, 3, 4), (1, 2, 2, 2, 4)])
def test_equals_the_definition(shape, heads):
    x = jax.random.normal(jax.random.key(0), shape) * 2.0
    module = SelfAttention(heads=heads)
    y, variables = module.init_with_output(jax.random.key(1), x)
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), variables["params"])
    np.testing.assert_allclose(y, attend(params, x, heads), atol=1e-5)


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(UsageError, match="heads=3"):
        SelfAttention(heads=3).init(jax.random.key(0), jnp.zeros((1, 2, 4)))
