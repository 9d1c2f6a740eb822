"""What users install and then run: the wheel alone, on Colab, with the newest JAX.

Each test makes an environment of its own, which takes minutes and a package index.
"""

import os
import pathlib
import shlex
import sys
import zipfile

import pytest

from tests.installing import ROOT, Environment, python_like

pytestmark = pytest.mark.slow
TEMPLATES = ROOT / "vqjax" / "reports" / "templates"
TRAIN = ("train", "digits_vqgan", "total_steps=2")
DIGITS = 'data=Digits(augment=(Resize(16, method="nearest"),))'
USE = """
import importlib.util, sys, vqjax
missing = [m for m in ("tensorflow", "tensorflow_datasets") if not importlib.util.find_spec(m)]
run = vqjax.load("runs/digits_vqgan")
images = run.held_out(3)
assert run.reconstruct(images).shape == images.shape == (3, 16, 16, 1), images.shape
print(vqjax.__file__, "missing:", *missing)
"""


def test_the_wheel_alone(tmp_path):
    """In an empty directory, without TensorFlow or TFDS: list, train, open, draw, report."""
    here = tmp_path / "empty"
    here.mkdir()
    environment = Environment(tmp_path / "environment", sys.executable)
    wheel = wheel_of(environment, tmp_path)
    templates = {f"vqjax/reports/templates/{path.name}" for path in TEMPLATES.iterdir()}
    assert templates and templates <= {*zipfile.ZipFile(wheel).namelist()}
    environment.pip(str(wheel))

    def vqjax(*words: str) -> str:
        return environment.run("vqjax", *words, cwd=here).stdout

    shipped = {file.stem for file in (ROOT / "experiments").glob("*.py")}
    assert {line.split()[0] for line in vqjax("experiments").splitlines()} == shipped
    vqjax(*TRAIN)
    said = environment.run("python", "-c", USE, cwd=here).stdout
    assert str(environment.folder) in said, said
    assert said.endswith("missing: tensorflow tensorflow_datasets\n"), said
    prior = ("--arg", "tokenizer=runs/digits_vqgan", "--workdir", "runs/prior")
    vqjax("train", "mnist_gpt", *prior, DIGITS, "total_steps=2")
    vqjax("sample", "runs/prior", "-n", "4", "--classes", "3", "--out", "out")
    assert len(list((here / "out").glob("*.png"))) == 4 + 1  # and the sheet
    vqjax("report", "runs/prior", "runs/digits_vqgan", "--out", "index.html")
    assert (here / "index.html").read_text().startswith("<!DOCTYPE html>")
    vqjax("copy", "digits_vqgan", "mine.py")
    vqjax("train", "mine.py", "total_steps=1")


def wheel_of(environment: Environment, tmp_path: pathlib.Path) -> pathlib.Path:
    """VQJAX_WHEEL, or else one built from a source archive, as `make dist` does."""
    if named := os.environ.get("VQJAX_WHEEL"):
        return pathlib.Path(named).resolve()
    environment.pip("build")
    dist = tmp_path / "dist"
    environment.run("python", "-m", "build", "--outdir", str(dist), str(ROOT), cwd=tmp_path)
    (wheel,) = dist.glob("*.whl")
    return wheel


def test_on_colab_the_readmes_line_is_enough(tmp_path, capsys):
    """With the versions that are there, by Colab's Python where this machine has it."""
    python = python_like("python3.13", "python3.12")
    environment = Environment(tmp_path / "environment", python)
    environment.pip("-r", "tests/colab/freeze.txt")
    line = next(v for v in (ROOT / "README.md").read_text().splitlines() if " --no-deps -e " in v)
    before = _versions(environment)
    environment.pip(*shlex.split(line)[2:])
    after = _versions(environment)
    changed = {k for k in before if before[k] != after.get(k)}
    assert changed == {"tensorflow-metadata"}, changed
    (tmp_path / "vqjax").symlink_to(ROOT)  # as in the folder where somebody has cloned it
    environment.run("vqjax", *TRAIN, cwd=tmp_path)
    environment.run("python", "-c", USE, cwd=tmp_path)
    code = "import tensorflow_datasets as tfds; tfds.core; from vqjax.data import TFDS"
    environment.run("python", "-c", code, cwd=tmp_path)
    _say(capsys, python, after)


def test_the_newest_jax(tmp_path, capsys):
    """The one that the newest Python at hand can have."""
    python = python_like("python3.14", "python3.13", "python3.12")
    environment = Environment(tmp_path / "environment", python)
    environment.pip("--upgrade", "-e", ".")
    environment.run("vqjax", *TRAIN, cwd=tmp_path)
    environment.run("python", "-c", USE, cwd=tmp_path)
    _say(capsys, python, _versions(environment))


def _versions(environment: Environment) -> dict[str, str]:
    listed = environment.run("python", "-m", "pip", "list", "--format", "freeze", cwd=ROOT).stdout
    return dict(line.split("==") for line in listed.splitlines() if "==" in line)


def _say(capsys: pytest.CaptureFixture, python: str, versions: dict[str, str]) -> None:
    """What was tried, for whoever reads the log."""
    names = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")
    with capsys.disabled():
        print(f"\n{python}:", ", ".join(f"{name} {versions[name]}" for name in names))
