"""Kills at random moments, damaged files, and one run in several processes: the same numbers,
stopped together, ended together.

Runs are started as a user starts them: one process, or two of two CPU devices each.
"""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.training.resume_test import (
    FILES,
    STOPPED,
    checksum,
    deterministic_lines,
    finish,
    wait_for,
)
from vqjax.training import checkpoint
from vqjax.training.seal import sealed_steps

TIMEOUT = 10  # seconds until a process without a sign of life counts as dead
# So eager a revival that codes come back within these steps.
REVIVING = (
    str(FILES / "small_vqgan.py"),
    "task.tokenizer.quantizer.revival=Revival(below=0.5, share=0.6)",
    "task.tokenizer.quantizer.codebook_size=64",
)
CODEC = (
    str(FILES / "small_codec.py"),
    "total_steps=40",
    "task.tokenizer.quantizer.dropout=0.5",
    "task.tokenizer.quantizer.per=example",
)
JOINT = (str(FILES / "small_joint.py"),)
DENOISER = (str(FILES / "small_denoiser.py"),)
GAN = (str(FILES / "small_gan.py"),)
TEXT = (str(FILES / "small_text.py"),)
SCALES = "task.tokenizer.quantizer=MultiScaleResidual(EMAVectorQuantizer(16, 4), (1, 2, 4))"
OF_LOSSES = (
    "nll", "z", "nats_per_example", "nats_per_token", "denoising", "generator", "r1", "commitment",
)  # fmt: skip

pytestmark = pytest.mark.storm


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_alone(run, *words, devices=4):
    command = [sys.executable, "-m", "vqjax", "train", *words, "--workdir", str(run)]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def start_two(runs, *words):
    """Two processes; `runs` are their run directories, or the one of both."""
    runs = [runs, runs] if isinstance(runs, pathlib.Path) else runs
    port, processes = free_port(), []
    for number, run in enumerate(runs):
        apart = ("--coordinator", f"127.0.0.1:{port}", "--processes", "2")
        which = ("--process", str(number), "--peer-timeout", str(TIMEOUT))
        which += ("--connect-timeout", "30")
        processes.append(start_alone(run, *words, *apart, *which, devices=2))
    return processes


def finish_all(processes):
    """[(exit code, what it said)] of each."""
    return [finish(process) for process in processes]


