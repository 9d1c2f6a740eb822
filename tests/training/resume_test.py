"""A run that was stopped in any way and started again is the run that was never stopped."""

import hashlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from tests import tiny
from vqjax.training import checkpoint
from vqjax.training.logbook import read_metrics
from vqjax.training.loop import train
from vqjax.training.mesh import make_mesh
from vqjax.training.record import load_record
from vqjax.training.restore import state_target
from vqjax.training.seal import sealed_steps

FILES = pathlib.Path(__file__).parent / "files"
VQGAN = (str(FILES / "small_vqgan.py"),)
STOPPED = 75
PATIENCE = 120.0  # seconds until a run must have shown life


def start(run, *words):
    """`vqjax train` as a process of its own, on one device; `words` are a file and its options."""
    command = [sys.executable, "-m", "vqjax", "train", *(words or VQGAN), "--workdir", str(run)]
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def finish(process):
    """(exit code, what it said)."""
    _, said = process.communicate(timeout=300)
    return process.returncode, said


def wait_for(process, happened):
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.002)


def deterministic_lines(run):
    return [line for line in read_metrics(run) if line["kind"] in ("train", "eval")]


def checksum(run):
    """sha256 over all arrays of the last checkpoint, the random key included."""
    record, mesh = load_record(run), make_mesh(jax.devices()[:1])
    target = state_target(record.experiment, record.inputs, mesh)
    state = checkpoint.restore(run / "checkpoints", target).state
    state = state.replace(rng=jax.random.key_data(state.rng))
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def files_of(run):
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in run.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nobody stopped."""
    run = tmp_path_factory.mktemp("whole") / "run"
    code, said = finish(start(run))
    assert code == 0, said
    return run


@pytest.mark.slow  # six processes; `make storm` does it ten times
def test_kill_9_at_three_moments_and_one_sigterm_change_nothing(whole, tmp_path):
    run, draw = tmp_path / "run", random.Random(3)
    stops = [signal.SIGTERM, *[signal.SIGKILL] * 3]
    stopped = None
    for number, n in zip(stops, sorted(draw.sample(range(1, 7), 4)), strict=True):
        process = start(run)
        # The folder is there before the save is finished: some kills tear the save itself.
        wait_for(process, (run / "checkpoints" / str(5 * n)).exists)
        time.sleep(draw.uniform(0, 0.1))
        process.send_signal(number)
        code, said = finish(process)
        assert code == (STOPPED if number == signal.SIGTERM else -number), said
        if stopped is not None:
            assert f"resuming at step {stopped} of 40" in said
            stopped = None
        if number == signal.SIGTERM:
            stopped = sealed_steps(run / "checkpoints")[-1]
            assert f"vqjax: SIGTERM: step {stopped} is saved; run the same command" in said
            assert max(line["step"] for line in read_metrics(run)) == stopped
    code, said = finish(start(run))
    assert code == 0 and "resuming at step" in said
    assert deterministic_lines(run) == deterministic_lines(whole)
    assert checksum(run) == checksum(whole)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A run of two steps, in the tokens of which priors are trained."""
    run = tmp_path_factory.mktemp("tokenizer") / "run"
    train(tiny.vqvae(total_steps=2), run, devices=jax.devices()[:1])
    return run


@pytest.mark.slow  # four processes each
@pytest.mark.parametrize("prior", ["gpt", "maskgit", "pixelcnn"])
def test_kill_9_changes_nothing_for_a_prior(prior, tokenizer, tmp_path):
    whole, run, draw = tmp_path / "whole", tmp_path / "run", random.Random(5)
    file = str(FILES / "small_prior.py")
    words = (file, "--arg", f"tokenizer={tokenizer}", "--arg", f"prior={prior}")
    code, said = finish(start(whole, *words))
    assert code == 0, said
    for n in (1, 5):
        process = start(run, *words)
        wait_for(process, (run / "checkpoints" / str(5 * n)).exists)
        time.sleep(draw.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        code, said = finish(process)
        assert code == -signal.SIGKILL, said
    code, said = finish(start(run, *words))
    assert code == 0 and "resuming at step" in said
    assert deterministic_lines(run) == deterministic_lines(whole)
    assert checksum(run) == checksum(whole)


@pytest.mark.slow
def test_a_finished_run_stays_as_it_is(whole):
    before = files_of(whole)
    code, said = finish(start(whole))
    assert code == 0 and said.splitlines() == [f"{whole} is done: 40 of 40 steps"]
    assert files_of(whole) == before


@pytest.mark.slow
def test_a_run_goes_on_with_other_devices_and_back(tmp_path, capsys):
    """1 -> 8 -> 1 devices: every stretch starts from the very state that the one before left."""
    alone, moving = tmp_path / "alone", tmp_path / "moving"
    train(tiny.vqvae(total_steps=6), alone, devices=jax.devices()[:1])
    shutil.copytree(alone, moving)
    for step in (4, 6):
        shutil.rmtree(moving / "checkpoints" / str(step))
    for steps, devices in ((4, 8), (6, 1)):
        experiment = tiny.vqvae(total_steps=steps)
        train(experiment, moving, devices=jax.devices()[:devices], allow_change=True)
        said = capsys.readouterr().err
        line = f"resuming at step {steps - 2} of {steps} steps of 8 examples on {devices} x"
        assert line in said
    moved, stayed = deterministic_lines(moving), deterministic_lines(alone)
    assert moved[:2] == stayed[:2] and [line["step"] for line in moved] == [1, 2, 3, 4, 5, 6]
    for a, b in zip(moved, stayed, strict=True):
        assert a["total"] == pytest.approx(b["total"], rel=1e-4)
