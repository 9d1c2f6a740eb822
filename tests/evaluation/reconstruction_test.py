"""Evaluation over a whole split: every example counts once, whatever the batch size."""

import dataclasses

import jax
import numpy as np
import pytest

from tests.quickly import quick
from tests.small_source import SmallSource, small_experiment, started
from vqjax.evaluation.reconstruction import ReconstructionEvaluator
from vqjax.losses import L1
from vqjax.runs.evaluate import evaluate_run
from vqjax.tasks.base import normalize
from vqjax.training.mesh import make_mesh
from vqjax.types import DataError, UsageError


def _evaluate(experiment, devices=1):
    mesh = make_mesh(jax.devices()[:devices])
    state = jax.device_get(started(experiment))
    return ReconstructionEvaluator(experiment, mesh)(state.params, state.collections)


def test_numbers_equal_those_of_the_whole_split_at_once():
    source = SmallSource(count=11)
    experiment = small_experiment(source, eval_batch_size=4)
    numbers = _evaluate(experiment).numbers
    state = started(experiment)
    raw = np.stack([source.example(i) for i in range(11)])
    task = experiment.network_task()
    tokens = quick(task.encode)(state.params, state.collections, raw)
    decode = quick(task.decode_latents)
    x_hat = np.asarray(decode(state.params, state.collections, tokens.z_q), np.float64)
    x = np.asarray(normalize(jax.numpy.asarray(raw)), np.float64)
    error = (x - np.clip(x_hat, -1, 1)) / 2
    counts = np.bincount(np.asarray(tokens.indices["tokens"]).reshape(-1), minlength=8)
    p = counts[counts > 0] / counts.sum()
    np.testing.assert_allclose(numbers["mse"], (error**2).mean(), rtol=1e-5)
    np.testing.assert_allclose(numbers["psnr"], -10 * np.log10((error**2).mean()), rtol=1e-5)
    np.testing.assert_allclose(numbers["l1"], np.abs(error).mean(), rtol=1e-5)
    np.testing.assert_allclose(numbers["perplexity"], np.exp(-(p * np.log(p)).sum()), rtol=1e-6)
    assert numbers["codebook_usage"] == (counts > 0).mean()
    assert list(numbers) == [
        "psnr", "ssim", "l1", "mse", "high_frequency_ratio", "codebook_usage", "perplexity"
    ]  # fmt: skip
    assert counts.astype(bool).sum() > 1, "the codes must differ, or usage is not tested"


def test_batch_size_and_devices_do_not_change_the_numbers():
    source = SmallSource(count=11)
    expected = _evaluate(small_experiment(source, eval_batch_size=11)).numbers
    ragged = _evaluate(small_experiment(source, eval_batch_size=3)).numbers
    sharded = _evaluate(small_experiment(source, eval_batch_size=3), devices=8).numbers
    for other in (ragged, sharded):
        for name, value in expected.items():
            np.testing.assert_allclose(other[name], value, rtol=1e-5, err_msg=name)


def test_pictures_show_the_first_sixteen_examples_from_as_many_batches_as_they_take():
    source = SmallSource(count=19)
    pictures = [
        _evaluate(small_experiment(source, eval_batch_size=size)).pictures for size in (5, 19)
    ]
    assert pictures[0].shape == (4 * 66 + 2, 8 * 66 + 2, 3) and pictures[0].dtype == np.uint8
    # The same pictures; a value at the edge between two levels may round either way.
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() <= 1
    np.testing.assert_array_equal(pictures[0][2:66:8, 2:66:8, 0], source.example(0)[..., 0])


@pytest.mark.parametrize("shape", [(16, 2), (4, 4, 4, 1)])
def test_what_only_pictures_have_is_left_out_for_signals_and_clips(shape):
    result = _evaluate(small_experiment(SmallSource(shape=shape, dtype="float32", count=3)))
    assert set(result.numbers) == {"psnr", "mse", "l1", "codebook_usage", "perplexity"}
    assert result.pictures.shape[-1] == 3


