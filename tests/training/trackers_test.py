"""Trackers get what TensorBoard gets; none of them can stop a run. trackio is tried for real."""

import dataclasses
import os
import pathlib
import sqlite3
import subprocess
import sys
import types

import numpy as np
import pytest

from tests import tiny
from vqjax.cli.main import main
from vqjax.runs.load import make_evaluator
from vqjax.training.loop import train
from vqjax.training.record import load_record
from vqjax.training.trackers import Tracker
from vqjax.types import UsageError


class Fake(types.ModuleType):
    """A package like trackio or wandb: keeps what it is handed."""

    def __init__(self, name, fails=False):
        super().__init__(name)
        self.started, self.logged, self.fails, self.finished = [], [], fails, 0

    def init(self, **settings):
        self.started.append(settings)
        if self.fails:
            raise OSError("no network")
        return self

    def Settings(self, **settings):
        return settings

    def Image(self, image):
        assert image.dtype == np.uint8 and image.ndim == 3
        return "image"

    def log(self, values, step):
        self.logged.append((step, values))

    def finish(self):
        self.finished += 1


@pytest.mark.parametrize("name", ["trackio", pytest.param("wandb", marks=pytest.mark.slow)])
def test_a_run_and_its_resumption_are_one_run_there(name, monkeypatch, tmp_path):
    fake = Fake(name)
    monkeypatch.setitem(sys.modules, name, fake)
    whole = dataclasses.replace(
        tiny.vqvae(), total_steps=4, log_every=1, eval_every=2, save_every=2
    )
    first = dataclasses.replace(whole, total_steps=2)
    for experiment in (first, whole):
        train(
            experiment, tmp_path / "run", make_evaluator=make_evaluator, track=f"{name}:mine",
            allow_change=True,
        )  # fmt: skip
    one, other = fake.started
    assert one["project"] == "mine" and one["name"] == other["name"] and one["resume"] == "allow"
    identity = load_record(tmp_path / "run").id
    assert one["name"] == f"run-{identity[:8]}" and other["config"]["total_steps"] == 4
    steps = [step for step, values in fake.logged if "train/l2" in values]
    assert steps == [1, 2, 3, 4] and fake.finished == 2
    assert [step for step, values in fake.logged if "image" in values.values()] == [2, 4]
    assert {step for step, values in fake.logged if "eval/psnr" in values} == {2, 4}


def test_what_a_tracker_cannot_take_is_left_out(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "trackio", Fake("trackio", fails=True))
    assert train(tiny.vqvae(), tmp_path / "run", track="trackio") == tiny.vqvae().total_steps
    err = capsys.readouterr().err
    assert err.count("cannot write to the tracker (no network): left out") == 1


def test_mlflow_finds_its_run_again(monkeypatch, tmp_path):
    client = MlflowClient()
    module = types.ModuleType("mlflow")
    module.MlflowClient = lambda: client
    monkeypatch.setitem(sys.modules, "mlflow", module)
    for step in (1, 2):
        tracker = Tracker("mlflow:mine", tmp_path / "run", "abcdef0123", {"seed": 0})
        tracker.numbers("eval", step, {"nats|text": 2.0, "odd": float("nan")}, 0.0)
        tracker.image("samples", step, np.zeros((2, 2, 3), np.uint8), 0.0)
        tracker.close()
    assert len(client.runs) == 1 and client.ended == 2 and len(client.pictures) == 2
    assert client.metrics == [("eval/nats of text", 2.0, 1), ("eval/nats of text", 2.0, 2)]


class MlflowClient:
    def __init__(self):
        self.runs, self.metrics, self.pictures, self.ended = [], [], [], 0

    def get_experiment_by_name(self, name):
        return types.SimpleNamespace(experiment_id="7") if self.runs else None

    def create_experiment(self, name):
        return "7"

    def search_runs(self, experiments, wanted):
        return [r for r in self.runs if wanted == f"tags.`vqjax.run` = '{r.tags['vqjax.run']}'"]

    def create_run(self, experiment, tags, run_name):
        info = types.SimpleNamespace(run_id="r0")
        self.runs.append(types.SimpleNamespace(info=info, tags=tags, name=run_name))
        return self.runs[-1]

    def update_run(self, run, status):
        assert (run, status) == ("r0", "RUNNING")

    def log_dict(self, run, content, name):
        assert content == {"seed": 0}

    def log_metric(self, run, name, value, step):
        self.metrics.append((name, value, step))

    def log_artifact(self, run, path, folder):
        self.pictures.append(path)

    def set_terminated(self, run):
        self.ended += 1


def test_names_that_are_none(tmp_path, monkeypatch, capsys):
    with pytest.raises(UsageError, match="--track trakio: did you mean 'trackio'"):
        Tracker("trakio", tmp_path, "id", {})
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match="--track wandb needs it: pip install wandb"):
        Tracker("wandb:x", tmp_path, "id", {})
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits_vqgan", "total_steps=1", "--track", "no"]) == 2
    assert "--track no" in capsys.readouterr().err and not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_trackio_for_real(tmp_path):
    """Without a network: it writes a database on this machine."""
    pytest.importorskip("trackio", reason="in the extra `test`")
    file = pathlib.Path(__file__).parent / "files" / "small_joint.py"
    command = [sys.executable, "-m", "vqjax", "train", str(file), "--track", "trackio:mine"]
    settings = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    for steps in (2, 3):
        more = [f"total_steps={steps}", "log_every=1", "--workdir", "run", "--allow-change"]
        subprocess.run([*command, *more], env=settings, cwd=tmp_path, check=True)
    (database,) = (tmp_path / "trackio").glob("mine*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("select step, run_name, metrics from metrics").fetchall()
    found = [step for step, _, metrics in rows if "train/nll" in str(metrics)]
    assert sorted(found) == [1, 2, 3] and len({name for _, name, _ in rows}) == 1
