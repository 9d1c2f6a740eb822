"""The tokenizer task: names, refusals, the adaptive weight by hand."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from vqjax.losses import BinaryCrossEntropy
from vqjax.ops.schedules import Ramp
from vqjax.tasks import AdaptiveWeight
from vqjax.tasks.base import normalize
from vqjax.types import ArraySpec, UsageError


def test_normalize_maps_bytes_to_minus_one_and_one():
    np.testing.assert_allclose(normalize(jnp.array([0, 255], jnp.uint8)), [-1.0, 1.0])
    x = jnp.array([0.3, -2.0])
    assert normalize(x) is x


def test_players_and_terms():
    task = tiny.vqgan().task
    assert task.players == ("discriminator", "tokenizer")
    assert task.terms == {
        "l1": "tokenizer",
        "commitment": "tokenizer",
        "generator": "tokenizer",
        "discriminator": "discriminator",
    }
    assert tiny.vqvae().task.players == ("tokenizer",)


def test_adaptive_weight_by_hand():
    """y = w h: |d nll/dw| = |3 h| = 6 and |d gen/dw| = |0.5 h| = 1, so 6 / (1 + 1)."""
    weight = AdaptiveWeight(epsilon=1.0)
    arguments = (lambda w, h: w * h, jnp.float32(5.0), jnp.float32(2.0))
    assert float(weight(*arguments, lambda y: 3 * y, lambda y: -0.5 * y)) == 3.0
    capped = AdaptiveWeight(maximum=2.0, epsilon=1.0)
    assert float(capped(*arguments, lambda y: 3 * y, lambda y: -0.5 * y)) == 2.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss_weights": {"commitment": 1.0}}, "lacks 'l2'"),
        ({"loss_weights": {"l2": 1.0, "comitment": 1.0}}, "did you mean 'commitment'"),
    ],
)
def test_weights_must_name_the_terms(change, message):
    experiment = tiny.vqvae()
    experiment = dataclasses.replace(
        experiment, task=dataclasses.replace(experiment.task, **change)
    )
    with pytest.raises(UsageError, match=message):
        experiment.check()


def test_a_start_belongs_to_the_optimizer_of_a_player():
    experiment = tiny.vqgan()
    weights = {**experiment.task.loss_weights, "discriminator": Ramp(1.0, start=5)}
    task = dataclasses.replace(experiment.task, loss_weights=weights)
    with pytest.raises(UsageError, match=r"set optimizers\.discriminator\.start"):
        dataclasses.replace(experiment, task=task).check()


@pytest.mark.parametrize(
    ("change", "inputs", "message"),
    [
        ({"inputs": "sound"}, (8, 8, 1), "the data has image"),
        ({}, (8, 8, 3), "has 3 channels"),
        ({}, (7, 8, 1), "6 or 8"),
        ({"losses": (BinaryCrossEntropy(),)}, (8, 8, 1), "output='sigmoid'"),
    ],
)
def test_check_refuses_what_cannot_work(change, inputs, message):
    task = dataclasses.replace(tiny.vqvae().task, **change)
    with pytest.raises(UsageError, match=message):
        task.check({"image": ArraySpec(inputs, "uint8")})
