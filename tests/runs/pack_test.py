"""Packs open like the runs that they were made of; what was changed in one is refused by name."""

import dataclasses
import hashlib
import json
import pickle
import shutil

import jax
import numpy as np
import pytest
import safetensors.numpy

import vqjax
from tests import tiny
from vqjax.cli.main import main
from vqjax.config import FrozenRun
from vqjax.data import Digits
from vqjax.priors import GPT, ClassLabel, JointPrior, Text
from vqjax.reports.card import card
from vqjax.reports.history import read_record
from vqjax.runs.evaluate import evaluate_run
from vqjax.runs.load import make_evaluator
from vqjax.tasks import JointTask, PriorTask, TextStream, TokenizerTask, TokenStream
from vqjax.training.experiment import Experiment
from vqjax.training.loop import train
from vqjax.training.optim import Adam
from vqjax.types import DataError, UsageError

WEIGHTS = {"l1": 1.0, "commitment": 0.25}


def tokenizer():
    return tiny.vqvae(task=TokenizerTask(tiny.dense(), loss_weights=WEIGHTS), data=Digits())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A tokenizer and a prior on it, each with an evaluation."""
    root = tmp_path_factory.mktemp("runs")
    train(tokenizer(), root / "tokenizer", make_evaluator=make_evaluator)
    prior = Experiment(
        task=PriorTask(GPT(16, 1, 2), FrozenRun(str(root / "tokenizer"))),
        data=Digits(),
        optimizers={"prior": Adam(1e-2)},
        batch_size=8,
        total_steps=3,
        eval_batch_size=50,
        ema_decay=0.9,
    )
    train(prior, root / "prior", make_evaluator=make_evaluator)
    return root


@pytest.fixture(scope="module")
def packs(runs, tmp_path_factory):
    root = tmp_path_factory.mktemp("packs")
    for name in ("tokenizer", "prior"):
        assert main(["pack", str(runs / name), "--out", str(root / name)]) == 0
    return root


@pytest.mark.parametrize("name", ["tokenizer", "prior"])
def test_it_gives_the_same_numbers_to_the_last_digit(name, runs, packs, monkeypatch):
    expected = evaluate_run(runs / name)[1].numbers
    elsewhere = packs.parent / "elsewhere"
    monkeypatch.chdir(packs)  # paths below a pack are found from anywhere
    opened, evaluation = evaluate_run(name)
    assert evaluation.numbers == expected
    assert opened.params_kind == ("ema" if name == "prior" else "raw")
    shutil.copytree(packs / name, elsewhere / name, dirs_exist_ok=True)
    assert evaluate_run(elsewhere / name)[1].numbers == expected


def test_it_draws_the_same_and_verbs_take_it(runs, packs, tmp_path, capsys):
    drawn = vqjax.load(runs / "prior").sample(4)
    pack = vqjax.load(packs / "prior")
    np.testing.assert_array_equal(pack.sample(4), drawn)
    images = vqjax.load(packs / "tokenizer").reconstruct(drawn)
    np.testing.assert_array_equal(images, vqjax.load(runs / "tokenizer").reconstruct(drawn))
    prior, book = str(packs / "prior"), str(packs / "tokenizer")
    for command in (
        ["sample", prior, "-n", "2", "--out", str(tmp_path / "s")],
        ["evaluate", prior],
        ["inspect", prior],
        ["report", prior, "--out", str(tmp_path / "report.html")],
        ["compare", book, str(runs / "tokenizer")],
        ["tokenize", book, "--out", str(tmp_path / "t")],
    ):
        assert main(command) == 0, command
    shown = capsys.readouterr().out
    assert "sealed steps" in shown and "nats_per_token" in shown
    assert main(["evaluate", prior, "--params", "raw"]) == 2
    assert "a pack of ema parameters alone" in capsys.readouterr().err
    assert main(["evaluate", prior, "--step", "2"]) == 3
    assert "holds step 3, not 2" in capsys.readouterr().err
    assert main(["pack", book, "--out", str(packs / "prior")]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main(["pack", prior, "--out", str(tmp_path / "again")]) == 0  # a pack of a pack
    np.testing.assert_array_equal(vqjax.load(tmp_path / "again").sample(4), drawn)


def test_its_card_says_what_it_is(packs):
    text = (packs / "prior" / "README.md").read_text()
    for words in (
        "# prior",
        "A prior",
        "vqjax sample prior",
        "Nats per token",
        "samples/00000003.png",
    ):
        assert words in text
    assert (packs / "prior" / "samples" / "00000003.png").is_file()
    paths = (packs / "prior" / "experiment.json").read_text()
    assert '"frozen/tokenizer"' in paths and str(packs.parent / "runs") not in paths


def test_its_card_shows_how_a_condition_is_named(packs):
    record = read_record(packs / "prior")
    for condition, line in {
        Text(16, 4, 8): 'vqjax sample some --prompt "A CAPTION"',
        ClassLabel(3): "vqjax sample some --classes 0,1",
    }.items():
        prior = record.experiment.task.prior.clone(condition=condition)
        task = dataclasses.replace(record.experiment.task, prior=prior)
        experiment = dataclasses.replace(record.experiment, task=task)
        assert line in card("some", dataclasses.replace(record, experiment=experiment), "float32")
    tokens, text = TokenStream(task.tokenizer), TextStream(16, 4)
    joint = JointTask({"text": text, "image": tokens}, JointPrior(8, 1, 2))
    experiment = dataclasses.replace(record.experiment, task=joint)
    joint = dataclasses.replace(record, experiment=experiment)
    assert "vqjax sample some --condition image=FILE --target text" in card(
        "some", joint, "float32"
    )


def test_trainings_build_on_packs(packs, tmp_path):
    start = tokenizer()
    tuned = dataclasses.replace(start, init_from=str(packs / "tokenizer"), total_steps=1, seed=3)
    train(tuned, tmp_path / "tuned")
    prior = Experiment(
        task=PriorTask(GPT(16, 1, 2), FrozenRun(str(packs / "tokenizer"))),
        data=Digits(),
        optimizers={"prior": Adam(1e-2)},
        batch_size=8,
        total_steps=1,
    )
    train(prior, tmp_path / "prior")
    assert vqjax.load(tmp_path / "prior").sample(1).shape == (1, 8, 8, 1)
    for leaf in jax.tree.leaves(vqjax.load(tmp_path / "tuned").params):
        assert np.isfinite(leaf).all()


def test_half_the_bits(runs, tmp_path, capsys):
    out = tmp_path / "small"
    assert main(["pack", str(runs / "prior"), "--out", str(out), "--dtype", "bfloat16"]) == 0
    assert "--evaluate" in capsys.readouterr().err
    whole, half = vqjax.load(runs / "prior"), vqjax.load(out)
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(half.params), strict=True):
        assert b.dtype == a.dtype
        np.testing.assert_allclose(b, a, rtol=2**-8)
    out = tmp_path / "evaluated"
    command = ["pack", str(runs / "prior"), "--out", str(out), "--dtype", "bfloat16", "--evaluate"]
    assert main(command) == 0
    line = json.loads((out / "metrics.jsonl").read_text())
    assert line["nats_per_token"] == evaluate_run(out)[1].numbers["nats_per_token"]


def test_what_was_changed_is_refused_by_name(packs, tmp_path):
    def changed(change):
        folder = tmp_path / "pack"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(packs / "prior", folder)
        change(folder)
        with pytest.raises((DataError, UsageError)) as refused:
            vqjax.load(folder)
        line = str(refused.value)
        assert "\n" not in line
        return line

    def flip(name, at=-10):
        def change(folder):
            content = bytearray((folder / name).read_bytes())
            content[at] ^= 1
            (folder / name).write_bytes(content)

        return change

    below = "frozen/tokenizer"
    assert "model.safetensors differs from its seal" in changed(flip("model.safetensors"))
    assert f"{below}/model.safetensors differs" in changed(flip(f"{below}/model.safetensors"))
    assert "experiment.json" in changed(flip("experiment.json"))

    def other_seal(folder):
        text = (folder / below / "seal.json").read_text()
        (folder / below / "seal.json").write_text(text + " ")

    assert "is not the one recorded" in changed(other_seal)

    def renamed(folder):
        path = folder / "model.safetensors"
        arrays = safetensors.numpy.load_file(path)
        name = next(iter(arrays))
        arrays["params/x"] = arrays.pop(name)
        safetensors.numpy.save_file(arrays, path, {"step": "3", "parameters": "ema"})
        seal(folder)

    def seal(folder):
        names = ("experiment.json", "model.safetensors")
        files = {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in names}
        (folder / "seal.json").write_text(json.dumps({"files": files}))

    assert "is missing; params/x is not expected" in changed(renamed)

    def pickled(folder):
        (folder / "model.safetensors").write_bytes(pickle.dumps({"a": 1}))
        seal(folder)

    assert "model.safetensors is no model of a pack" in changed(pickled)

    def outside(folder):
        path = folder / "experiment.json"
        path.write_text(path.read_text().replace(below, "../elsewhere"))
        seal(folder)

    assert "lies outside: ../elsewhere" in changed(outside)
    for content in ("", "[]", '{"files": []}', '{"files": {}}'):
        line = changed(lambda folder, c=content: (folder / "seal.json").write_text(c))
        assert "seal.json" in line
    assert "model.safetensors" in changed(lambda folder: (folder / "model.safetensors").unlink())
