"""The loop's own promises; those of runs and restarts are in resume_test and cli/train_test."""

import dataclasses
import itertools
import pathlib
import time
import types

import jax
import numpy as np
import pytest

from vqjax import config
from vqjax.training import distributed, lock, loop, steps
from vqjax.training.logbook import Logbook, read_metrics
from vqjax.training.mesh import make_mesh
from vqjax.training.programs import trace_programs
from vqjax.training.seal import sealed_steps
from vqjax.types import DataError, UsageError

FILE = pathlib.Path(__file__).parent / "files" / "small_vqvae.py"


def test_a_step_moves_nothing_to_the_device_unseen(tmp_path, one_device, monkeypatch):
    experiment = config.load_file(str(FILE), {}, ("total_steps=1",))
    monkeypatch.setattr(steps, "put_batch", lambda batch, mesh: {"image": batch["image"]})
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        loop.train(experiment, tmp_path / "run", devices=one_device)


def test_evaluators_may_move_what_they_like(tmp_path, one_device):
    experiment = config.load_file(str(FILE), {}, ("total_steps=1",))
    seen = []

    class Judged:
        numbers = {"psnr": 1.0}
        gallery = None
        described = {}

    def evaluate(params, collections):
        last = params["tokenizer"]["decoder"]["to_output"]["dense"]["bias"]
        seen.append(float((last + np.ones(last.shape, np.float32)).sum()))
        return Judged()

    run = tmp_path / "run"
    loop.train(experiment, run, devices=one_device, make_evaluator=lambda *_: evaluate)
    assert len(seen) == 1 and '"psnr": 1.0' in (run / "metrics.jsonl").read_text()


def lines_of(run):
    return [(line["kind"], line["step"]) for line in read_metrics(run) if line["kind"] != "time"]


def at_step(number, monkeypatch, do):
    """Has `do(logbook)` done when the line of step `number` is written and step 2 is sealed."""
    written = Logbook.train

    def train(self, step, numbers):
        written(self, step, numbers)
        if step == number:
            wait_for(lambda: sealed_steps(self.run / "checkpoints") == [0, 2])
            do(self)

    monkeypatch.setattr(Logbook, "train", train)


def wait_for(happened):
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_last_evaluation_that_failed_is_made_up_for(tmp_path, one_device, capsys):
    experiment = config.load_file(str(FILE), {}, ("total_steps=1", "save_every=9"))
    bad = [True]

    def evaluate(params, collections):
        if bad:
            raise DataError("a.jpg is torn")
        return types.SimpleNamespace(numbers={"psnr": 1.0}, gallery=None, described={})

    settings = {"devices": one_device, "make_evaluator": lambda *_: evaluate}
    with pytest.raises(DataError, match=r"^a.jpg is torn$"):
        loop.train(experiment, tmp_path, **settings)
    assert sealed_steps(tmp_path / "checkpoints") == [0, 1]
    bad.clear()
    for _ in range(2):
        assert loop.train(experiment, tmp_path, **settings) == 1
        assert lines_of(tmp_path) == [("train", 1), ("eval", 1)]
    assert capsys.readouterr().err.endswith(f"{tmp_path} is done: 1 of 1 steps\n")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["data", "evaluation"])
def test_an_error_of_the_data_comes_after_a_save(tmp_path, one_device, monkeypatch, what):
    """A restart, with the data mended, is the run that never failed."""
    words = ("total_steps=6", "save_every=6", "eval_every=4")
    experiment = config.load_file(str(FILE), {}, words)
    batches, bad = loop._batches, [True]

    class Judged:
        numbers = {"psnr": 1.0}
        gallery = None
        described = {}

    def until_the_fourth(*args):
        yield from itertools.islice(batches(*args), 4 if bad and what == "data" else None)
        raise DataError("a.jpg is torn")

    def evaluate(params, collections):
        if bad and what == "evaluation":
            raise DataError("a.jpg is torn")
        return Judged()

    def train():
        loop.train(experiment, tmp_path, devices=one_device, make_evaluator=lambda *_: evaluate)

    monkeypatch.setattr(loop, "_batches", until_the_fourth)
    with pytest.raises(DataError, match=r"^a.jpg is torn$"):
        train()
    assert sealed_steps(tmp_path / "checkpoints") == [0, 4]
    assert "an error after step 4, which is saved" in (tmp_path / "log.txt").read_text()
    bad.clear()
    train()
    whole = [("train", n) for n in range(1, 7)]
    whole.insert(4, ("eval", 4))
    assert lines_of(tmp_path) == [*whole, ("eval", 6)]
    assert not (tmp_path / ".lock").exists()


