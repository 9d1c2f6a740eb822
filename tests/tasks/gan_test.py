"""Two players: one backward pass is that of each, penalties are exact, a collapse rings."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vqjax
from tests import tiny
from tests.quickly import quick
from vqjax.cli.main import main
from vqjax.losses import Hinge, gradient_penalty
from vqjax.ops.diff_augment import DiffAugment
from vqjax.priors import ClassLabel
from vqjax.quantizers import EMAVectorQuantizer
from vqjax.tasks.gan import GANTask
from vqjax.training.loop import train
from vqjax.training.state import create_state
from vqjax.types import Context, UsageError

ALL = ("discriminator", "generator", "r1", "r2")
NOTHING = {"discriminator": {}, "generator": {}}


def made(**task):
    plan = tiny.gan(task)
    state = quick(lambda: create_state(plan, plan.data.example_spec()))()
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape).astype("f4"), state.params)
    batch = {name: array[:8] for name, array in plan.data.train_arrays.items()}
    return plan.task, params, batch


def losses_of(task, params, batch, active=ALL):
    context = Context(jax.random.key(1), 0, active, train=True)
    return task(params, NOTHING, {}, batch, context).losses


@pytest.mark.parametrize("adversarial", [None, Hinge()], ids=["relativistic", "hinge"])
def test_one_backward_pass_is_that_of_each_player(adversarial):
    how = {} if adversarial is None else {"adversarial": adversarial}
    task, params, batch = made(**how, augment=DiffAugment())
    both = quick(jax.grad(lambda p: sum(losses_of(task, p, batch).values())))(params)
    for player, own in (("generator", ("generator",)), ("discriminator", ALL[:1] + ALL[2:])):
        alone = quick(jax.grad(lambda p, own=own: sum(losses_of(task, p, batch, own).values())))
        gradient = alone(params)
        for name, tree in gradient.items():
            expected = both[name] if name == player else jax.tree.map(jnp.zeros_like, tree)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), tree, expected)
        assert any(np.abs(leaf).max() > 1e-4 for leaf in jax.tree.leaves(gradient[player]))


def test_penalties_are_those_worked_out_apart():
    task, params, batch = made(penalised=0.5)
    losses = quick(lambda p: losses_of(task, p, batch))(params)
    real, cond = batch["image"] / np.float32(127.5) - 1.0, batch["label"]
    z = jax.random.normal(jax.random.split(jax.random.key(1), 3)[0], (8, 4))
    fake = task.make(params, NOTHING, {}, z, cond, (8, 8, 1))
    for name, x in (("r1", real), ("r2", fake)):
        apart = [
            gradient_penalty(
                lambda x, i=i: task.judge(params, NOTHING, x, cond[i : i + 1], None), x[i][None]
            )
            for i in range(4)
        ]
        assert float(losses[name]) == pytest.approx(float(np.mean(apart)), rel=1e-5)


def test_both_players_see_the_same_changes():
    augment = DiffAugment()
    x = jax.random.uniform(jax.random.key(0), (6, 8, 8, 3), minval=-1.0)
    keys = jax.random.split(jax.random.key(1), 6)
    one, other = augment(x, keys), augment(-x, keys)
    np.testing.assert_array_equal(one == 0.0, other == 0.0)  # windows and edges
    assert ((one == 0.0).mean(axis=(1, 2, 3)) > 0.05).all()
    slopes = jax.grad(lambda x: augment(x, keys).sum())(x)
    assert np.isfinite(slopes).all() and (np.abs(slopes).sum(axis=(1, 2, 3)) > 0).all()
    still = DiffAugment(0.0, 0.0, 0.0)
    np.testing.assert_array_equal(still(x, keys), x)
    assert (augment(x, jax.random.split(jax.random.key(2), 6)) != one).any()


def test_a_collapse_rings(tmp_path, one_device, monkeypatch):
    """A generator of one picture, whatever the noise and the class."""
    make = GANTask.make
    deaf = lambda self, p, cs, f, z, c, *shape: make(self, p, cs, f, 0 * z, 0 * c, *shape)  # noqa: E731
    monkeypatch.setattr(GANTask, "make", deaf)
    plan = tiny.gan(log_every=1, total_steps=3, save_every=3)
    train(plan, tmp_path / "run", devices=one_device)
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "the generator collapses; what may help: task.loss_weights.r1" in log
    far = {"spread": 1.0, "logits_real": 15.0, "logits_fake": -9.0}
    assert "24 apart" in plan.task.alarm(far).line
    assert plan.task.alarm({"spread": 0.9, "logits_real": 2.0, "logits_fake": -2.0}) is None


def test_it_draws_out_of_noise(tmp_path, capsys):
    plan = tiny.gan()
    train(plan, tmp_path / "run")
    run = vqjax.load(tmp_path / "run", data=plan.data)
    whole = run.sample(5, 3, classes=[2, 0])
    assert whole.shape == (5, 8, 8, 1) and whole.dtype == np.uint8
    np.testing.assert_array_equal(run.sample(2, 3, classes=[2, 0]), whole[:2])
    assert (run.sample(5, 3, classes=[1, 0])[0] != whole[0]).any()
    typical = run.sample(8, classes=[1], truncation=0.0)
    assert (typical == typical[:1]).all() and (run.sample(8, classes=[1]) != typical).any()
    assert set(run.evaluate().numbers) == set(ALL)
    arcs = run.interpolate(2, 3, 3, classes=[2])
    same = run.sample(4, 3, classes=[2])
    assert arcs.shape == (2, 3, 8, 8, 1)
    np.testing.assert_array_equal(arcs[:, 0], same[::2])
    np.testing.assert_array_equal(arcs[:, -1], same[1::2])
    path = str(tmp_path / "run")
    assert main(["sample", path, "-n", "4", "truncation=0.5", "--out", str(tmp_path / "o")]) == 0
    words = ["sample", path, "--interpolate", "2", "--out", str(tmp_path / "o"), "--seed", "3"]
    assert main([*words, "--classes", "2"]) == 0
    (sheet,) = (tmp_path / "o").glob("sample-interpolation_*seed3*_class-2.png")
    assert main(["report", path]) == 0
    capsys.readouterr()
    for words, error in (
        (["sample", path, "--classes=-1"], "classes: -1: wanted a class"),
        (["edit", path, "--variations", "2"], "it cannot edit"),
        (["sample", path, "--guidance", "2"], "--guidance is not for this run"),
        (["sample", path, "--interpolate", "2", "n=3"], "number of rows is that of --interpolate"),
        (["evaluate", path, "--importance-samples", "5"], "prior"),
    ):
        assert main(words) == 2
        line = capsys.readouterr().err
        assert error in line and len(line.splitlines()) == 1


def test_what_does_not_fit_is_refused():
    task = tiny.gan().task
    with pytest.raises(UsageError, match="both players see every condition"):
        other = ClassLabel(3)
        networks = (n.clone(condition=other) for n in (task.generator, task.discriminator))
        GANTask(*networks)
    with pytest.raises(UsageError, match="wanted that of the generator"):
        GANTask(task.generator, task.discriminator.clone(condition=None))
    with pytest.raises(UsageError, match="4 grids need sizes that 8 divides"):
        wide = dataclasses.replace(task, generator=task.generator.clone(widths=(4,) * 4))
        spec = tiny.gan().data.example_spec()
        wide.check({**spec, "image": dataclasses.replace(spec["image"], shape=(12, 12, 1))})


def test_codes_of_features_train_with_the_discriminator(tmp_path, one_device):
    """FQ-GAN: they start among the features, move, and their losses reach the networks below."""
    codes = EMAVectorQuantizer(8, 8)
    weights = {**tiny.gan().task.loss_weights, "commitment": 1.0}
    network = tiny.gan().task.discriminator.clone(quantizer=codes)
    plan = tiny.gan({"discriminator": network, "loss_weights": weights}, total_steps=2)
    train(plan, tmp_path / "run", devices=one_device)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    (line, *_) = [line for line in lines if line["kind"] == "train"]
    assert {"commitment", "perplexity", "codebook_usage"} <= set(line)
    run = vqjax.load(tmp_path / "run", data=plan.data)
    variables = jax.device_get(run._variables[1]["discriminator"]["codebook"]["quantizer"])
    assert np.isfinite(variables["codes"]).all() and variables["counts"].sum() > 0
    assert "commitment" in run.evaluate().numbers
    task, params, batch = made(discriminator=network, loss_weights=weights)
    state = quick(lambda: create_state(plan, plan.data.example_spec()))()
    context = Context(jax.random.key(1), 0, (*ALL[:1], "commitment"), train=True)
    loss = lambda p: task(p, state.collections, {}, batch, context).losses["commitment"]  # noqa: E731
    found = quick(jax.grad(loss))(params)
    assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(found["discriminator"]))
    assert not any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(found["generator"]))
    with pytest.raises(UsageError, match="wanted one of 8 channels"):
        network.clone(quantizer=EMAVectorQuantizer(8, 4))
