"""Before step 0: each example once, no more memory than should be spent, and somebody listens."""

import contextlib
import dataclasses
import shutil
import signal
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from vqjax.ops import codes, progress
from vqjax.tasks import codebooks
from vqjax.training import start
from vqjax.training.logbook import Logbook
from vqjax.training.loop import train
from vqjax.training.mesh import make_mesh
from vqjax.types import Stopped


def encodings(experiment, mesh, samples=10**6, size=70_000):
    """[n, D]: the pictures themselves, cut into their rows."""
    batches = start.once_through(experiment, mesh)
    parts = codebooks.encodings(lambda batch: batch["image"][..., 0], batches, samples, size)
    return np.concatenate([np.asarray(part).reshape(-1, part.shape[-1]) for part in parts])


def test_a_codebook_starts_from_each_example_once():
    """Also where the last batch goes on with the next epoch, and on several devices."""
    for devices, size in ((1, 16), (8, 16), (8, 64), (8, 8)):
        experiment = tiny.vqvae(data=tiny.arrays(train=40), batch_size=size)
        found = encodings(experiment, make_mesh(jax.devices()[:devices]))
        images = experiment.data.train_arrays["image"].reshape(-1, 8)
        assert found.shape == images.shape
        order = [np.lexsort(rows.T) for rows in (found, images)]
        np.testing.assert_array_equal(found[order[0]], images[order[1]])


def test_a_source_that_does_not_say_how_much_there_is_goes_on():
    experiment = tiny.vqvae(data=tiny.arrays(train=40), batch_size=16)
    source = types.SimpleNamespace(train=experiment.data.train)
    endless = types.SimpleNamespace(task=None, data=source, batch_size=16, seed=0)
    assert len(encodings(endless, make_mesh(jax.devices()[:1]), samples=1, size=600)) == 640


def test_encodings_are_as_many_as_asked_for_or_as_memory_should_hold(monkeypatch):
    def found(samples, size):
        batches = ({"x": jnp.zeros((4, 5, 8))} for _ in range(100))
        parts = codebooks.encodings(lambda batch: batch["x"], batches, samples, size)
        return sum(part.shape[0] * part.shape[1] for part in parts)

    assert found(samples=3, size=10) == 40
    monkeypatch.setattr(codebooks, "MOST_VALUES", 8 * 60)
    assert found(samples=30, size=10) == 60
    assert found(samples=30, size=70) == 80  # at least one per code


def test_long_work_is_said_now_and_then_and_ends_at_a_signal(monkeypatch):
    said, now = [], [0.0]
    monkeypatch.setattr(start.time, "perf_counter", lambda: now[0])
    stop = types.SimpleNamespace(received=None)
    hear = start.listener(types.SimpleNamespace(say=said.append), stop)
    for now[0] in (1.0, 4.0, 6.0, 7.0, 12.0):
        hear("k-means", int(now[0]), 1_200)
    assert said == ["before step 0: k-means, 6 of 1,200", "before step 0: k-means, 12 of 1,200"]
    stop.received = "SIGINT"
    with pytest.raises(Stopped, match="SIGINT: step 0 was not ready") as error:
        hear("k-means", 13, 1_200)
    assert error.value.exit_code == 75


@pytest.mark.slow
def test_a_training_can_be_stopped_in_a_long_start(tmp_path, one_device, monkeypatch):
    monkeypatch.setattr(codebooks, "QUICK", 0)
    monkeypatch.setattr(codes, "PART", 100)
    told, tell = [], progress.tell

    def tell_and_stop(what, done, total):
        told.append(what)
        if len(told) == 10:
            signal.raise_signal(signal.SIGINT)
        tell(what, done, total)

    monkeypatch.setattr(progress, "tell", tell_and_stop)
    run = tmp_path / "run"
    with pytest.raises(Stopped, match="SIGINT: step 0 was not ready"):
        train(tiny.vqvae(), run, devices=one_device)
    assert {"k-means", "encodings for k-means"} == set(told) and len(told) < 20
    monkeypatch.setattr(progress, "tell", tell)
    assert train(tiny.vqvae(), run, devices=one_device) == 6


def test_a_signal_while_a_step_compiles_spares_the_other_programs(
    tmp_path, one_device, monkeypatch, capsys
):
    @contextlib.contextmanager
    def stopped_in(self, what):
        yield
        if what == "compiling":
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Logbook, "waiting", stopped_in)
    plan = tiny.vqgan()
    later = dataclasses.replace(plan.optimizers["discriminator"], start=3)
    plan = dataclasses.replace(plan, optimizers={**plan.optimizers, "discriminator": later})
    with pytest.raises(Stopped, match="SIGINT: step 0 was not ready and nothing is saved"):
        train(plan, tmp_path / "run", devices=one_device)
    said = capsys.readouterr().err
    assert said.count("compiling the step") == 1
    assert not list((tmp_path / "run" / "checkpoints").glob("[0-9]*"))


def test_a_signal_while_a_resumed_step_compiles_says_what_is_saved(
    tmp_path, one_device, monkeypatch
):
    """Also where that is step 0."""
    plan, run = tiny.vqvae(), tmp_path / "run"
    train(dataclasses.replace(plan, total_steps=2), run, devices=one_device)
    for step in (1, 2):
        shutil.rmtree(run / "checkpoints" / str(step), ignore_errors=True)

    @contextlib.contextmanager
    def stopped_in(self, what):
        yield
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Logbook, "waiting", stopped_in)
    with pytest.raises(Stopped, match="SIGINT: step 0 is saved; run the same command to go on"):
        train(plan, run, devices=one_device, allow_change=True)