def test_a_run_that_moved_away_ends(tmp_path, one_device, monkeypatch):
    experiment = config.load_file(str(FILE), {}, ())
    run, other = tmp_path / "run", tmp_path / "other"
    at_step(3, monkeypatch, lambda logbook: run.rename(other))
    with pytest.raises(DataError, match=f"{run} was moved to {other} while it trained"):
        loop.train(experiment, run, devices=one_device)
    assert [p.name for p in tmp_path.iterdir()] == ["other"]
    assert sealed_steps(other / "checkpoints") == [0, 2]


@pytest.mark.slow
def test_a_run_that_is_taken_over_is_left_alone(tmp_path, one_device, monkeypatch):
    experiment = config.load_file(str(FILE), {}, ())
    monkeypatch.setattr(lock, "SETTLE_SECONDS", 0.01)
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.02)
    left = []

    def files():
        return {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def take_over(logbook):
        wait_for(logbook._writer._queue.empty)
        time.sleep(0.1)  # for the last of them
        stamp = dataclasses.replace(lock.this_process(tmp_path), pid=7)
        part = tmp_path / ".lock.part"
        part.write_bytes(stamp.encoded())
        part.rename(tmp_path / ".lock")
        wait_for(lambda: not logbook._may_write())
        left.append(files())

    at_step(3, monkeypatch, take_over)
    with pytest.raises(lock.LockLostError, match="process 7 on .* has taken it over"):
        loop.train(experiment, tmp_path, devices=one_device)
    assert files() == left[0]


def test_a_record_that_cannot_be_written_is_said_on_all(tmp_path, one_device, monkeypatch):
    experiment, told = config.load_file(str(FILE), {}, ("total_steps=1",)), []

    def exchange(text):
        told.append(text)
        return [text]

    def full(run, record):
        raise UsageError("no space")

    monkeypatch.setattr(distributed, "several", lambda: True)
    monkeypatch.setattr(distributed, "_exchange", exchange)
    monkeypatch.setattr(loop, "write_record", full)
    monkeypatch.setattr(loop, "trace_programs", lambda *_: {})
    with pytest.raises(UsageError, match="no space"):
        loop.train(experiment, tmp_path / "run", devices=one_device)
    assert told[-1] == '{"code": 2, "line": "no space"}'


def test_a_peer_lost_before_the_first_step_is_named(tmp_path, monkeypatch):
    def gone(text):
        raise jax.errors.JaxRuntimeError("UNAVAILABLE: Connection reset by peer")

    seal = tmp_path / "run" / "checkpoints" / "20" / "seal.json"
    seal.parent.mkdir(parents=True)
    seal.touch()
    monkeypatch.setattr(distributed, "several", lambda: True)
    monkeypatch.setattr(distributed, "_exchange", gone)
    with pytest.raises(distributed.PeerLost, match="step 20 is sealed") as error:
        loop.train(config.load_file(str(FILE), {}, ()), tmp_path / "run")
    assert error.value.exit_code == 75


def test_the_step_is_traced_under_its_mesh():
    """Or the lookup would gather all rows on every device."""
    experiment = config.load_file(str(FILE), {}, ("batch_size=16",))
    programs = trace_programs(experiment, experiment.data.example_spec(), {}, make_mesh())
    for traced in programs.values():
        assert "shard_map" in str(traced.jaxpr)
