"""Whose a run directory is, and whose its checkpoints are.

Runs are begun, saved and begun again as training does it, without a step between.
"""

import dataclasses
import functools
import json
import pathlib
import shutil

import jax
import pytest

import vqjax
from vqjax import config
from vqjax.training import checkpoint
from vqjax.training.claim import claim, fitted
from vqjax.training.loop import train
from vqjax.training.mesh import make_mesh
from vqjax.training.record import ExperimentRecord, load_record, write_record
from vqjax.training.restore import initial_state
from vqjax.training.seal import read_seal, sealed_steps
from vqjax.types import ArraySpec, DataError, UsageError

FILE = str(pathlib.Path(__file__).parent / "files" / "small_vqvae.py")


@functools.cache
def state():
    experiment = config.load_file(FILE, {}, ())
    return initial_state(experiment, experiment.data.example_spec(), make_mesh(jax.devices()[:1]))


def go(run, *overrides, saves=(), allow_change=False, inputs=None):
    """What is said where a training begins that saves the steps `saves`."""
    experiment = fitted(config.load_file(FILE, {}, overrides), run)
    record = ExperimentRecord(experiment, inputs or experiment.data.example_spec(), "small")
    found = claim(run, record, allow_change)
    folder, newest, lines = run / "checkpoints", None, []
    if not found.fresh:
        newest, lines = checkpoint.newest_sound(folder, owner=found.owner)
    if found.writes:
        write_record(run, found.record)
    with checkpoint.Checkpoints(folder, 3, found.owner) as saver:
        saver.set_aside(newest)
        for step in saves:
            saver.save(step, state())
    with (run / "metrics.jsonl").open("a") as out:
        out.writelines(f'{{"kind": "train", "step": {step}}}\n' for step in saves)
    return [*found.lines, *lines]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """RUN, 4 steps, sealed at 0, 2 and 4."""
    run = tmp_path_factory.mktemp("finished") / "run"
    go(run, "total_steps=4", saves=(0, 2, 4))
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
        assert owner["run"] == load_record(run).id
        assert owner["experiment"] == load_record(run).digest


def test_a_record_changed_by_hand_is_refused(run):
    edited(run, lambda content: content["experiment"].update(seed=7))
    with pytest.raises(DataError, match=r"experiment.json was changed by hand"):
        vqjax.load(run)
    for seed in (1, 7):  # what it was changed to is not what its steps were made with
        with pytest.raises(DataError, match=r"experiment.json was changed by hand.*--allow-change"):
            go(run, "total_steps=4", f"seed={seed}")
    edited(run, lambda content: content.pop("digest"))
    with pytest.raises(DataError, match="4 was sealed under another experiment"):
        vqjax.load(run)


def test_a_record_changed_by_hand_becomes_what_it_was_or_is_replaced_on_purpose(run):
    before = (run / "experiment.json").read_text()
    edited(run, lambda content: content["experiment"].update(seed=7))
    (line,) = go(run, "total_steps=4")
    assert "experiment.json was changed by hand: written anew, as it was" in line
    assert (run / "experiment.json").read_text() == before
    edited(run, lambda content: content["experiment"].update(seed=7))
    go(run, "total_steps=4", "seed=7", allow_change=True)
    assert "settings that nobody recorded" in said_by(run)[0]


def test_other_inputs_are_a_change(run):
    inputs = {"image": ArraySpec((16, 16, 1), "float32")}
    with pytest.raises(UsageError, match=r"inputs.image.shape.0: 8 -> 16; inputs.image.shape.1: 8"):
        go(run, "total_steps=4", inputs=inputs)
    go(run, "total_steps=4", inputs=inputs, allow_change=True)
    assert "inputs.image.shape.0: 8 -> 16" in load_record(run).replaced[0].changes


def test_what_an_earlier_record_could_not_say_is_no_change(run):
    inputs = load_record(run).inputs
    spec = dataclasses.replace(inputs["image"], medium="image", rate=25.0)
    assert go(run, "total_steps=4", inputs={**inputs, "image": spec}) == []
    assert spec.is_like(inputs["image"])
    assert not spec.is_like(dataclasses.replace(spec, dtype="uint8"))


@pytest.mark.parametrize(
    "changes",
    [{"id": 5}, {"digest": []}, {"replaced": None}, {"replaced": [{}]}, {"replaced": [1]}],
)
def test_a_record_whose_owner_has_no_sense(run, changes):
    edited(run, lambda content: content.update(changes))
    for open_it in (vqjax.load, go):
        with pytest.raises(DataError, match=r"experiment.json"):
            open_it(run)


def test_what_says_the_same_in_other_words_is_the_same(run):
    def other_words(content):
        assert content["experiment"].pop("accumulate") == 1  # as before there was such a field
        content["experiment"]["task"]["loss_weights"]["l2"] = 1
        content["experiment"]["mesh"]["fsdp"] = 8

    edited(run, other_words)
    assert said_by(run) == []
    assert go(run, "total_steps=4") == []


