"""A GAN through a codebook: what passes it, what is measured, and the whole way."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vqjax
from tests import tiny
from tests.quickly import quick
from vqjax.cli.main import main
from vqjax.config import FrozenRun
from vqjax.quantizers import FSQ, EMAVectorQuantizer, Hierarchical, Residual
from vqjax.tasks.frozen_latents import FROZEN
from vqjax.tasks.token_gan import TokenGANTask, softly_quantized
from vqjax.training.loop import train
from vqjax.training.state import create_state
from vqjax.types import UsageError


def token_gan(tokenizer="nowhere", known=None, **task):
    plan = tiny.gan()
    fields = {f.name: getattr(plan.task, f.name) for f in dataclasses.fields(plan.task)}
    frozen = FrozenRun(str(tokenizer), experiment=known or tiny.vqvae())
    return dataclasses.replace(plan, task=TokenGANTask(**{**fields, "tokenizer": frozen, **task}))


@pytest.fixture(scope="module")
def frozen():
    """What a tokenizer that nobody trained has, its codes apart."""
    plan = tiny.vqvae()
    state = quick(lambda: create_state(plan, plan.data.example_spec()))()
    return {FROZEN: {"params": state.params, "collections": state.collections}}


def test_what_passes_the_codebook(frozen):
    z = jax.random.normal(jax.random.key(0), (2, 8, 8, 4))
    latents = {"mean": jnp.float32([0, 1, 0, 0]), "deviation": jnp.float32([1, 1, 2, 1])}
    collections = {"generator": {"latents": latents}}
    arrays = frozen[FROZEN]["params"], frozen[FROZEN]["collections"]
    raw = np.asarray(z) * np.asarray(latents["deviation"]) + np.asarray(latents["mean"])

    def made(through, training, temperature=0.1):
        task = token_gan(through=through, temperature=temperature).task
        return quick(lambda z: task.finished(collections, frozen, z, training))(z)

    task = token_gan().task.tokenizer_task
    np.testing.assert_allclose(made("none", True), task.decode_latents(*arrays, raw), atol=1e-5)
    coded = task.decode_raw(*arrays, raw)
    for through, training in (("straight", True), ("straight", False), ("soft", False)):
        np.testing.assert_allclose(made(through, training), coded, atol=1e-5)
    np.testing.assert_allclose(made("soft", True, 1e-4), coded, atol=1e-3)  # the nearest alone
    assert np.abs(made("soft", True, 1.0) - coded).max() > 1e-2
    for through in ("straight", "soft", "none"):
        task = token_gan(through=through, temperature=1.0).task
        slope = quick(jax.grad(lambda z, t=task: t.finished(collections, frozen, z, True).sum()))(z)
        assert np.isfinite(slope).all() and np.abs(slope).max() > 0


def test_soft_codes_are_means_by_distance():
    codes, z = jnp.float32([[0.0], [1.0]]), jnp.float32([[0.25], [0.5]])
    weight = 1 / (1 + np.exp(-(0.75**2 - 0.25**2) / 0.5))
    found = softly_quantized(z, codes, jnp.float32(0.5))
    np.testing.assert_allclose(found[:, 0], [1 - weight, 0.5], rtol=1e-6)


@pytest.mark.slow  # two trainings
def test_it_trains_and_draws_codes_alone(tmp_path, one_device, capsys):
    train(tiny.vqvae(total_steps=2), tmp_path / "tokenizer", devices=one_device)
    judging = tiny.gan().task.discriminator.clone(quantizer=EMAVectorQuantizer(8, 8))
    weights = {**tiny.gan().task.loss_weights, "commitment": 1.0}
    plan = token_gan(tmp_path / "tokenizer", discriminator=judging, loss_weights=weights)
    train(plan, tmp_path / "run", devices=one_device)
    run = vqjax.load(tmp_path / "run", data=plan.data)
    tokenizer = vqjax.load(tmp_path / "tokenizer")
    images = plan.data.train_arrays["image"]
    latents = tokenizer.task.raw_latents(*run._variables[2][FROZEN].values(), images)
    measured = jax.device_get(run._variables[1]["generator"]["latents"])
    np.testing.assert_allclose(measured["mean"], latents.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(measured["deviation"], latents.std((0, 1, 2)), rtol=1e-3)
    samples = run.sample(5, 3, classes=[2, 0])
    assert samples.shape == (5, 8, 8, 1) and samples.dtype == np.uint8
    capsys.readouterr()
    assert main(["report", str(tmp_path / "run")]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "through the tokenizer tokenizer" in page


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"through": "hard"}, "task.through='hard'"),
        ({"temperature": 0.0}, "task.temperature=0.0"),
    ],
)
def test_what_does_not_fit_is_refused(task, message):
    with pytest.raises(UsageError, match=message):
        token_gan(**task)


def test_it_needs_a_tokenizer():
    with pytest.raises(UsageError, match="task.tokenizer: wanted a FrozenRun"):
        TokenGANTask(tiny.gan().task.generator, tiny.gan().task.discriminator)


def test_tokenizers_that_do_not_fit_are_refused():
    def known(quantizer):
        task = dataclasses.replace(
            tiny.vqvae().task, tokenizer=tiny.tokenizer(quantizer), loss_weights={"l2": 1.0}
        )
        return tiny.vqvae(task=task)

    inputs = tiny.gan().data.example_spec()
    with pytest.raises(UsageError, match="2 levels of codes, wanted one"):
        token_gan(known=known(Residual(FSQ((3, 3), bound="clip"), 2))).task.check(inputs)
    with pytest.raises(UsageError, match="FSQ does not fit.*no 'codebook'"):
        token_gan(known=known(FSQ((3, 3))), through="soft").task.check(inputs)
    token_gan(known=known(FSQ((3, 3)))).task.check(inputs)
    grids = known(Hierarchical(FSQ((3, 3)), width=8))
    with pytest.raises(UsageError, match="are no such vectors as its latents"):
        token_gan(known=grids, through="none").task.check(inputs)
