"""What becomes of a verb whose output cannot be written, or that is interrupted."""

import os
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys, time, types
module = types.ModuleType("vqjax.cli.train")
def run(args):
    {body}
def add_parser(subparsers):
    subparsers.add_parser("train").set_defaults(run=run)
module.add_parser = add_parser
sys.modules["vqjax.cli.train"] = module
sys.argv = ["vqjax", *(sys.argv[1:] or ["train"])]
from vqjax.cli.main import run as entry
entry()
"""
LASTING = "from vqjax.cli import streams; streams.drop_what_fails(); "


def shell(body, redirected, tmp_path, *words):
    """(exit code, standard error) of a verb that does `body`, under a shell's redirections."""
    command = f'"$0" -c "$1" {" ".join(words)} {redirected}'
    program = PROGRAM.format(body=body)
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("body", "redirected", "code", "line"),
    [
        ("print('x')", ">&-", 1, "vqjax: error: cannot write the output: closed\n"),
        ("print('x')", ">/dev/full", 1, "cannot write the output: No space left on device\n"),
        ("print('x')", ">&- 2>&-", 1, ""),
        (
            "print('x'); raise OSError('y')",
            ">/dev/full",
            1,
            "run again with --debug for the traceback\n",
        ),
        ("print('x', file=sys.stderr); return 3", "2>&-", 3, ""),
        (LASTING + "print('x'); print('y', file=sys.stderr); return 75", ">&-", 75, "y\n"),
        (LASTING + "print('x' * 10**6, file=sys.stderr); return 75", "2>/dev/full", 75, ""),
        ("print('\\udcff \\u20ac')", "", 0, ""),
    ],
)
def test_output_that_cannot_be_written(tmp_path, body, redirected, code, line):
    ended = shell(body, redirected, tmp_path)
    assert ended[0] == code and ended[1].endswith(line) and ended[1].count("\n") == bool(line)


def test_help_that_cannot_be_written(tmp_path):
    code, line = shell("pass", ">/dev/full", tmp_path, "--help")
    assert (code, line) == (1, "vqjax: error: cannot write the output: No space left on device\n")


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path):
    body = "file = open('metrics', 'w'); os.write(2, b'noise'); file.write('kept')"
    code, _ = shell(f"try: {body}\n    except OSError: file.write('kept')", "<&- 2>&-", tmp_path)
    assert code == 0 and (tmp_path / "metrics").read_text() == "kept"


SWALLOWS = "exec('while True:\\n try: time.sleep(60)\\n except BaseException: pass')"


def start(body):
    pipe = subprocess.PIPE
    program = PROGRAM.format(body=f"print('ready', flush=True)\n    {body}")
    process = subprocess.Popen([sys.executable, "-c", program], stdout=pipe, stderr=pipe, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_reader_that_leaves_ends_a_verb_quietly():
    process = start("time.sleep(0.2); print('x' * 100_000)")
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 1


def test_a_training_goes_on_without_a_reader():
    body = "time.sleep(0.2); [print('x' * 1000, file=f) for f in (sys.stdout, sys.stderr) * 99]"
    process = start(f"{LASTING}{body}; return 75")
    process.stdout.close()
    process.stderr.close()
    assert process.wait(30) == 75


def test_a_training_does_not_wait_for_a_reader_that_has_stopped():
    """More lines than a pipe holds, and nobody takes them."""
    body = "streams.PATIENCE_MS = 100; [print('x' * 1000, file=sys.stderr) for _ in range(999)]"
    process = start(f"{LASTING}{body}; return 75")
    assert process.wait(30) == 75
    assert process.stderr.read().startswith("x" * 1000 + "\n")


@pytest.mark.parametrize(
    "body",
    [
        "time.sleep(60)",
        "sys.path[:0] = [os.environ['HERE']]; import swallows; time.sleep(60)",
        f"from vqjax.cli import interrupt; interrupt.GRACE = 0.1; {SWALLOWS}",
    ],
)
def test_an_interrupt_ends_it_in_one_line(tmp_path, monkeypatch, body):
    """Also while a module is imported that catches everything, or a callback does."""
    (tmp_path / "swallows.py").write_text(
        "import time\ntry:\n    time.sleep(5)\nexcept BaseException:\n    pass\n"
    )
    monkeypatch.setenv("HERE", str(tmp_path))
    process = start(body)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and err == "vqjax: error: interrupted\n"
