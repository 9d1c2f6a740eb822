"""Step 0 out of another run."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from vqjax.quantizers import VectorQuantizer
from vqjax.training import distributed, init_from
from vqjax.training.loop import train
from vqjax.training.mesh import make_mesh
from vqjax.training.restore import open_run
from vqjax.training.state import state_shapes
from vqjax.types import DataError, UsageError


def vqvae(codes=16, **settings):
    task = dataclasses.replace(
        tiny.vqvae().task, tokenizer=tiny.tokenizer(VectorQuantizer(codes, 4))
    )
    return tiny.vqvae(task=task, total_steps=2, **settings)


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    run = tmp_path_factory.mktemp("old") / "run"
    train(vqvae(), run, devices=jax.devices()[:1])
    return run


def begun(experiment, run):
    """Step 0 of a run that was begun from another, and its last."""
    train(experiment, run, devices=jax.devices()[:1])
    return open_run(run, step=0, params="raw")


def leaves(tree):
    return {
        jax.tree_util.keystr(p): np.asarray(x) for p, x in jax.tree_util.tree_leaves_with_path(tree)
    }


def test_all_is_taken_and_said(old, tmp_path, capsys):
    there = open_run(old)
    new = begun(vqvae(init_from=str(old), seed=5, ema_decay=0.9), tmp_path / "run")
    assert f"arrays from {old}, step 2, raw parameters" in capsys.readouterr().err
    a, b = leaves(new.params), leaves(there.params)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    train(vqvae(init_from="gone", seed=5, ema_decay=0.9), tmp_path / "run", allow_change=True)


@pytest.mark.slow
def test_another_codebook_starts_anew_by_name_alone(old, tmp_path, capsys):
    wanted = vqvae(codes=32, init_from=str(old))
    with pytest.raises(UsageError) as error:
        train(wanted, tmp_path / "run", devices=jax.devices()[:1])
    assert not (tmp_path / "run").exists()
    assert "tokenizer/quantizer/codes is float32[32, 4] here, float32[16, 4] there" in str(
        error.value
    )
    names = str(error.value).rpartition("init_new=")[2].split(",")
    assert names == ["tokenizer/quantizer", "tokenizer/codebook"]
    new = begun(dataclasses.replace(wanted, init_new=tuple(names)), tmp_path / "run")
    assert "new here: tokenizer/quantizer/codes (as requested)" in capsys.readouterr().err
    encoder, before = (leaves(r.params["tokenizer"]["encoder"]) for r in (new, open_run(old)))
    for name in encoder:
        np.testing.assert_array_equal(encoder[name], before[name])
    assert new.params["tokenizer"]["quantizer"]["codes"].shape == (32, 4)


def test_what_the_old_run_has_not_must_be_named(old, tmp_path):
    with pytest.raises(UsageError, match=r"init_new=discriminator/\w+"):
        train(tiny.vqgan(quantizer=VectorQuantizer(16, 4), init_from=str(old)), tmp_path / "run")
    with pytest.raises(UsageError, match="no array here is below 'tokeniser'"):
        train(vqvae(init_from=str(old), init_new=("tokeniser",)), tmp_path / "run")
    with pytest.raises(UsageError, match="need init_from"):
        train(vqvae(init_cast=True), tmp_path / "run")


def test_a_run_without_a_sound_step_is_refused_before_anything_is_compiled(old, tmp_path):
    source = shutil.copytree(old, tmp_path / "source")
    wanted = vqvae(init_from=str(source))
    inputs = wanted.data.example_spec()
    newest = source / "checkpoints" / "2"
    (newest / "seal.json").write_text("{")
    assert init_from.check_init_from(wanted, inputs).step == 0
    shutil.rmtree(source / "checkpoints")
    with pytest.raises(DataError, match="source has no sealed checkpoint yet"):
        init_from.check_init_from(wanted, inputs)


def test_what_the_first_process_found_is_taken(old, monkeypatch):
    """Even where a newer step has been sealed since."""
    wanted = vqvae(init_from=str(old))
    monkeypatch.setattr(distributed, "from_first", lambda _: [0, []])
    taken = init_from.check_init_from(wanted, wanted.data.example_spec())
    one = make_mesh(jax.devices()[:1])
    run = open_run(old, mesh=one)
    *_, source = init_from.take_over(run.params, run.collections, wanted, one, taken.step)
    assert source == f"{old}, step 0, raw parameters"


def test_another_dtype_must_be_asked_for(old, monkeypatch):
    """As if the old run's networks had kept their parameters in bfloat16."""

    def shapes(experiment, inputs):
        state = state_shapes(experiment, inputs)
        if experiment.init_from is not None:
            return state
        half = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, jnp.bfloat16), state.params)
        return state.replace(params=half)

    monkeypatch.setattr(init_from, "state_shapes", shapes)
    wanted = vqvae(init_from=str(old))
    inputs = wanted.data.example_spec()
    with pytest.raises(UsageError, match="is bfloat16 there and float32 here: add init_cast=true"):
        init_from.check_init_from(wanted, inputs)
    taken = init_from.check_init_from(dataclasses.replace(wanted, init_cast=True), inputs)
    assert taken.cast and set(taken.cast) < set(taken.same) and not taken.new