def test_a_change_that_was_allowed_is_said_of_the_steps_before_it(run):
    go(run, "total_steps=6", allow_change=True, saves=(6,))
    (line,) = said_by(run, step=4)
    assert line == "checkpoint 4 was made before these changes: total_steps: 4 -> 6"
    assert said_by(run) == []
    go(run, "total_steps=8", "log_every=2", allow_change=True, saves=(8,))
    (line,) = said_by(run, step=4)
    assert line.endswith("total_steps: 4 -> 6; total_steps: 6 -> 8; log_every: 1 -> 2")
    assert len(load_record(run).replaced) == 2


def test_a_checkpoint_of_another_run_is_named_and_not_used(run, finished, tmp_path):
    other = tmp_path / "other"
    go(other, "total_steps=4", "seed=1", saves=(0, 2, 4))
    shutil.rmtree(run / "checkpoints" / "4")
    shutil.copytree(other / "checkpoints" / "4", run / "checkpoints" / "4")
    opened = vqjax.load(run)
    assert opened.step == 2
    assert "checkpoint 4 is not this run's" in opened.lines[0]
    (line,) = go(run, "total_steps=4", saves=(3, 4))
    assert "checkpoint 4 is not this run's" in line
    assert said_by(run) == []
    assert (run / "checkpoints" / "4.damaged").is_dir()


def test_a_newest_checkpoint_that_is_gone_is_said(run):
    shutil.rmtree(run / "checkpoints" / "4")
    (line,) = said_by(run)
    assert line.startswith("metrics.jsonl goes on to step 4, the newest checkpoint here is 2")
    assert said_by(run, step=2) == []


def test_a_record_that_is_gone_comes_back_only_as_it_was(run):
    before = load_record(run)
    (run / "experiment.json").unlink()
    with pytest.raises(DataError, match="no experiment.json, and these settings are not those"):
        go(run, "total_steps=4", "seed=1")
    assert not (run / "experiment.json").exists()
    (run / "checkpoints" / "4" / "seal.json").write_text("torn")  # an older one knows, too
    (line, passed) = go(run, "total_steps=4")
    assert "was missing: written anew, with the settings of step 2" in line and "4 is" in passed
    assert (load_record(run).id, load_record(run).digest) == (
        before.id,
        before.digest,
    )


def test_a_record_that_is_gone_may_be_replaced_on_purpose(run):
    (run / "experiment.json").unlink()
    go(run, "total_steps=6", "seed=1", allow_change=True, saves=(6,))
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
    assert "sealed by an earlier vqjax" in go(run, "total_steps=4")[0]
    go(run, "total_steps=6", allow_change=True, saves=(6,))
    assert said_by(run) == [] and load_record(run).id is not None


def test_an_old_run_without_its_record_does_not_go_on(run):
    as_of_old(run)
    (run / "experiment.json").unlink()
    with pytest.raises(DataError, match="and these settings cannot be compared"):
        go(run, "total_steps=4")


def test_a_command_that_failed_before_its_first_step_claims_nothing(run):
    for step in (2, 4):
        shutil.rmtree(run / "checkpoints" / str(step))
    metrics = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text(metrics[0] + "\n")
    edited(run, lambda content: content["experiment"].update(batch_size=16))  # nor does its record
    first = json.loads((run / "experiment.json").read_text())["id"]
    (run / "note.txt").write_text("mine")
    (line,) = go(run, "total_steps=2", "seed=1", saves=(0, 2))
    assert "experiment that never finished a step: replaced" in line
    assert load_record(run).experiment.seed == 1 and load_record(run).id != first
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
        train(config.load_file(FILE, {}, ()), tmp_path / name)
    assert not list(tmp_path.iterdir())


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Data fitted to a word that they find, unless an earlier start has one."""

    word: str = ""

    def fitted(self, before=None):
        return self if before is None else dataclasses.replace(self, word=before.word)


@pytest.mark.parametrize(("steps", "word"), [((0, 2), "old"), ((0,), "")])
def test_what_a_run_has_fitted_is_kept_once_it_has_finished_a_step(tmp_path, steps, word):
    """Also where a class of its own was edited since, and the record as a whole cannot be built."""
    content = {"experiment": {"class": "own.py:Edited", "data": config.encode(Fitted("old"))}}
    (tmp_path / "experiment.json").write_text(json.dumps(content))
    for step in steps:
        (tmp_path / "checkpoints" / str(step)).mkdir(parents=True)
    trust = (Fitted.__module__,)
    experiment = dataclasses.replace(config.load_file(FILE, {}, ()), data=Fitted())
    assert fitted(experiment, tmp_path, trust).data.word == word
    assert fitted(experiment, tmp_path).data.word == ""  # whose class may not be built
