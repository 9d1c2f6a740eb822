"""The loop's own promises; those of runs and restarts are in resume_test and cli/train_test."""

import pathlib

import jax
import numpy as np
import pytest

from vqjax import config
from vqjax.training import distributed, loop
from vqjax.training.mesh import make_mesh
from vqjax.training.programs import trace_programs
from vqjax.types import UsageError

FILE = pathlib.Path(__file__).parent / "files" / "small_vqvae.py"


def test_a_step_moves_nothing_to_the_device_unseen(tmp_path, one_device, monkeypatch):
    experiment = config.load_file(str(FILE), {}, ("total_steps=1",))
    monkeypatch.setattr(loop, "put_batch", lambda batch, mesh: {"image": batch["image"]})
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        loop.train(experiment, tmp_path / "run", devices=one_device)


def test_evaluators_may_move_what_they_like(tmp_path, one_device):
    experiment = config.load_file(str(FILE), {}, ("total_steps=1",))
    seen = []

    class Judged:
        numbers = {"psnr": 1.0}
        pictures = None

    def evaluate(params, collections):
        last = params["tokenizer"]["decoder"]["to_output"]["bias"]
        seen.append(float((last + np.ones(last.shape, np.float32)).sum()))
        return Judged()

    run = tmp_path / "run"
    loop.train(experiment, run, devices=one_device, make_evaluator=lambda *_: evaluate)
    assert len(seen) == 1 and '"psnr": 1.0' in (run / "metrics.jsonl").read_text()


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
