"""The laws of a task. To add one is to add a row to `TASKS`.

A row is a small experiment; laws that ask for arrays run its forward pass once, on one device.
"""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from flax import linen as nn

from tests import tiny
from tests.quickly import quick
from vqjax.discriminators import PatchGAN
from vqjax.ops.schedules import as_schedule
from vqjax.tasks import ClassifierTask
from vqjax.training.state import create_state, is_host_only
from vqjax.types import ArraySpec, Context, UsageError, Verdict


class Featured(PatchGAN):
    """Its logits, and they are its features, too."""

    gives_features = True

    @nn.compact
    def __call__(self, x):
        logits = super().__call__(x)
        return Verdict(logits, (logits,))


def two_discriminators():
    task = tiny.vqgan().task
    several = (PatchGAN(width=8, layers=1), Featured(width=4, layers=1))
    weights = {**task.loss_weights, "feature_matching": 2.0}
    return tiny.vqgan(task=dataclasses.replace(task, discriminator=several, loss_weights=weights))


TASKS = {
    "autoencoder": tiny.ae,
    "vae": tiny.vae,
    "vqvae": tiny.vqvae,
    "vqgan": tiny.vqgan,
    "two_discriminators": two_discriminators,
    "sound": tiny.sound,
    "prior": tiny.token_prior,
    "texts": tiny.texts,
    "denoiser": tiny.denoiser,
    "gan": tiny.gan,
    "joint": tiny.joint,
    "shared_codes": tiny.shared_codes,
    "classifier": tiny.classifier,
    "sound_classifier": tiny.sound_classifier,
}
SEES_ALL = (
    "vqgan",
    "two_discriminators",
    "sound",
    "prior",
    "texts",
    "denoiser",
    "gan",
    "joint",
    "shared_codes",
    "classifier",
    "sound_classifier",
)


@functools.cache
def experiment_of(name):
    return TASKS[name]()


@functools.cache
def made(name):
    """(task, state, a batch of 8 examples)."""
    experiment = experiment_of(name)
    state = quick(lambda: create_state(experiment, experiment.data.example_spec()))()
    batch = next(iter(experiment.data.train(8, 0, 0, np.arange(8))))
    return experiment.network_task(), state, {k: v for k, v in batch.items() if not is_host_only(k)}


def context_of(active, train):
    return Context(jax.random.key(1), np.int32(0), active, train)


def called(name, active, train, by=lambda call, *arrays: quick(call)(*arrays)):
    """What the task gives; or what `by` makes of the call."""
    task, state, batch = made(name)

    def call(params, collections, batch):
        return task(params, collections, {}, batch, context_of(active, train))

    return by(call, state.params, state.collections, batch)


@pytest.mark.parametrize("name", TASKS)
def test_every_term_trains_a_player_and_has_a_weight(name):
    task = experiment_of(name).task
    assert set(task.terms.values()) == set(task.players) == set(experiment_of(name).optimizers)
    assert set(task.weights) == set(task.terms)
    assert set(task.averaged) <= set(task.players)
    without = ("prior", "joint", "shared_codes")  # it is made of other arrays of the batch
    assert task.inputs in experiment_of(name).data.example_spec() or name in without


@pytest.mark.parametrize("name", TASKS)
def test_an_unknown_term_is_refused_with_the_valid_ones(name):
    experiment = experiment_of(name)
    weights = {**experiment.task.loss_weights, "nonsense": 1.0}
    task = dataclasses.replace(experiment.task, loss_weights=weights)
    with pytest.raises(UsageError, match="loss_weights has no 'nonsense'.*valid"):
        dataclasses.replace(experiment, task=task).check()


@pytest.mark.parametrize("name", TASKS)
def test_an_array_that_is_not_there_is_refused_by_name(name):
    with pytest.raises(UsageError, match="the data has nothing_else"):
        experiment_of(name).task.check({"nothing_else": ArraySpec((3,), "uint8")})


@pytest.mark.parametrize("name", SEES_ALL)
def test_it_gives_the_terms_that_are_active_and_no_others(name):
    task, *_ = made(name)
    for active in (tuple(sorted({*task.players, *task.terms})), tuple(sorted(task.players))):
        out = called(name, active, True, by=jax.eval_shape)
        assert set(out.losses) == {term for term in task.terms if term in active}
        assert all(loss.shape == () for loss in out.losses.values())
        assert set(out.multipliers) <= set(out.losses)


@pytest.mark.parametrize("name", SEES_ALL)
def test_evaluation_changes_nothing(name):
    task, state, _ = made(name)
    active = tuple(sorted({*task.players, *task.terms}))
    out = called(name, active, False)
    if out.collections is not None:
        jax.tree.map(np.testing.assert_array_equal, out.collections, state.collections)
    assert not jax.tree.leaves(out.statistics)
    assert all(np.isfinite(loss) for loss in out.losses.values())


@pytest.mark.parametrize("name", SEES_ALL)
def test_without_statistics_an_update_leaves_everything(name):
    task, state, _ = made(name)
    params, collections = task.update(
        state.params, state.collections, {}, jax.random.key(0), np.int32(0)
    )
    assert params is state.params and collections is state.collections


@pytest.mark.parametrize(
    "name",
    [n if n == "two_discriminators" else pytest.param(n, marks=pytest.mark.slow) for n in TASKS],
)
def test_the_losses_of_the_parts_add_up_to_those_of_the_step(name):
    task, state, batch = made(name)
    active = tuple(sorted({*task.players, *task.terms}))
    where = state.params, state.collections, {}, batch, context_of(active, train=True)
    parts = task.parts(*where)
    if not parts:  # nothing to take apart
        assert name in (
            "prior",
            "texts",
            "denoiser",
            "joint",
            "shared_codes",
            "classifier",
            "sound_classifier",
        )
        return
    out = quick(lambda *arrays: task(*arrays, where[-1]))(*where[:-1])
    weights = {k: as_schedule(weight)(0) for k, weight in task.weights.items()}
    whole = sum(weights[k] * out.multipliers.get(k, 1.0) * v for k, v in out.losses.items())
    assert sum(float(part()[0]) for part in parts.values()) == pytest.approx(float(whole), rel=1e-5)


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("__call__", "context has rng, step, active, train and statistics"),
        ("start", "params, collections, frozen, batches, rng"),
    ],
)
def test_methods_of_an_older_version_are_said_so_in_one_line(method, call):
    def with_keywords(self, params, collections, frozen, batch, *, rng, step, active, train, stats):
        raise AssertionError

    def without_frozen(self, params, collections, batches, rng):
        raise AssertionError

    older = with_keywords if method == "__call__" else without_frozen
    kind = dataclasses.dataclass(frozen=True)(type("Own", (ClassifierTask,), {method: older}))
    experiment = tiny.classifier()
    task = kind(experiment.task.encoder, classes=10)
    with pytest.raises(UsageError, match=f"task: wanted Own.{method}.*{call}") as refused:
        dataclasses.replace(experiment, task=task).check_parts()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", TASKS)
def test_numbers_that_say_nothing_raise_no_alarm(name):
    assert experiment_of(name).task.alarm({"loss": 1.0}) is None
