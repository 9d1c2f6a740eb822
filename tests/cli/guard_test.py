"""What becomes of the end of a process that trains with others."""

import argparse
import signal
import subprocess
import sys
import time

import pytest

from vqjax.cli import guard

PARENT = """
import mmap, os, pathlib, signal, sys, time
{before}
from vqjax.cli.guard import split
peers = mmap.mmap(-1, 1)
code = split(pathlib.Path(sys.argv[1]), peers)
if code is not None:
    sys.exit(code)
{child}
"""


SLOW_FORK = """
fork = os.fork
def slow_fork():
    child = fork()
    time.sleep({parent} if child else {child})
    return child
os.fork = slow_fork
"""


def start(run, child, *, before=""):
    program = PARENT.format(child=child, before=before)
    return subprocess.Popen(
        [sys.executable, "-c", program, str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("child", "code"),
    [
        ("sys.exit(75)", 75),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("pass", 0),
    ],
)
def test_the_parent_ends_as_the_child_does(tmp_path, child, code):
    process = start(tmp_path, child)
    process.communicate(timeout=60)
    assert process.returncode == code


def test_an_abort_is_a_lost_peer(tmp_path):
    process = start(tmp_path, "peers[0] = True; os.abort()")
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert stderr.splitlines()[-1] == (
        f"vqjax: error: another process of {tmp_path} is gone (JAX gave up): no step is sealed yet"
    )
    step = tmp_path / "checkpoints" / "20"
    step.mkdir(parents=True)
    (step / "seal.json").touch()
    process = start(tmp_path, "peers[0] = True; os.abort()")
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 75 and "step 20 is sealed; run the same command" in stderr


def test_an_abort_without_others_is_no_lost_peer(tmp_path):
    process = start(tmp_path, "os.abort()")
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 134 and stderr == "vqjax: error: aborted (SIGABRT)\n"


@pytest.mark.parametrize(
    ("number", "before"),
    [
        ("SIGTERM", ""),
        ("SIGTERM", SLOW_FORK.format(parent=1, child=0)),
        ("SIGHUP", "signal.signal(signal.SIGUSR1, signal.SIG_IGN)"),
    ],
)
def test_a_signal_reaches_the_child(tmp_path, number, before):
    child = (
        f"signal.signal(signal.{number}, lambda *_: sys.exit(75))\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.05)"  # a signal just before a long one would wait for its end
    )
    process = start(tmp_path, child, before=before)
    assert process.stdout.readline() == "ready\n"
    if "SIG_IGN" in before:
        process.send_signal(signal.SIGUSR1)  # ignored by both, as from the start
    process.send_signal(getattr(signal, number))
    process.communicate(timeout=30)
    assert process.returncode == 75


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux to end a child with its parent")
def test_the_child_does_not_outlive_its_parent(tmp_path):
    alive = tmp_path / "alive"
    child = (
        f"alive = pathlib.Path({str(alive)!r})\n"
        "while True:\n"
        "    alive.touch()\n"
        "    print('here', flush=True)\n"
        "    time.sleep(0.05)"
    )
    process = start(tmp_path, child)
    assert process.stdout.readline() == "here\n"
    process.kill()
    process.communicate(timeout=30)
    time.sleep(0.2)
    alive.unlink()
    time.sleep(0.3)
    assert not alive.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux to end a child with its parent")
def test_a_child_whose_parent_is_gone_at_once_ends(tmp_path):
    started = tmp_path / "started"
    before = SLOW_FORK.format(parent="os.kill(os.getpid(), signal.SIGKILL)", child=0.5)
    process = start(tmp_path, f"pathlib.Path({str(started)!r}).touch()", before=before)
    process.communicate(timeout=30)  # until the child closes its ends, too
    assert process.returncode == -signal.SIGKILL and not started.exists()


@pytest.mark.parametrize(
    ("environment", "peers"),
    [
        ({}, False),
        ({"SLURM_NTASKS": "1"}, False),
        ({"SLURM_NTASKS": "4"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"JAX_COORDINATOR_ADDRESS": "host:1"}, True),
        ({"JAX_PROCESS_ID": "1"}, True),
    ],
)
def test_signs_of_peers(monkeypatch, environment, peers):
    for name in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", *guard.VARIABLES):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(guard, "_has_tpu", lambda: False)
    args = argparse.Namespace(processes=None, coordinator=None, process=None)
    assert guard.may_have_peers(args) is peers
    args.process = 1
    assert guard.may_have_peers(args)
