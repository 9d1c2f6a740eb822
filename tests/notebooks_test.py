"""Notebooks are what their Python files say, and run from top to bottom without anybody there."""

import json
import shutil
import sys

import jupytext
import numpy as np
import pytest
from PIL import Image

from tests.install_test import wheel_of
from tests.installing import ROOT, Environment, python_like
from vqjax.cli.main import main

NOTEBOOKS = ROOT / "notebooks"
FIXTURE = ROOT / "tests" / "parity" / "fixtures" / "weights" / "diffusers_vq"
EXECUTED = "executed.ipynb"


def cells(notebook):
    return [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.py")), ids=lambda path: path.stem)
def test_a_notebook_is_current(path):
    """Else: `.venv/bin/jupytext --to ipynb notebooks/*.py`."""
    made = json.loads(path.with_suffix(".ipynb").read_text())
    assert cells(made) == cells(jupytext.reads(path.read_text(), fmt="py:percent"))
    assert not any(cell.get("outputs") for cell in made["cells"])
    install = next(source for _, source in cells(made) if "%pip" in source)
    assert "\n    %pip install -q --no-deps $SOURCE $more" in install  # no comment any more
    assert made["cells"][1]["source"][0] == "import os\n"  # the settings come first


@pytest.fixture(scope="module")
def colab(tmp_path_factory):
    """An environment with Colab's versions, and the wheel of this checkout."""
    folder = tmp_path_factory.mktemp("colab")
    python = python_like("python3.13", "python3.12")
    environment = Environment(folder / "environment", python)
    environment.pip("-r", "tests/colab/freeze.txt", "nbclient", "ipykernel", "build")
    sys.stderr.write(f"notebooks by {python}\n")
    return environment, wheel_of(environment, folder)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(24):
        colours = np.random.default_rng(i).integers(0, 255, (4, 4, 3), np.uint8)
        Image.fromarray(colours).resize((40, 32)).save(folder / f"{i:02d}.png")
    return folder


def run(colab, name, folder, **settings):
    """The executed notebook."""
    environment, wheel = colab
    copy = shutil.copy(NOTEBOOKS / f"{name}.ipynb", folder)  # a notebook runs where it lies
    environment.run(
        "jupyter-execute",
        str(copy),
        "--timeout=900",
        f"--output={folder / EXECUTED}",
        cwd=folder,
        settings={"SOURCE": str(wheel), **settings},
    )
    return json.loads((folder / EXECUTED).read_text())


def shown(notebook):
    """How many pictures there are, and all that was printed."""
    outputs = [o for cell in notebook["cells"] for o in cell.get("outputs", ())]
    pictures = sum("image/png" in o.get("data", ()) for o in outputs)
    return pictures, "".join("".join(o.get("text", ())) for o in outputs)


@pytest.mark.slow
def test_own_pictures(colab, photos, tmp_path):
    settings = {"PICTURES": str(photos), "SIZE": "16", "STEPS": "4"}
    pictures, text = shown(run(colab, "own_pictures", tmp_path, **settings))
    assert pictures == 2 and "jax 0.7.2" in text and "held out" in text
    assert (tmp_path / "runs" / "prior" / "report.html").is_file()
    again, text = shown(run(colab, "own_pictures", tmp_path, **settings))
    assert again == 2 and "is done: 4 of 4 steps" in text  # cells that are run again resume


@pytest.mark.slow
def test_networks_of_others(colab, photos, tmp_path, make_run):
    from tests import tiny
    from vqjax.data import Digits
    from vqjax.tasks import TokenizerTask

    weights = {"l1": 1.0, "commitment": 0.25}
    made = tiny.vqvae(task=TokenizerTask(tiny.dense(), loss_weights=weights), data=Digits())
    pack = tmp_path / "pack"
    assert main(["pack", str(make_run(made, name="notebook")), "--out", str(pack)]) == 0
    settings = {"PACK": str(pack), "FILE": str(FIXTURE), "PICTURES": str(photos)}
    pictures, text = shown(run(colab, "pretrained", tmp_path, **settings))
    assert pictures == 2 and "diffusers: one position per 2 x 2 pixels, 64 codes of 8" in text
