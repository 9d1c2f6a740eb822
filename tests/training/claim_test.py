"""Whose a run directory is, and whose its checkpoints are."""

import json
import pathlib
import shutil

import jax
import pytest

import vqjax
from vqjax import config
from vqjax.training.loop import train
from vqjax.training.record import read_record
from vqjax.training.seal import read_seal, sealed_steps
from vqjax.types import DataError, UsageError

FILE = str(pathlib.Path(__file__).parent / "files" / "small_vqvae.py")


def go(run, *overrides, **settings):
    experiment = config.load_file(FILE, {}, overrides)
    return train(experiment, run, devices=jax.devices()[:1], **settings)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """RUN, 4 steps, sealed at 0, 2 and 4."""
    run = tmp_path_factory.mktemp("finished") / "run"
    go(run, "total_steps=4")
    return run


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def edited(run, change):
    path = run / "experiment.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def said_by(run, **settings):
    return vqjax.load(run, **settings).lines


def test_a_copied_and_moved_run_is_the_same_run(run):
    assert said_by(run) == []
    for step in sealed_steps(run / "checkpoints"):
        owner = read_seal(run / "checkpoints" / str(step))["owner"]
        assert owner["run"] == read_record(run).id
        assert owner["experiment"] == read_record(run).digest


def test_a_record_changed_by_hand_is_refused(run):
    edited(run, lambda content: content["experiment"].update(seed=7))
    with pytest.raises(DataError, match=r"experiment.json was changed by hand"):
        vqjax.load(run)
    with pytest.raises(UsageError, match="seed: 7 -> 0"):
        go(run, "total_steps=4")
    edited(run, lambda content: content.pop("digest"))
    with pytest.raises(DataError, match="4 was sealed under another experiment"):
        vqjax.load(run)


def test_what_says_the_same_in_other_words_is_the_same(run):
    def other_words(content):
        assert content["experiment"].pop("accumulate") == 1  # as before there was such a field
        content["experiment"]["task"]["loss_weights"]["l2"] = 1
        content["experiment"]["mesh"]["fsdp"] = 8

    edited(run, other_words)
    assert said_by(run) == []
    assert go(run, "total_steps=4") == 4


def test_a_change_that_was_allowed_is_said_of_the_steps_before_it(run):
    go(run, "total_steps=6", allow_change=True)
    (line,) = said_by(run, step=4)
    assert line == "checkpoint 4 was made before these changes: total_steps: 4 -> 6"
    assert said_by(run) == []
    go(run, "total_steps=8", "log_every=2", allow_change=True)
    (line,) = said_by(run, step=4)
    assert line.endswith("total_steps: 4 -> 6; total_steps: 6 -> 8; log_every: 1 -> 2")
    assert len(read_record(run).replaced) == 2


def test_a_checkpoint_of_another_run_is_named_and_not_used(run, finished, tmp_path):
    other = tmp_path / "other"
    go(other, "total_steps=4", "seed=1")
    shutil.rmtree(run / "checkpoints" / "4")
    shutil.copytree(other / "checkpoints" / "4", run / "checkpoints" / "4")
    opened = vqjax.load(run)
    assert opened.step == 2
    assert "checkpoint 4 is not this run's" in opened.lines[0]
    go(run, "total_steps=4")
    assert said_by(run) == []
    assert (run / "checkpoints" / "4.damaged").is_dir()


def test_a_newest_checkpoint_that_is_gone_is_said(run):
    shutil.rmtree(run / "checkpoints" / "4")
    (line,) = said_by(run)
    assert line.startswith("metrics.jsonl goes on to step 4, the newest checkpoint here is 2")
    assert said_by(run, step=2) == []


def test_a_record_that_is_gone_comes_back_only_as_it_was(run, capsys):
    before = read_record(run)
    (run / "experiment.json").unlink()
    with pytest.raises(DataError, match="no experiment.json, and these settings are others"):
        go(run, "total_steps=4", "seed=1")
    assert not (run / "experiment.json").exists()
    assert go(run, "total_steps=4") == 4
    assert "was missing: written anew, with the settings of step 4" in capsys.readouterr().err
    assert (read_record(run).id, read_record(run).digest) == (before.id, before.digest)
    assert said_by(run) == []


def test_a_record_that_is_gone_may_be_replaced_on_purpose(run):
    (run / "experiment.json").unlink()
    go(run, "total_steps=6", "seed=1", allow_change=True)
    assert "settings that nobody recorded" in said_by(run, step=4)[0]


def as_of_old(run):
    """The run as a vqjax wrote it that knew no owners."""
    edited(run, lambda content: [content.pop(name) for name in ("id", "digest", "replaced")])
    for path in (run / "checkpoints").glob("*/seal.json"):
        seal = json.loads(path.read_text())
        del seal["owner"]
        path.write_text(json.dumps(seal))


def test_old_runs_open_and_go_on(run):
    as_of_old(run)
    (line,) = said_by(run)
    assert "checkpoint 4 was sealed by an earlier vqjax" in line
    assert go(run, "total_steps=4") == 4
    assert go(run, "total_steps=6", allow_change=True) == 6
    assert said_by(run) == [] and read_record(run).id is not None


def test_an_old_run_without_its_record_does_not_go_on(run):
    as_of_old(run)
    (run / "experiment.json").unlink()
    with pytest.raises(DataError, match="and these settings cannot be compared"):
        go(run, "total_steps=4")


def test_a_command_that_failed_before_its_first_step_claims_nothing(run, capsys):
    for step in (2, 4):
        shutil.rmtree(run / "checkpoints" / str(step))
    metrics = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text(metrics[0] + "\n")
    first = read_record(run).id
    (run / "note.txt").write_text("mine")
    assert go(run, "total_steps=2", "seed=1") == 2
    assert "experiment that never finished a step: replaced" in capsys.readouterr().err
    assert read_record(run).experiment.seed == 1 and read_record(run).id != first
    assert (run / "note.txt").exists() and (run / "checkpoints" / "0.damaged").is_dir()
    assert said_by(run, step=0) == []


@pytest.mark.parametrize("left", ["4", "4.damaged", "4/state.orbax-checkpoint-tmp"])
def test_what_is_left_of_a_step_is_somebodys(run, left):
    for step in (2, 4):
        shutil.rmtree(run / "checkpoints" / str(step))
    (run / "metrics.jsonl").unlink()
    (run / "checkpoints" / left).mkdir(parents=True)
    with pytest.raises(UsageError, match="is a run of another experiment"):
        go(run, "total_steps=2", "seed=1")


@pytest.mark.parametrize("name", ["faces[2024]", "a\\b", "what?", "a*"])
def test_a_path_that_orbax_would_take_for_a_pattern(tmp_path, name):
    with pytest.raises(UsageError, match="a run's path must not have"):
        go(tmp_path / name)
    assert not list(tmp_path.iterdir())
