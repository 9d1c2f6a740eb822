"""What was planned from a run directory holds until the run ends."""

import os

import pytest

from vqjax.training import lock
from vqjax.training.lock import LOCK, Lock
from vqjax.training.turn import Turn
from vqjax.types import DataError, UsageError


@pytest.fixture
def run(tmp_path):
    """A run with one sealed step."""
    seal = tmp_path / "run" / "checkpoints" / "4" / "seal.json"
    seal.parent.mkdir(parents=True)
    seal.touch()
    (tmp_path / "run" / "experiment.json").write_text("{}")
    return tmp_path / "run"


def test_a_run_in_training_is_refused_before_anything_is_planned(run):
    with Lock(run):
        with pytest.raises(UsageError, match=f"trained by process {os.getpid()} on"):
            Turn(run, 8)
        finished = Turn(run, 4)  # it will not be written to
        with pytest.raises(UsageError, match="is being trained"), finished.hold():
            pass
    with finished.hold():
        assert finished.may_write() and (run / LOCK).exists()
    assert not (run / LOCK).exists()


def test_what_another_training_wrote_meanwhile_is_not_overlooked(run):
    for name in ("experiment.json", "checkpoints/8/seal.json"):
        turn = Turn(run, 20)
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("[]")
        words = "another training wrote to .*run the same command"
        with pytest.raises(UsageError, match=words), turn.hold():
            pass
        assert not (run / LOCK).exists()


def test_a_run_whose_record_is_gone_is_not_written_to(run):
    turn = Turn(run, 8)
    with turn.hold():
        turn.check()
        (run / "experiment.json").unlink()
        with pytest.raises(DataError, match="run lost its experiment.json while it trained"):
            turn.check()


def test_a_save_on_its_way_leaves_nothing_where_the_run_was(run, monkeypatch):
    monkeypatch.setattr(lock, "SETTLE_SECONDS", 0.01)
    for number, (name, goes) in enumerate(
        [("checkpoints/8/state/d/x", True), ("checkpoints/8/seal.json", False), ("mine", False)]
    ):
        turn = Turn(run, 8)
        with pytest.raises(DataError, match="was moved to"), turn.hold():
            run.rename(run.with_name(f"moved{number}"))
            (run / name).parent.mkdir(parents=True)
            (run / name).touch()
            turn.check()
        assert run.exists() is not goes
        if run.exists():
            run.rename(run.with_name(f"stays{number}"))
        run.with_name(f"moved{number}").rename(run)