def test_several_levels_are_told_apart():
    experiment = small_experiment(SmallSource(count=3))
    task = _TwoLevels(experiment.task)
    experiment = dataclasses.replace(experiment, task=task)
    mesh = make_mesh(jax.devices()[:1])
    state = started(small_experiment(SmallSource(count=3)))
    evaluator = ReconstructionEvaluator(experiment, mesh)
    numbers = evaluator(state.params, state.collections).numbers
    assert {"perplexity/a", "perplexity/b", "codebook_usage/a"} < set(numbers)
    assert numbers["codebook_usage/b"] == 1 / 3


def test_an_empty_split_is_an_error():
    with pytest.raises(DataError, match="eval split of SmallSource is empty"):
        _evaluate(small_experiment(SmallSource(count=0)))


@dataclasses.dataclass(frozen=True)
class _TwoLevels:
    """A task whose tokens have a second level that always says 1 of 3."""

    task: object

    inputs = "image"
    losses = metrics = ()
    has_prior = False

    def token_layout(self, shape):
        (level,) = self.task.token_layout(shape)
        return (
            dataclasses.replace(level, name="a"),
            dataclasses.replace(level, name="b", codebook_size=3),
        )

    def encode(self, params, collections, x):
        tokens = self.task.encode(params, collections, x)
        first = tokens.indices["tokens"]
        return tokens.replace(indices={"b": 0 * first + 1, "a": first})

    def decode_latents(self, params, collections, z_q):
        return self.task.decode_latents(params, collections, z_q)


@pytest.mark.parametrize("name", ["trust", "frozen"])
def test_a_text_is_no_sequence_of_texts(name):
    with pytest.raises(UsageError, match=f"{name}='x.py': wanted a sequence"):
        evaluate_run("nowhere", **{name: "x.py"})


@dataclasses.dataclass(frozen=True)
class Off:
    """A metric as somebody may write it: the share of values that are off by more than `least`."""

    least: float = 0.1
    name: str = "off"

    def __call__(self, x, x_hat):
        return (abs(x - x_hat) > self.least).mean(axis=(1, 2, 3))


class Sum:
    name = "sum"

    def __call__(self, x, x_hat):
        return (x - x_hat).sum()


class Missing(Sum):
    name = "missing"

    def __call__(self, x):
        return x


def test_a_tasks_own_metrics_come_last_and_count_every_example_once():
    source = SmallSource()
    plan = small_experiment(source)
    own = (Off(0.1), Off(0.5, "far_off"))
    plan = dataclasses.replace(plan, task=dataclasses.replace(plan.task, metrics=own))
    state = started(plan)
    mesh = make_mesh(jax.devices()[:1])
    numbers = ReconstructionEvaluator(plan, mesh)(state.params, state.collections).numbers
    assert list(numbers)[-2:] == ["off", "far_off"]
    x = normalize(np.stack([source.example(i) for i in range(source.count)]))
    tokens = plan.task.encode(state.params, state.collections, x)
    x_hat = plan.task.decode_latents(state.params, state.collections, tokens.z_q).clip(-1, 1)
    for metric in own:
        np.testing.assert_allclose(numbers[metric.name], metric(x, x_hat).mean(), rtol=1e-5)


@pytest.mark.parametrize(
    ("metrics", "line"),
    [
        ((Off(), Off(0.5)), "metrics.1: another number has the name 'off'"),
        ((Off(name="psnr"),), "metrics.0: another number has the name 'psnr'"),
        ((Off(name="a/b"),), "metrics.0: its name='a/b': wanted a word"),
        ((L1(),), "metrics.0: another number has the name 'l1'"),
        ((Missing(),), "'missing' cannot take .x, x_hat. of .2, 8, 8, 1.: "),
        ((Sum(),), "'sum' gives .* for two examples: wanted a number for each"),
    ],
)
def test_metrics_that_cannot_be_are_refused_before_the_first_step(metrics, line):
    plan = small_experiment(SmallSource())
    with pytest.raises(UsageError, match=line):
        task = dataclasses.replace(plan.task, metrics=metrics)
        task.check(SmallSource().example_spec())
