"""The task of sound: levels, lengths, the head, microbatches."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tests.quickly import quick
from vqjax.quantizers import EMAVectorQuantizer, Identity, Residual
from vqjax.tasks.base import inputs_of
from vqjax.tokenizers import MelHead
from vqjax.training.optim import SGD
from vqjax.training.state import create_state
from vqjax.training.step import make_gradients
from vqjax.types import ArraySpec, Context, UsageError


def batch_of(experiment, count=8):
    batch = next(iter(experiment.data.train(count, 0, 0, np.arange(count))))
    return {name: jnp.asarray(a) for name, a in batch.items() if name != "example_id"}


@functools.cache
def made():
    experiment = tiny.sound()
    state = quick(lambda: create_state(experiment, experiment.data.example_spec()))()
    return experiment, state


def test_networks_see_sound_at_its_level():
    batch = {"audio": jnp.asarray([[[-32768], [16384]]], jnp.int16), "gain": jnp.asarray([0.5])}
    np.testing.assert_array_equal(inputs_of(batch, "audio")[0, :, 0], [-0.5, 0.25])
    del batch["gain"]
    np.testing.assert_array_equal(inputs_of(batch, "audio")[0, :, 0], [-1.0, 0.5])


def test_what_is_made_of_padding_changes_no_loss():
    experiment, _ = made()
    task = experiment.network_task()
    batch = batch_of(experiment) | {"length": jnp.full(8, 100, jnp.int32)}
    batch["audio"] = batch["audio"].at[:, 100:].set(0)

    def logits_gradient(task):
        def loss(logits):
            x_hat = task.reconstruction(batch, logits)
            x = inputs_of(batch, "audio")
            return sum(loss(x, x_hat, logits) for loss in task.losses)

        logits = 0.1 * jax.random.normal(jax.random.key(0), (8, 160, 1))
        return np.asarray(quick(jax.grad(loss))(logits))

    gradient = logits_gradient(task)
    assert np.abs(gradient[:, :100]).max() > 0 and not gradient[:, 100:].any()
    whole = logits_gradient(dataclasses.replace(task, until_length=False))
    assert np.abs(whole[:, 100:]).max() > 0


def test_the_head_moves_the_encoder_through_the_first_code_alone():
    experiment, state = made()
    task, batch = experiment.network_task(), batch_of(experiment)
    context = Context(jax.random.key(0), 0, ("first_codebook", "tokenizer"), True)

    def loss(params):
        out = task(params, state.collections, {}, batch, context)
        return out.losses["first_codebook"]

    gradient = quick(jax.grad(loss))(state.params)["tokenizer"]
    size = {
        name: max(float(jnp.abs(g).max()) for g in jax.tree.leaves(part))
        for name, part in gradient.items()
    }
    assert size["head"] > 0 and size["encoder"] > 0 and size["decoder"] == 0


def test_any_number_of_microbatches_is_one_step():
    """Dropout by example included, to 1e-6: sums, counts and gradients."""
    results = []
    for parts in (1, 2):
        experiment = dataclasses.replace(made()[0], accumulate=parts)
        stages = Residual(
            EMAVectorQuantizer(codebook_size=16, codebook_dim=4, revival=None),
            stages=3,
            dropout=0.8,
            per="example",
        )
        task = dataclasses.replace(
            experiment.task, tokenizer=tiny.sound_tokenizer(quantizer=stages)
        )
        experiment = dataclasses.replace(experiment, task=task, optimizers={"tokenizer": SGD(0.1)})
        state = quick(lambda e=experiment: create_state(e, e.data.example_spec()))()
        active = tuple(sorted({*task.players, *task.terms}))
        step = make_gradients(experiment)
        results.append(
            quick(lambda s, b, f=step, a=active: f(s, {}, b, active=a))(state, batch_of(experiment))
        )
    (one, loss, out), (two, same, parts) = results
    assert float(loss) == pytest.approx(float(same), rel=1e-6)
    for a, b in zip(
        jax.tree.leaves((one, out.statistics)),
        jax.tree.leaves((two, parts.statistics)),
        strict=True,
    ):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, atol=1e-6 * max(np.abs(a).max(), 1e-6), rtol=0)


def test_each_example_has_a_number_of_stages_of_its_own():
    quantizer = Residual(
        EMAVectorQuantizer(codebook_size=8, codebook_dim=2, revival=None),
        stages=3, dropout=1.0, per="example",
    )  # fmt: skip
    z = jax.random.normal(jax.random.key(0), (64, 5, 2))
    variables = quantizer.init(
        {"params": jax.random.key(1), "quantizer": jax.random.key(2)}, z, train=False, step=0
    )

    def call(z):
        return quantizer.apply(
            variables, z, train=True, step=0, rngs={"quantizer": jax.random.key(3)},
            mutable=["statistics"],
        )  # fmt: skip

    out, _ = call(z)
    sums = [quantizer.apply(variables, out.indices[:n], method="lookup") for n in (1, 2, 3)]
    stages = [np.abs(np.asarray(out.z_q - s)).max((1, 2)) < 1e-6 for s in sums]
    assert stages[0].sum() + stages[1].sum() == 64 and min(stages[0].sum(), stages[1].sum()) > 16
    # Stages that an example does without pull its vectors nowhere.
    pull = jax.grad(lambda z: call(z)[0].losses["commitment"])(z)
    first = quantizer.apply(variables, out.indices[:1], method="lookup")
    alone = 2 * (z - first) / z.size
    np.testing.assert_allclose(pull[stages[0]], alone[stages[0]], atol=1e-6)
    assert np.abs(np.asarray(pull - alone)[stages[1]]).max() > 1e-4


def test_frames_of_lengths():
    task = made()[0].task
    assert [task.frames_of(n) for n in (1, 20, 21, 160)] == [2, 2, 3, 9]
    np.testing.assert_array_equal(task.frames_of(jnp.asarray([1, 161])), [2, 10])
    assert [task.padded(n) for n in (1, 20, 21)] == [20, 20, 40]


def test_pictures_and_a_head_without_codes_are_refused():
    task = made()[0].task
    with pytest.raises(UsageError, match="no sound"):
        task.check({"audio": ArraySpec((8, 8, 1), "uint8")})
    with pytest.raises(UsageError, match="no codes to predict"):
        dataclasses.replace(
            task,
            tokenizer=tiny.sound_tokenizer(quantizer=Identity(4)),
            head=MelHead(8000, hop=20, window=40),
        )
    with pytest.raises(UsageError, match="per='exmple'.*'example'"):
        Residual(EMAVectorQuantizer(8, 2), stages=2, per="exmple")
