"""Trainings as a shell starts them: interrupted at any moment, their terminal gone."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from vqjax.training.seal import sealed_steps

pytestmark = pytest.mark.slow

FILE = str(pathlib.Path(__file__).parent.parent / "training" / "files" / "small_vqvae.py")
STOPPED = 75


def start(run, *words, before=()):
    command = [*before, sys.executable, "-m", "vqjax", "train", FILE, "--workdir", str(run), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_steps(process, run):
    log, deadline = run / "log.txt", time.monotonic() + 300
    while not log.exists() or "first step after" not in log.read_text():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("delay", [0.2, 0.35, 0.5, 0.65, 0.8, 1.2, 2.0, 3.0, 5.0, 8.0])
def test_ctrl_c_counts_at_any_moment(tmp_path, delay):
    """Also while modules are imported, which swallow it."""
    run = tmp_path / "run"
    process = start(run, "total_steps=1000000", "save_every=1000000")
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    if process.returncode == STOPPED:
        assert "SIGINT: step" in err.splitlines()[-1] and sealed_steps(run / "checkpoints")
    else:
        assert (process.returncode, out) == (130, "")
        assert err.splitlines()[-1] == "vqjax: error: interrupted" and "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_training_whose_terminal_is_gone_is_saved(tmp_path, number):
    run = tmp_path / "run"
    process = start(run, "total_steps=1000000", "save_every=1000000", "log_every=1")
    wait_for_steps(process, run)
    process.stdout.close()
    process.stderr.close()
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(number)
    assert process.wait(120) == STOPPED and sealed_steps(run / "checkpoints")[-1] > 0


def test_under_nohup_it_goes_on(tmp_path):
    run = tmp_path / "run"
    process = start(run, "total_steps=300", before=["nohup"])
    wait_for_steps(process, run)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=300)
    assert process.returncode == 0 and sealed_steps(run / "checkpoints")[-1] == 300


@pytest.mark.parametrize("where", ["2>&-", ">&- 2>&-", "2>/dev/full", "2>&1 | head -1", "<&-"])
def test_output_that_cannot_be_written_changes_nothing(tmp_path, where):
    run = tmp_path / "run"
    command = f'"$@" {where}; exit ${{PIPESTATUS[0]}}'
    words = [sys.executable, "-m", "vqjax", "train", FILE, "--workdir", str(run), "log_every=1"]
    done = subprocess.run(["bash", "-c", command, "bash", *words], capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert sealed_steps(run / "checkpoints")[-1] == 6
    assert (run / "metrics.jsonl").read_bytes().endswith(b"}\n")
    assert os.path.getsize(run / "log.txt")