def kill(process):
    """SIGKILL to the process that trains, not to the parent that watches over it."""
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    os.kill(int(children.split()[0]) if children else process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run of two processes that nobody stopped."""
    run = tmp_path_factory.mktemp("whole") / "run"
    for code, said in finish_all(start_two(run, *REVIVING)):
        assert code == 0, said
    return run


def test_two_processes_are_one(whole, tmp_path):
    run = tmp_path / "run"
    code, said = finish(start_alone(run, *REVIVING))
    assert code == 0, said
    one, two = deterministic_lines(run), deterministic_lines(whole)
    assert len(one) == len(two) == 44  # 40 steps and 4 evaluations
    steps = [[line for line in lines if line["kind"] == "train"] for lines in (one, two)]
    for name in ("l1", "commitment", "generator", "discriminator", "total"):
        for at, close in ((0, 1e-6), (19, 1e-4)):
            assert steps[1][at][name] == pytest.approx(steps[0][at][name], rel=close), (name, at)
    revived = [lines[19]["codebook_revived"] for lines in steps]
    assert revived[0] == revived[1] > 0
    # Each held-out example counts once, although ten do not divide over four devices.
    evaluated = [[line for line in lines if line["kind"] == "eval"] for lines in (one, two)]
    assert evaluated[1][0]["psnr"] == pytest.approx(evaluated[0][0]["psnr"], rel=1e-3)


@pytest.mark.parametrize("kind", ["gpt", "var", "joint", "denoiser", "gan", "text"])
def test_a_run_of_two_processes_is_that_of_one(tmp_path, kind):
    """As of one device in one process: rows, noise and partners are drawn by the position."""
    if kind in ("gpt", "var"):
        below, more = tmp_path / "below", {"gpt": (), "var": (SCALES,)}[kind]
        tokenizer = start_alone(below, str(FILES / "small_vqgan.py"), "total_steps=5", *more)
        assert finish(tokenizer)[0] == 0
        arguments = ("--arg", f"tokenizer={below}", "--arg", f"prior={kind}")
        words = (str(FILES / "small_prior.py"), *arguments)
    else:
        words = {"joint": JOINT, "denoiser": DENOISER, "gan": GAN, "text": TEXT}[kind]
    one, four, two = tmp_path / "one", tmp_path / "four", tmp_path / "two"
    started = [start_alone(one, *words, devices=1), *start_two(two, *words)]
    started.append(start_alone(four, *words, devices=4))
    for code, said in finish_all(started):
        assert code == 0, said
    whole = deterministic_lines(one)
    close = 1e-3 if kind == "gan" else 1e-4  # two players amplify what is rounded otherwise
    for run in (four, two):
        lines = deterministic_lines(run)
        assert [line["kind"] for line in lines] == [line["kind"] for line in whole]
        for line, wanted in zip(lines, whole, strict=True):
            for name in OF_LOSSES:
                if name in wanted:
                    assert line[name] == pytest.approx(wanted[name], rel=close), (name, line)


def test_each_process_reads_its_rows_alone(tmp_path):
    """And together those of one process, in its order."""
    port = free_port()
    file = pathlib.Path(__file__).parent / "files" / "print_rows.py"

    def rows(process, processes, devices):
        command = [sys.executable, str(file), str(process), str(processes), str(port)]
        environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)}
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    alone = json.loads(rows(0, 1, 4).communicate(timeout=120)[0])
    processes = [rows(n, 2, 2) for n in range(2)]
    parts = [json.loads(p.communicate(timeout=120)[0]) for p in processes]
    assert len(alone) == 5 and all(len(ids) == 8 for ids in alone)
    for step, ids in enumerate(alone):
        assert parts[0][step] + parts[1][step] == ids and len(parts[0][step]) == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_one_stops_both_at_the_same_step(whole, tmp_path, number):
    run = tmp_path / "run"
    processes = start_two(run, *REVIVING)
    wait_for(processes[0], (run / "checkpoints" / "5").exists)
    processes[1].send_signal(number)
    ends = finish_all(processes)
    last = sealed_steps(run / "checkpoints")[-1]
    for (code, said), name in zip(ends, ("SIGTERM", number.name), strict=True):
        assert code == STOPPED, said
        assert f"vqjax: {name}: step {last} is saved; run the same command" in said
    ends = finish_all(start_two(run, *REVIVING))
    assert [code for code, _ in ends] == [0, 0]
    assert f"resuming at step {last} of 40" in ends[0][1]
    assert deterministic_lines(run) == deterministic_lines(whole)
    assert checksum(run) == checksum(whole)


@pytest.mark.parametrize("victim", [0, 1])
def test_the_death_of_one_ends_the_other(victim, tmp_path):
    run = tmp_path / "run"
    processes = start_two(run, *REVIVING, "total_steps=4000", "save_every=5")
    wait_for(processes[0], (run / "checkpoints" / "10").exists)
    kill(processes[victim])
    died = time.monotonic()
    code, said = finish(processes[1 - victim])
    assert time.monotonic() - died < TIMEOUT + 15
    assert code == STOPPED, said
    sealed = sealed_steps(run / "checkpoints")
    told = re.search(r"another process of .* is gone \(.*\): step (\d+) is sealed", said)
    assert told and int(told[1]) == sealed[-1]
    assert finish(processes[victim])[0] == 128 + signal.SIGKILL


def test_a_process_that_never_comes_is_not_waited_for_for_ever(tmp_path):
    apart = ("--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2", "--process", "0")
    code, said = finish(start_alone(tmp_path / "run", *REVIVING, *apart, "--connect-timeout", "5"))
    assert code == 1 and said.splitlines()[-1].startswith("vqjax: error: "), said


def test_a_directory_that_is_not_shared_is_found_within_seconds(tmp_path):
    started = time.monotonic()
    ends = finish_all(start_two([tmp_path / "a" / "run", tmp_path / "b" / "run"], *REVIVING))
    assert time.monotonic() - started < 60
    for code, said in ends:
        assert code == 2
        assert re.search(r"vqjax: error: process 1 does not see what process 0 writes to", said)


def test_what_fails_on_one_host_is_said_on_all(tmp_path):
    ends = []
    port = free_port()
    for number, more in enumerate([(), ("batch_size=16",)]):
        apart = ("--coordinator", f"127.0.0.1:{port}", "--processes", "2")
        words = (*REVIVING, *more, *apart, "--process", str(number))
        ends.append(start_alone(tmp_path / "run", *words, devices=2))
    for code, said in finish_all(ends):
        assert code == 2
        assert "process 1 has another experiment than process 0" in said


def weather(launch, run, kills, most, draw):
    """Kills a run `kills` times at random moments, up to `most` seconds after its start, then lets
    it come to its end. No sealed step may get lost.
    """
    for number in range(kills + 1):
        processes = launch()
        before = sealed_steps(run / "checkpoints")
        deadline = time.monotonic() + (draw.uniform(0, most) if number < kills else 600)
        while time.monotonic() < deadline and processes[0].poll() is None:
            time.sleep(0.01)
        if processes[0].poll() is None:
            kill(draw.choice(processes))
        ends = finish_all(processes)
        after = sealed_steps(run / "checkpoints")
        assert not before or after[-1] >= before[-1], ends
        for code, said in ends:
            assert code in (0, 1, STOPPED, -signal.SIGKILL, 128 + signal.SIGKILL), said
    assert all(code == 0 for code, _ in ends), ends


@pytest.mark.parametrize(
    "words",
    [REVIVING, CODEC, JOINT, DENOISER, GAN],
    ids=["vqgan", "codec", "joint", "denoiser", "gan"],
)
def test_a_process_survives_ten_kills(tmp_path, words):
    whole, run = tmp_path / "whole", tmp_path / "run"
    started = time.monotonic()
    assert finish(start_alone(whole, *words, devices=2))[0] == 0
    most = time.monotonic() - started
    weather(lambda: [start_alone(run, *words, devices=2)], run, 10, most, random.Random(11))
    assert deterministic_lines(run) == deterministic_lines(whole)
    assert checksum(run) == checksum(whole)


def test_two_processes_survive_ten_kills(whole, tmp_path):
    """One of the two at random; the other has to end by itself."""
    run = tmp_path / "run"
    weather(lambda: start_two(run, *REVIVING), run, 10, 40, random.Random(7))
    assert deterministic_lines(run) == deterministic_lines(whole)
    assert checksum(run) == checksum(whole)


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def cut(file):
    file.write_bytes(file.read_bytes()[:-1])


def replace(file):
    file.write_bytes(b"another file")


def remove(file):
    file.unlink()


@pytest.mark.parametrize("damage", [flip, cut, replace, remove])
def test_whatever_file_is_damaged_the_step_before_is_used(whole, tmp_path, damage):
    """Every file of the newest step in turn, its seal among them."""
    run = tmp_path / "run"
    shutil.copytree(whole / "checkpoints", run)
    *_, before, newest = sealed_steps(run)
    files = [file for file in (run / str(newest)).rglob("*") if file.is_file()]
    for file in files:
        if not file.stat().st_size and damage in (flip, cut):
            continue  # nothing to take away
        kept = file.read_bytes()
        damage(file)
        step, lines = checkpoint.newest_sound(run)
        assert step == before, file
        if file.name != checkpoint.SEAL:
            name = file.relative_to(run / str(newest)).as_posix()
            assert len(lines) == 1 and name in lines[0] and str(newest) in lines[0]
        file.write_bytes(kept)
        assert checkpoint.newest_sound(run) == (newest, [])


def test_their_checkpoint_opens_in_one_process(whole):
    assert checksum(whole) and np.isfinite(deterministic_lines(whole)[-1]["psnr"])
