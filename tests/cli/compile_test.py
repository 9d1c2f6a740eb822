"""`vqjax compile` and `vqjax train --dry-run` as they are typed. CPU devices stand for the GPUs of
a box, but for the last two tests, which need the compilers.
"""

import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest

from vqjax.cli.main import main
from vqjax.hardware import devices

FILE = """
import dataclasses
from tests import tiny
from vqjax.data import TFDS

def experiment(here: bool = True):
    made = tiny.classifier()
    return made if here else dataclasses.replace(made, data=TFDS("nothing_of_this_name"))
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.py"
    path.write_text(FILE)
    return path


def call(capsys, *words):
    code = main([str(w) for w in words])
    return (code, *capsys.readouterr())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--topology", "v5f:2x2"], "did you mean 'v5"),
        (["--topology", "v5e:3x3"], "slices of v5e are"),
        (["--topology", "t4", "--slices", "2"], "network between slices of t4"),
        (["--topology", "h100x8", "--sweep", "8,1"], "--sweep 8,1"),
        (["--topology", "h100x8", "--slices", "2", "--sweep", "1,8"], "--slices 2: --sweep takes"),
        (["--topology", "h100x8", "batch_size=12"], "batch_size=12 does not divide over 8"),
        (["--topology", "h100x8", "--shape", "8"], "--shape 8"),
        ([], "--topology"),
        (["--topology", "t4", "--json", "."], "is a directory"),
        (["--topology", "t4", "--json", "small.py/a.json"], "small.py is not a folder"),
        (["--topology", "t4", "--sweep", "1,8", "--json", "a.svg"], "name a .json file"),
    ],
)
def test_mistakes_cost_one_line(capsys, file, stand_in, words, line):
    code, out, err = call(capsys, "compile", file, *words)
    errors = [text for text in err.splitlines() if "error" in text]
    assert code == 2 and out == "" and len(errors) == 1 and line in errors[0]
    assert "compiling" not in err


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("v5e:2x2", "libtpu", "compile-tpu"),
        ("t4", "jax_plugins.xla_cuda12", "compile-gpu"),
    ],
)
def test_without_the_compiler_one_line_says_what_brings_it(
    capsys, file, monkeypatch, name, module, extra
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, out, err = call(capsys, "compile", file, "--topology", name)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert f"[{extra}]" in err and "pip install" in err


@pytest.mark.parametrize("words", [["compile", "--topology", "h100"], ["benchmark"]])
def test_a_frozen_run_that_was_given_has_to_be_there(capsys, stand_in, words):
    file = pathlib.Path(__file__).parents[2] / "experiments" / "mnist_gpt.py"
    code, out, err = call(capsys, *words, file, "--frozen", "tokenizer=/no/run")
    assert (code, out, len(err.splitlines())) == (3, "", 1) and "no run at /no/run" in err


def test_a_step_for_a_box_of_gpus(capsys, file, stand_in):
    code, out, err = call(capsys, "compile", file, "--topology", "h100x8", "--json", "out/a.json")
    assert code == 0, err
    assert "compiling for h100x8 (started" in err
    assert "8 chip(s), 8 device(s)" in out and "fits, with" in out and "MFU" in out
    numbers = json.loads(pathlib.Path("out/a.json").read_text())
    assert numbers["fits"] and numbers["devices"] == numbers["chips"] == 8
    assert numbers["collectives"]["all-reduce"]["runs"] >= 1
    assert numbers["roofline"]["interconnect"] > 0 == numbers["roofline"]["network"]
    # Two linear layers, 64 -> 16 -> 10 (and the features' own): forward and backward.
    assert sum(numbers["flops"].values()) > 3 * 2 * 32 * 64 * 16 * 0.6


def test_without_data_its_shape_will_do(capsys, file, stand_in):
    words = ("compile", file, "--arg", "here=false", "--topology", "h100")
    code, _, err = call(capsys, *words)
    assert code == 3 and "or give an example's shape: --shape H,W,C" in err
    code, out, err = call(capsys, *words, "--shape", "8,8,1")
    assert code == 0 and "collectives per step\n  none" in out, err


def test_a_sweep(capsys, file, stand_in):
    words = ("--topology", "h100x8", "--sweep", "1,8,64", "--json", "s.json")
    code, out, err = call(capsys, "compile", file, *words)
    assert code == 0, err
    assert err.count("compiling for") == 2 and out.count("extrapolated") == 1
    assert "note: cuDNN's workspace" in out
    points = json.loads(pathlib.Path("s.json").read_text())["points"]
    assert all(p["fits"] for p in points)
    assert [(p["chips"], p["batch_size"], p["compiled"]) for p in points] == [
        (1, 4, True),
        (8, 32, True),
        (64, 256, False),
    ]
    assert pathlib.Path("s.svg").read_text().startswith("<svg")


def test_a_dry_run_is_for_the_devices_at_hand_and_leaves_nothing(capsys, file):
    code, out, err = call(capsys, "train", file, "--dry-run", "mesh.fsdp=2")
    assert code == 0, err
    assert "data 4, fsdp 2, tensor 1" in out and "no roofline" in out
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "module"), [("v5e:2x2", "libtpu"), ("t4", "jax_plugins.xla_cuda12")]
)
def test_the_real_compilers(file, name, module):
    if not devices._installed(module):
        pytest.skip(f"{module} is not installed: the extras compile-tpu and compile-gpu")
    words = ["compile", str(file), "--topology", name, "--json", "a.json", "batch_size=32"]
    done = subprocess.run([sys.executable, "-m", "vqjax", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    numbers = json.loads(pathlib.Path("a.json").read_text())
    assert numbers["fits"] and numbers["memory_per_device"]["total"] > 0
    assert bool(numbers["collectives"]) == (numbers["devices"] > 1)
