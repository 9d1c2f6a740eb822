"""`vqjax train` as it is typed: mistakes cost one line and leave nothing behind."""

import json
import os
import pathlib
import re
import shutil
import signal

import numpy as np
import pytest

import vqjax
from vqjax.cli.main import main
from vqjax.training import distributed, loop, signals
from vqjax.training.lock import Lock
from vqjax.training.logbook import Logbook, read_metrics
from vqjax.training.seal import sealed_steps

FILE = str(pathlib.Path(__file__).parent.parent / "training" / "files" / "small_vqvae.py")

OWN_LOSS = """
import dataclasses, importlib.util
import jax.numpy as jnp
spec = importlib.util.spec_from_file_location("small", {file!r})
small = importlib.util.module_from_spec(spec)
spec.loader.exec_module(small)

@dataclasses.dataclass(frozen=True)
class Cubed:
    name = "l2"
    needs_logits = False
    def __call__(self, x, x_hat, logits):
        return jnp.mean(jnp.abs(x - x_hat) ** 3)

def experiment():
    made = small.experiment()
    return dataclasses.replace(made, task=dataclasses.replace(made.task, losses=(Cubed(),)))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty directory to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(capsys, *argv):
    """(exit code, lines on stderr)."""
    capsys.readouterr()
    code = main(["train", *map(str, argv)])
    out, err = capsys.readouterr()
    assert out == ""
    return code, err.splitlines()


def done(run, steps):
    """What is said of a finished run."""
    return [
        f"{run} is done: {steps} of {steps} steps",
        f"next: vqjax report {run}",
        f"next: vqjax reconstruct {run} --out out",
    ]


def refused(capsys, here, *argv, code=2):
    """The one line with which a command is refused; nothing was made."""
    before = sorted(here.rglob("*"))
    got, lines = train(capsys, *argv)
    assert (got, len(lines)) == (code, 1), lines
    assert sorted(here.rglob("*")) == before
    assert lines[0].startswith("vqjax: error: ")
    return lines[0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """RUN, 6 steps, sealed at 2, 4 and 6."""
    run = tmp_path_factory.mktemp("finished") / "run"
    assert main(["train", FILE, "--workdir", str(run)]) == 0
    return run


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("task.tokenizer.quantizer.codebok_size=64", "'codebook_size'"),
        ("batch_size=many", "batch_size"),
        ("batch_size=12", "batch_size=12 does not divide over 8 devices: use 8 or 16"),
        ("batch_size=0", "at least 1"),
        ("total_steps=-1", "at least 1"),
        ("accumulate=3", "accumulate=3"),
        ("compute_dtype=float61", "'float64'"),
        ("optimizers.tokenizer=Ramp(1.0)", "optimizers.tokenizer: Ramp(value=1.0) is not an Opt"),
        ("optimizers.tokenizer=Optax(1e-3,(Transform('scale_by_lino'),))", "'scale_by_lion'"),
        ("task.tokenizer.decoder.channels=3", "channels"),
        ("task.inputs=sound", "image"),
        ("task.loss_weights={'commitment':1.0}", "lacks 'l2'"),
    ],
)
def test_wrong_settings(capsys, here, override, words):
    assert words in refused(capsys, here, FILE, override)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def experment(): pass", "has no function experiment()"),
        ("def experiment(): return 3", "returned int, not an Experiment"),
        ("def experiment(:", "SyntaxError"),
        ("import nothing_like_it", "ModuleNotFoundError"),
        (
            OWN_LOSS + "\ndef experiment():\n    made = small.experiment()\n    task = dataclasses."
            "replace(made.task, discriminator=made.task.tokenizer)\n"
            "    return dataclasses.replace(made, task=task)",
            "the same Tokenizer instance stands at task.tokenizer and at task.discriminator",
        ),
    ],
)
def test_wrong_files(capsys, here, text, words):
    (here / "x.py").write_text(text.replace("{file!r}", repr(FILE)))
    assert words in refused(capsys, here, "x.py")


def test_no_file(capsys, here):
    assert "nothing.py does not exist" in refused(capsys, here, "nothing.py")
    (here / "folder").mkdir()
    assert "folder is a directory, not an experiment" in refused(capsys, here, "folder")


def test_a_mistake_on_one_host_is_told_to_the_others(capsys, here, monkeypatch):
    messages = []

    def exchange(text):
        messages.append(json.loads(text))
        return [text, "{}"]

    monkeypatch.setattr("vqjax.cli.train.split", lambda *_: None)
    for name, do in (("connect", lambda *_: None), ("several", lambda: True)):
        monkeypatch.setattr(distributed, name, do)
    monkeypatch.setattr(distributed, "_exchange", exchange)
    line = refused(capsys, here, "nothing.py", "--processes", "2", "--process", "0")
    assert "nothing.py does not exist" in line
    assert [words["code"] for words in messages] == [2]
    monkeypatch.setattr(distributed, "_exchange", lambda text: [text, json.dumps(messages[0])])
    line = refused(capsys, here, FILE, "--processes", "2", "--process", "0")
    assert line.startswith("vqjax: error: process 1: ") and "does not exist" in line


def test_a_workdir_that_cannot_be(capsys, here, monkeypatch):
    (here / "file").write_text("")
    for workdir in ("file", "file/run", "file/a/b"):
        line = refused(capsys, here, FILE, "--workdir", workdir)
        assert "file is not a directory" in line
    assert "mount the bucket" in refused(capsys, here, FILE, "--workdir", "gs://bucket/run")
    assert "cannot write to /proc/run" in refused(capsys, here, FILE, "--workdir", "/proc/run")
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere
    assert "no permission to write" in refused(capsys, here, FILE, "--workdir", "run")


def test_data_that_are_not_prepared(capsys, here):
    (here / "data").mkdir()
    line = refused(capsys, here, FILE, "data=TFDS('mnist',data_dir='data')", code=3)
    assert "vqjax prepare mnist" in line


def test_a_changed_experiment_is_refused_with_the_difference(capsys, run):
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    again = (FILE, "--workdir", run)
    code, lines = train(capsys, *again, "batch_size=16", "task.loss_weights.l2=2.0")
    assert code == 2 and len(lines) == 1
    assert "batch_size: 8 -> 16" in lines[0] and "task.loss_weights.l2: 1.0 -> 2.0" in lines[0]
    assert "--workdir" in lines[0] and "--allow-change" in lines[0]
    code, lines = train(
        capsys, *again, "--allow-change", "task.tokenizer.quantizer.codebook_size=8"
    )
    assert code == 3 and "holds another model" in lines[0] and len(lines) == 1
    assert before == {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    assert train(capsys, *again, "--allow-change", "total_steps=8")[0] == 0
    assert sealed_steps(run / "checkpoints") == [4, 6, 8]
    assert vqjax.load(run).experiment.total_steps == 8
    assert train(capsys, *again, "total_steps=8") == (0, done(run, 8))


@pytest.mark.slow
def test_an_edited_file_with_classes_of_its_own_is_a_change_like_others(capsys, here):
    text = OWN_LOSS.replace("{file!r}", repr(FILE))
    (here / "own.py").write_text(text)
    code, lines = train(capsys, "own.py", "total_steps=2", "--workdir", "run")
    assert code == 0 and "not vqjax's: own.py:Cubed: to open this run will need --trust" in lines
    assert lines[-2] == f"next: vqjax report run --trust {here / 'own.py'}"
    assert train(capsys, "own.py", "total_steps=2", "--workdir", "run")[0] == 0
    (here / "own.py").write_text(text.replace("** 3", "** 4"))
    line = refused(capsys, here / "run", "own.py", "total_steps=2", "--workdir", "run")
    assert "the code of" in line and "Cubed changed" in line and "--allow-change" in line
    code, _ = train(capsys, "own.py", "total_steps=4", "--workdir", "run", "--allow-change")
    assert code == 0
    assert vqjax.load("run", trust=["own.py"]).step == 4


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"experiment": NaN}', '{"experiment":' + "[" * 10_000, '{"a": 1}']
)
def test_a_damaged_record_is_not_taken_over(capsys, run, text):
    (run / "experiment.json").write_text(text)
    line = refused(capsys, run, FILE, "--workdir", run, code=3)
    assert "experiment.json" in line


def test_a_run_in_training_is_refused_and_a_finished_one_needs_no_lock(capsys, run):
    with Lock(run):
        line = refused(capsys, run, FILE, "--workdir", run, "total_steps=8", "--allow-change")
        assert f"is being trained by process {os.getpid()} on " in line
        assert train(capsys, FILE, "--workdir", run) == (0, done(run, 6))
    assert not (run / ".lock").exists()


def flip(run, step):
    path = max((run / "checkpoints" / str(step)).rglob("d/*"), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_flipped_byte_costs_one_line_and_a_few_steps(capsys, run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    flip(run, 6)
    code, output = train(capsys, FILE, "--workdir", run)
    assert code == 0
    assert [line for line in output if "damaged" in line] == output[:1]
    assert re.match(r"checkpoint 6 is damaged \(state/\S+ differs from its seal\)", output[0])
    assert any("resuming at step 4 of 6" in line for line in output)
    unchanged = [line for line in lines if '"kind": "time"' not in line]
    new = (run / "metrics.jsonl").read_text().splitlines()
    assert [line for line in new if '"kind": "time"' not in line] == unchanged
    assert vqjax.load(run).step == 6


def test_all_steps_damaged_is_exit_3(capsys, run):
    for step in (2, 4, 6):
        flip(run, step)
    line = refused(capsys, run, FILE, "--workdir", run, code=3)
    assert all(f"checkpoint {step} is damaged" in line for step in (2, 4, 6))


def test_nan_ends_the_run_with_the_last_good_state_sealed(capsys, here):
    code, lines = train(capsys, FILE, "--arg", "poison=true", "total_steps=20", "--workdir", "run")
    assert code == 4
    assert "gradients not finite for 3 steps in a row, up to step 6; the last good" in lines[-1]
    step = sealed_steps("run/checkpoints")[-1]
    assert f"sealed as step {step} of" in lines[-1]
    loaded = vqjax.load("run")
    assert loaded.step == step
    assert np.isfinite(loaded.reconstruct(np.zeros((1, 8, 8, 1), np.float32))).all()
    numbers = [line for line in read_metrics("run") if line["kind"] == "train"]
    assert [line["nonfinite"] for line in numbers[:6]] == [0, 0, 0, 1, 2, 3]
    again = train(capsys, FILE, "--arg", "poison=true", "total_steps=20", "--workdir", "run")
    assert again[0] == 4


def test_ctrl_c_saves_and_goes_on(capsys, here, finished, monkeypatch):
    written = Logbook.train

    def interrupted(self, step, numbers):
        written(self, step, numbers)
        if step == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Logbook, "train", interrupted)
    code, lines = train(capsys, FILE, "--workdir", "run")
    stopped = sealed_steps("run/checkpoints")[-1]
    assert code == 75 and 3 <= stopped < 6
    assert lines[-1].startswith(f"vqjax: SIGINT: step {stopped} is saved")
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    code, lines = train(capsys, FILE, "--workdir", here / "run")
    assert code == 0 and any(f"resuming at step {stopped} of 6" in line for line in lines)
    whole, parts = (
        [line for line in read_metrics(where) if line["kind"] != "time"]
        for where in (finished, here / "run")
    )
    assert whole == parts


def test_the_second_ctrl_c_leaves_at_once(monkeypatch):
    def leave(code):
        raise SystemExit(code)

    monkeypatch.setattr(signals.os, "_exit", leave)
    with pytest.raises(SystemExit) as end, signals.StopSignal() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.received == "SIGTERM"
        signal.raise_signal(signal.SIGINT)
    assert end.value.code == 130


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_lost_terminal_and_a_batch_system_stop_it_unless_it_was_told_to_ignore_them(number):
    with signals.StopSignal() as stop:
        signal.raise_signal(number)
    assert stop.received == number.name and signal.getsignal(number) is signal.SIG_DFL
    signal.signal(number, signal.SIG_IGN)  # as nohup does
    try:
        with signals.StopSignal() as stop:
            signal.raise_signal(number)
        assert stop.received is None and signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, signal.SIG_DFL)


def test_the_default_workdir_bears_the_files_name(capsys, here, monkeypatch):
    workdirs = []
    monkeypatch.setattr(loop, "train", lambda experiment, workdir, **rest: workdirs.append(workdir))
    for file in (FILE, "digits_vqgan"):
        assert train(capsys, file, "total_steps=2")[0] == 0
    assert workdirs == [pathlib.Path("runs/small_vqvae"), pathlib.Path("runs/digits_vqgan")]
