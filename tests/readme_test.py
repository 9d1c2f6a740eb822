"""What the README says works: its scripts run, its commands parse, its files exist."""

import configparser
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import vqjax
from tests import tiny
from vqjax.cli.arguments import read_experiment
from vqjax.cli.main import VERBS, main, parse
from vqjax.data import Digits, Resize
from vqjax.training.loop import train
from vqjax.types import VqjaxError

ROOT = pathlib.Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
DEMO_RUN = "runs/demo/tokenizer"


def blocks(language, text=TEXT):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands():
    """Those of the README, of docs/ and of the experiments' docstrings, each once."""
    found = []
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = path.read_text()
        found += [line for block in blocks("sh", text) for line in block.splitlines()]
        found += re.findall(r"`(vqjax (?:train|compile|benchmark) \w+[^`]*)`", text)
    for path in sorted((ROOT / "experiments").glob("*.py")):
        found += [line.strip() for line in path.read_text().split('"""')[1].splitlines()]
    no_part = ("...", "TernaryQuantizer")  # a part of a command; what only a reader has
    whole = [v for v in found if v.startswith("vqjax ") and not any(p in v for p in no_part)]
    return list(dict.fromkeys(whole))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two steps on the demo's digits."""
    path = tmp_path_factory.mktemp("run") / "tokenizer"
    data = Digits(augment=(Resize(16, method="nearest"),))
    experiment = tiny.vqvae(data=data, total_steps=2)
    train(experiment, path, devices=jax.devices()[:1])
    return path


def test_the_script_runs(run, tmp_path, monkeypatch, capsys):
    script = blocks("python")[0]
    assert script.count(DEMO_RUN) == 1
    assert len([line for line in script.splitlines() if line]) <= 10
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(script.replace(DEMO_RUN, str(run)), "README.md", "exec"), names)
    assert names["tokens"].shape[0] == 8 and names["tokens"].dtype == np.int32
    assert names["decoded"].dtype == np.uint8 and names["decoded"].shape == (8, 16, 16, 1)
    np.testing.assert_array_equal(names["decoded"], names["run"].reconstruct(names["images"]))
    with Image.open("both.png") as both:
        assert both.size == (8 * 16, 2 * 16)
    assert "mean error" in capsys.readouterr().out


def test_adding_a_quantizer_as_the_readme_says(tmp_path):
    """One file, one export line, one row: then the laws hold, and a command takes it by name."""
    for folder in ("vqjax", "tests", "experiments"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    file, export, row = blocks("python")[1:4]
    assert len(export.splitlines()) == len(row.splitlines()) == 1
    (tmp_path / "vqjax/quantizers/ternary.py").write_text(file)
    exports = tmp_path / "vqjax/quantizers/__init__.py"
    text = exports.read_text()
    place = text.index("from vqjax.quantizers.vq ")
    exports.write_text(text[:place] + export + text[place:])
    laws = tmp_path / "tests/contracts/quantizers_test.py"
    head, table, rest = laws.read_text().partition("DISCRETE = {\n")
    laws.write_text(head + table + row + rest)

    def run(*words):
        command = [sys.executable, "-m", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    tested = run(
        "pytest", "tests/contracts/quantizers_test.py", "-k", "ternary", "-vv", "-p", "no:xdist"
    )
    assert tested.returncode == 0, tested.stdout[-2000:]
    assert "test_the_same_after_json[ternary] PASSED" in tested.stdout
    line = re.search(r"`vqjax train (\S+) (\S+TernaryQuantizer\(6\)')`", TEXT)
    shown = run("vqjax", "inspect", line[1], line[2].replace("'", ""), "--shape", "28,28,1")
    assert "729 codes" in shown.stdout, shown.stderr


@pytest.mark.slow
def test_the_quantizer_trains_from_a_file_and_opens_with_trust(tmp_path):
    file, path = tmp_path / "own.py", str(tmp_path / "run")
    file.write_text(f"""{blocks("python")[1]}
from tests import tiny
from vqjax.losses import L2
from vqjax.tasks import TokenizerTask

def experiment():
    task = TokenizerTask(tiny.tokenizer(TernaryQuantizer(3)), {{"l2": 1.0}}, losses=(L2(),))
    return tiny.vqvae(task=task, total_steps=2)
""")
    assert main(["train", str(file), "--workdir", path]) == 0
    with pytest.raises(VqjaxError, match="--trust"):
        vqjax.load(path)
    opened = vqjax.load(path, trust=(str(file),))
    tokens = opened.encode(np.zeros((2, 8, 8, 1), np.uint8))
    assert opened.step == 2 and tokens.shape == (2, 4, 4) and tokens.max() < 27


@pytest.mark.parametrize("line", commands())
def test_a_command_is_one_that_vqjax_takes(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(line, comments=True)[1:]
    if "--help" in words or words[0] == "help":
        with pytest.raises(SystemExit) as end:
            parse(words)
        assert end.value.code in (None, 0)
        return
    args = parse(words)
    if words[0] == "train":
        read_experiment(args).check()


def test_every_verb_that_is_named_exists_and_every_verb_is_named():
    named = set(re.findall(r"`vqjax (\w+)|^vqjax (\w+)", TEXT, re.MULTILINE))
    named = {verb for pair in named for verb in pair if verb}
    assert named <= {*VERBS, "help"}
    assert all(re.search(rf"^vqjax {verb} ", TEXT, re.MULTILINE) for verb in VERBS)


def test_every_file_that_is_named_exists():
    named = set(re.findall(r"\b(?:experiments|vqjax|tests)/[\w/]+\.py", TEXT))
    assert len(named) > 8
    named -= {"vqjax/quantizers/ternary.py"}  # the one that a reader writes
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:^|`)make ([\w-]+)", TEXT, re.MULTILINE)) <= set(targets)


def test_every_extra_that_is_named_exists():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    named = {e for group in re.findall(r"\.\[([\w,]+)\]", TEXT) for e in group.split(",")}
    assert named and named <= set(setup["options.extras_require"])
