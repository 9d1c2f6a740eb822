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
from vqjax.data import Digits, Resize, tf_data
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
    no_part = ("...", "mine.py", "flow.py", *ADDED)  # a part of a command; what only a reader has
    whole = [v for v in found if v.startswith("vqjax ") and not any(p in v for p in no_part)]
    return list(dict.fromkeys(whole))


def test_the_afternoon_is_twelve_files():
    section = TEXT.partition("### How to read this code in an afternoon")[2].partition(
        "**A run dir"
    )[0]
    files = re.findall(r"^\d+\. `([\w/]+\.py)`: ", section, re.MULTILINE)
    assert len(files) == 12 and all((ROOT / file).is_file() for file in files)


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


@pytest.mark.slow
def test_training_from_python_as_the_readme_says(tmp_path, monkeypatch, capsys):
    script = blocks("python")[1]
    monkeypatch.chdir(tmp_path)
    exec(compile(script, "README.md", "exec"), names := {})
    below = tmp_path / "runs/arrays"
    assert capsys.readouterr().out == (
        f"(8, 4, 4, 16) = (8, 4, 4) codes\n(4, 16, 16, 1) drawn through {below}\n"
    )
    assert names["run"].step == 20 and "params/decoder/to_output/kernel" in names["weights"]
    np.testing.assert_array_equal(names["run"].held_out(10), names["x"][90:])


# What the README adds: (its file, where its line of export goes, the table that its row joins).
PARTS = {
    "ternary": ("quantizers/ternary", "contracts/quantizers_test.py", "DISCRETE = {\n"),
    "online": ("quantizers/online", "contracts/quantizers_test.py", "DISCRETE = {\n"),
    "huber": ("losses/huber", "contracts/losses_test.py", "RECONSTRUCTION = {\n"),
    "share_off": ("metrics/share_off", "contracts/metrics_test.py", "PER_EXAMPLE = {\n"),
    "npz": ("data/npz", "data/sources_test.py", "SOURCES = {\n"),
}
ADDED = ("TernaryQuantizer", "OnlineKMeans", "Huber", "ShareOff", "Npz")  # their classes


def part_blocks():
    """[(file, export, row)] in the order of PARTS, as the README has them."""
    text = TEXT[TEXT.index("## Add a part") :]
    found = [block for block in blocks("python", text) if "class FlowTask" not in block]
    assert len(found) == 3 * len(PARTS)
    return [found[i : i + 3] for i in range(0, len(found), 3)]


@pytest.fixture(scope="module")
def with_parts(tmp_path_factory):
    """A copy of the repository to which the README's parts were added, as it says."""
    home = tmp_path_factory.mktemp("parts")
    for folder in ("vqjax", "tests", "experiments"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, home / folder, ignore=ignored)
    shutil.copy(ROOT / "setup.cfg", home)
    for (file, laws, table), (code, export, row) in zip(PARTS.values(), part_blocks(), strict=True):
        assert f"`vqjax/{file}.py`" in TEXT and f"`tests/{laws}`" in TEXT
        assert len(export.splitlines()) == len(row.splitlines()) == 1
        (home / f"vqjax/{file}.py").write_text(code)
        exports = home / "vqjax" / file.split("/")[0] / "__init__.py"
        text = exports.read_text()
        place = text.index("\nfrom vqjax.") + 1
        exports.write_text(text[:place] + export + text[place:])
        path = home / "tests" / laws
        head, mark, rest = path.read_text().partition(table)
        assert mark, f"{laws} has no {table}"
        path.write_text(head + table + row + rest)
    return home


def _in(home, *words):
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)


LAWS = {  # one of each part's, by name
    "ternary": "test_the_same_after_json[ternary]",
    "online": "test_the_same_after_json[online]",
    "huber": "test_reconstruction[huber]",
    "share_off": "test_a_metric_of_each_example[share_off]",
    "npz": "test_resuming_needs_the_step_alone[npz]",
}


@pytest.mark.parametrize(
    "names",
    [
        ("online", "huber", "share_off", "npz"),
        pytest.param(("ternary",), marks=pytest.mark.slow),  # a quantizer's laws take their time
    ],
    ids="-".join,
)
def test_parts_that_are_added_as_the_readme_says_keep_the_laws(with_parts, names):
    laws = sorted({f"tests/{PARTS[name][1]}" for name in names})
    tested = _in(with_parts, "pytest", *laws, "-k", " or ".join(names), "-vv", "-p", "no:xdist")
    assert tested.returncode == 0, tested.stdout[-2000:]
    for name in names:
        assert f"{LAWS[name]} PASSED" in tested.stdout, name


def test_any_experiment_takes_the_parts_by_name(with_parts):
    lines = [v for v in re.findall(r"`(vqjax train [^`]*)`", TEXT) if any(p in v for p in ADDED)]
    assert len(lines) == len(ADDED)
    np.savez(
        with_parts / "digits.npz",
        **{f"{p}_image": np.zeros((3, 28, 28, 1), np.uint8) for p in ("train", "eval")},
        **{f"{p}_label": np.zeros(3, np.int32) for p in ("train", "eval")},
    )
    code = "import shlex, sys\nfrom vqjax.cli.arguments import read_experiment\n"
    code += "from vqjax.cli.main import parse\nfrom vqjax.config import describe\n"
    code += "for line in sys.stdin:\n    made = read_experiment(parse(shlex.split(line)[1:]))\n"
    code += "    made.check(); print(describe(made))\n"
    shown = subprocess.run(
        [sys.executable, "-c", code],
        input="\n".join(lines),
        cwd=with_parts,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr[-2000:]
    assert all(name in shown.stdout for name in ADDED)


@pytest.mark.slow
def test_the_quantizer_trains_from_a_file_and_opens_with_trust(tmp_path):
    file, path = tmp_path / "own.py", str(tmp_path / "run")
    file.write_text(f"""{part_blocks()[0][0]}
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
    named -= {f"vqjax/{file}.py" for file, _, _ in PARTS.values()}  # those that a reader writes
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:^|`)make ([\w-]+)", TEXT, re.MULTILINE)) <= set(targets)


def test_colabs_line_names_the_release_that_errors_name():
    assert f" {tf_data._COMPATIBLE}\n" in TEXT


def test_every_extra_that_is_named_exists():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    named = {e for group in re.findall(r"\.\[([\w,]+)\]", TEXT) for e in group.split(",")}
    assert named and named <= set(setup["options.extras_require"])
