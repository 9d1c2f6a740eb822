"""`vqjax.train`: the same training as the verb's, from Python, and the run that comes of it."""

import dataclasses

import numpy as np
import pytest

import vqjax
from tests import tiny
from tests.blank import maskgit_over
from vqjax.data import BPE, Arrays, Captions, CaptionsByLabel, Digits
from vqjax.priors import Text
from vqjax.training import distributed
from vqjax.training.logbook import read_metrics
from vqjax.types import UsageError

X = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), np.uint8)
ARRAYS = Arrays({"image": X}, {"image": X[:5]})


def vqvae(**settings):
    made = tiny.vqvae(**settings)
    return dataclasses.replace(made, task=dataclasses.replace(made.task, tokenizer=tiny.dense()))


def experiment(steps):
    return vqvae(data=ARRAYS, total_steps=steps, batch_size=8, eval_every=2)


def test_it_trains_evaluates_goes_on_and_opens(tmp_path):
    path = tmp_path / "mine"
    run = vqjax.train(experiment(2), path)
    assert run.step == 2 and run.path == str(path)
    assert run.encode(X).shape == (12, 1, 1)
    np.testing.assert_array_equal(run.held_out(9), X[:5])
    assert [v["step"] for v in read_metrics(path) if v["kind"] == "eval"] == [2]
    with pytest.raises(UsageError, match="total_steps"):
        vqjax.train(experiment(4), path)
    assert vqjax.train(experiment(4), path, allow_change=True).step == 4
    assert [v["step"] for v in read_metrics(path) if v["kind"] == "eval"] == [2, 4]


def test_without_evaluation(tmp_path):
    assert vqjax.train(experiment(2), tmp_path / "mine", evaluate=False).step == 2
    assert {v["kind"] for v in read_metrics(tmp_path / "mine")} == {"train", "time"}


@pytest.mark.slow  # two trainings; a prior that is told a text is in tests/tasks/prior_test.py
def test_what_the_data_learned_is_in_the_run(tmp_path):
    """A vocabulary is learned at the first start, and kept."""
    vqjax.train(vqvae(data=Digits(), total_steps=1), tmp_path / "below")
    texts = CaptionsByLabel(Digits(), tuple(f"a {n}" for n in "0123456789"))
    prior = maskgit_over(vqvae(data=Digits()), str(tmp_path / "below"))
    network = dataclasses.replace(prior.task.prior, condition=Text(270, 4, 8, layers=1))
    prior = dataclasses.replace(
        prior,
        task=dataclasses.replace(prior.task, prior=network),
        data=Captions(texts, BPE(270), length=4),
    )
    run = vqjax.train(prior, tmp_path / "prior", evaluate=False)
    assert run.experiment.data.vocabulary.merges
    assert run.sample(2, prompts=["a 7"]).shape == (2, 8, 8, 1)
    assert run.tokenizer.path == str(tmp_path / "below")


def test_several_processes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "several", lambda: True)
    with pytest.raises(UsageError, match="for one process"):
        vqjax.train(experiment(2), tmp_path / "mine")


@pytest.mark.parametrize(
    "wrong", [{"evaluate": None}, {"allow_change": 1}, {"trust": "x"}, {"workdir": 5}]
)
def test_wrong_arguments_are_refused(tmp_path, wrong):
    keywords = {"workdir": tmp_path / "mine", **wrong}
    with pytest.raises(UsageError, match=next(iter(wrong))):
        vqjax.train(experiment(2), **keywords)
    with pytest.raises(UsageError, match="experiment"):
        vqjax.train("mnist_vqvae", tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
