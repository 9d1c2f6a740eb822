"""What JAX's environment says of dtypes and keys changes no run."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from vqjax import quantizers as q
from vqjax.training import checkpoint
from vqjax.training.loop import train
from vqjax.training.platform import jax_defaults
from vqjax.training.restore import open_run
from vqjax.training.state import create_state
from vqjax.types import ArraySpec

TEMPLATES = (
    q.VectorQuantizer(16, 4),
    q.CosineVectorQuantizer(16, 4),
    q.SimVQ(16, 4),
    q.IBQ(16, 4),
    q.GumbelQuantizer(16, 4),
    q.Residual(q.EMAVectorQuantizer(16, 4), stages=2, dropout=0.5),
)
EXPERIMENTS = {
    "vqgan": lambda: tiny.vqgan(ema_decay=0.9),
    "vae": tiny.vae,
    "classifier": tiny.classifier,
    **{name: lambda name=name: tiny.token_prior(name) for name in ("gpt", "maskgit", "pixelcnn")},
    **{type(t).__name__: lambda t=t: tiny.vqgan(quantizer=t) for t in TEMPLATES},
}


@pytest.fixture
def other_defaults(x64):
    """As JAX_ENABLE_X64=1 and JAX_DEFAULT_PRNG_IMPL=rbg make them."""
    jax.config.update("jax_default_prng_impl", "rbg")
    yield
    jax.config.update("jax_default_prng_impl", "threefry2x32")


def described(state):
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): (x.shape, str(x.dtype)) for path, x in leaves}


@pytest.mark.parametrize("make", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_a_state_has_float32_and_threefry_keys(make, other_defaults):
    """Of the networks themselves, with nothing around them."""
    experiment = make()
    inputs = experiment.data.example_spec()
    state = described(jax.eval_shape(lambda: create_state(experiment, inputs)))
    with jax_defaults():
        assert state == described(jax.eval_shape(lambda: create_state(experiment, inputs)))
    assert {dtype for _, dtype in state.values()} <= {"float32", "int32", "key<fry>"}


def test_own_defaults_leave_float64_to_whoever_asks_for_it(other_defaults):
    for dtype, wanted in (("float32", "float32"), ("bfloat16", "float32"), ("float64", "float64")):
        with jax_defaults(dtype):
            assert jnp.zeros(2).dtype == wanted
            assert str(jax.random.key(0).dtype) == "key<fry>"
    assert jnp.zeros(2).dtype == "float64" and str(jax.random.key(0).dtype) == "key<rbg>"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "run"
    train(tiny.vqvae(total_steps=2), path, devices=jax.devices()[:1])
    return path


def arrays(opened):
    return jax.device_get((opened.params, opened.collections))


@pytest.mark.slow
def test_a_run_is_the_same_under_other_defaults(plain, tmp_path, one_device, other_defaults):
    """Trained, k-means and all, and opened: to the last bit."""
    train(tiny.vqvae(total_steps=2), tmp_path / "run", devices=one_device)
    lines = [
        [line for line in (run / "metrics.jsonl").read_text().splitlines() if '"train"' in line]
        for run in (plain, tmp_path / "run")
    ]
    assert lines[0] == lines[1] and len(lines[0]) == 2
    opened = [arrays(open_run(run)) for run in (plain, tmp_path / "run")]
    jax.tree.map(np.testing.assert_array_equal, *opened)
    assert train(tiny.vqvae(total_steps=2), plain, devices=one_device) == 2


def test_steps_of_other_defaults_are_read_and_said(tmp_path, one_device):
    """As they were saved where JAX's environment decided."""
    experiment = tiny.vqvae()
    inputs: dict[str, ArraySpec] = experiment.data.example_spec()
    state = jax.jit(lambda: create_state(experiment, inputs))()
    jax.config.update("jax_enable_x64", True)
    try:
        old = jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, state)
        old = dataclasses.replace(old, rng=jax.random.key(7, impl="rbg"))
        with checkpoint.Checkpoints(tmp_path, keep=1) as saver:
            saver.save(3, old)
            saver.wait()
    finally:
        jax.config.update("jax_enable_x64", False)
    assert (
        "float64"
        in json.loads((tmp_path / "3" / "seal.json").read_text())["arrays"][
            ".params['tokenizer']['pre_quant']['kernel']"
        ]
    )
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )
    restored = checkpoint.restore(tmp_path, target)
    assert described(restored.state) == described(state)
    jax.tree.map(np.testing.assert_array_equal, restored.state.params, state.params)
    words = jax.random.key_data(jax.random.key(7, impl="rbg"))[:2]
    np.testing.assert_array_equal(jax.random.key_data(restored.state.rng), words)
    (line,) = [line for line in restored.lines if "environment" in line]
    assert "float64 numbers and a key of kind rbg" in line
