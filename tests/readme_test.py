"""What the README says works: its scripts run, its commands parse, its files exist."""

import configparser
import pathlib
import re
import shlex

import jax
import jax.numpy as jnp
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


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def commands():
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("vqjax ")]


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


def test_the_quantizer_keeps_the_laws():
    names = {"__name__": "readme"}
    exec(compile(blocks("python")[1], "README.md", "exec"), names)
    quantizer = names["SignQuantizer"](4)
    z = jax.random.normal(jax.random.key(0), (2, 3, 5, 4))

    def total(z):
        return jnp.sum(quantizer.apply({}, z, train=True, step=0).z_q ** 3)

    quantized = quantizer.apply({}, z, train=False, step=0)
    (indices,) = quantized.indices
    assert indices.shape == (2, 3, 5) and indices.dtype == jnp.int32
    assert indices.min() >= 0 and indices.max() < quantizer.codebook_size
    again = quantizer.apply({}, quantized.indices, method="lookup")
    np.testing.assert_array_equal(quantized.z_q, again)
    np.testing.assert_array_equal(again, np.where(z > 0, 1.0, -1.0))
    gradient = jax.grad(total)(z)
    assert jnp.all(jnp.isfinite(gradient)) and jnp.any(gradient != 0)
    assert quantized.losses == dict.fromkeys(quantizer.loss_weights, 0)


def test_the_quantizer_trains_from_a_file_and_opens_with_trust(tmp_path):
    file, path = tmp_path / "own.py", str(tmp_path / "run")
    file.write_text(f"""{blocks("python")[1]}
from tests import tiny
from vqjax.losses import L2
from vqjax.tasks import TokenizerTask

def experiment():
    task = TokenizerTask(tiny.tokenizer(SignQuantizer(4)), {{"l2": 1.0}}, losses=(L2(),))
    return tiny.vqvae(task=task, total_steps=2)
""")
    assert main(["train", str(file), "--workdir", path]) == 0
    with pytest.raises(VqjaxError, match="--trust"):
        vqjax.load(path)
    opened = vqjax.load(path, trust=(str(file),))
    tokens = opened.encode(np.zeros((2, 8, 8, 1), np.uint8))
    assert opened.step == 2 and tokens.shape == (2, 4, 4) and tokens.max() < 16


@pytest.mark.parametrize("line", commands())
def test_a_command_is_one_that_vqjax_takes(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(line, comments=True)[1:]
    args = parse(words)
    if words[0] == "train":
        read_experiment(args).check()


def test_every_verb_that_is_named_exists_and_every_verb_is_named():
    named = set(re.findall(r"`vqjax (\w+)|^vqjax (\w+)", TEXT, re.MULTILINE))
    named = {verb for pair in named for verb in pair if verb}
    assert named <= set(VERBS)
    assert all(re.search(rf"^vqjax {verb} ", TEXT, re.MULTILINE) for verb in VERBS)


def test_every_file_that_is_named_exists():
    named = set(re.findall(r"\b(?:experiments|vqjax|tests)/[\w/]+\.py", TEXT))
    assert len(named) > 8
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:^|`)make ([\w-]+)", TEXT, re.MULTILINE)) <= set(targets)


def test_every_extra_that_is_named_exists():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    named = {e for group in re.findall(r"\.\[([\w,]+)\]", TEXT) for e in group.split(",")}
    assert named and named <= set(setup["options.extras_require"])
