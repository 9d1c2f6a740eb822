"""Judging samples: stand-ins whose samples are known, what does not fit, and the whole way."""

import dataclasses
import json
import types

import jax
import numpy as np
import pytest

import vqjax
from tests import tiny
from tests.tasks import prior_test
from vqjax.cli.main import main
from vqjax.data import Arrays, Digits
from vqjax.format import NONE
from vqjax.priors import ClassLabel
from vqjax.reports.generators import generators_sheet, generators_table, judge_runs
from vqjax.runs.base import Run
from vqjax.runs.judge import judge_samples
from vqjax.runs.load import make_evaluator
from vqjax.runs.rejection import Rejection, sample_kept
from vqjax.sampling import Guidance, TokenSampling
from vqjax.training.loop import train
from vqjax.types import UsageError

N = 40


@pytest.fixture(scope="module")
def judge_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("judge") / "run"
    train(tiny.classifier(), path, make_evaluator=make_evaluator, devices=jax.devices()[:1])
    return path


@pytest.fixture(scope="module")
def judge(judge_path):
    return vqjax.load(judge_path)


@pytest.fixture(scope="module")
def held_out():
    return next(Digits().eval(297, np.arange(297)))


class StandIn(Run):
    """A run that draws `samples`, whatever it is asked for."""

    kind, path, step, params_kind, experiment = "prior", "runs/prior", 7, "ema", None

    def __init__(self, samples, classes=10, shape=(8, 8, 1)):
        self.samples, self.classes, self.shape = samples, classes, shape

    def sample(self, n, seed, *, classes=None, sampling=None, guidance=None):
        return self.samples[:n]


class Naming(StandIn):
    def classify(self, images):
        return images


class Mute(StandIn):
    """It draws nothing."""

    sample = None


stand_in = StandIn


def of_classes_in_turn(batch, n):
    """Held-out pictures of classes 0, 1, ... 9, 0, ..., all different."""
    places = [np.flatnonzero(batch["label"] == i % 10)[i // 10] for i in range(n)]
    return batch["image"][places]


def test_real_pictures_of_the_wanted_classes(judge, held_out):
    samples = of_classes_in_turn(held_out, N)
    judgement = judge_samples(stand_in(samples), judge, N)
    labels, _ = judge.classify(samples)
    assert judgement.numbers["class_accuracy"] == (labels == np.arange(N) % 10).mean() > 0.5
    assert judgement.numbers["precision"] > 0.9 and judgement.numbers["recall"] > 0.5
    shifted = judge_samples(stand_in(np.roll(samples, 1, axis=0)), judge, N)
    assert shifted.numbers["class_accuracy"] < 0.3  # the same pictures, for other classes
    assert shifted.numbers["frechet_distance"] == pytest.approx(
        judgement.numbers["frechet_distance"], rel=1e-6
    )


def test_training_examples_are_the_floor_and_noise_is_far(judge):
    data = Digits()
    # 40 of 1,500, in two blocks of 20 that are evenly spread over the 75 blocks.
    blocks = [next(data.in_order("train", 20, block))["image"] for block in (0, 37)]
    numbers = judge_samples(stand_in(np.concatenate(blocks), None), judge, N).numbers
    assert numbers["frechet_distance"] == numbers["frechet_real"] > 0
    assert "class_accuracy" not in numbers
    noise = np.random.default_rng(0).integers(0, 256, (N, 8, 8, 1)).astype(np.uint8)
    far = judge_samples(stand_in(noise, None), judge, N).numbers
    assert far["frechet_distance"] > 5 * far["frechet_real"]
    assert far["frechet_real"] == numbers["frechet_real"]
    assert far["precision"] < 0.2


def test_real_examples_may_be_a_little_beyond_the_range(judge, held_out, monkeypatch):
    images = held_out["image"][:N] / np.float32(100) - 1.3
    arrays = {"image": images, "label": held_out["label"][:N]}
    experiment = dataclasses.replace(judge.experiment, data=Arrays(arrays, arrays))
    monkeypatch.setattr(judge, "experiment", experiment)
    with pytest.raises(UsageError, match="values are"):
        judge.outputs(images)
    judgement = judge_samples(stand_in(np.clip(images, -1, 1), None), judge, N)
    assert judgement.numbers["frechet_real"] == pytest.approx(0, abs=1e-3)


def test_the_protocol_says_how_to_get_them_again(judge, held_out):
    samples = of_classes_in_turn(held_out, N)
    way = {"sampling": TokenSampling(temperature=0.5), "guidance": Guidance(2.0)}
    line = judge_samples(stand_in(samples), judge, N, 3, **way).protocol
    labels, _ = judge.classify(held_out["image"])
    accuracy = (labels == held_out["label"]).mean()
    for words in (
        "40 samples, 10 classes in turn, seed 3",
        "temperature=0.5",
        "scale=2.0",
        "runs/prior (step 7, ema)",
        f"{judge.path} (step 60, raw), accuracy {accuracy:.4f}, 16 features",
        "Digits(): 297 examples of the eval split, 40 of the training split",
    ):
        assert words in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("changes", "n", "message"),
    [
        ({"shape": (16, 16, 1)}, N, "judges examples of 8 x 8 x 1: .* are 16 x 16 x 1"),
        ({"classes": 3}, N, "knows 10 classes: runs/prior is conditioned on 3"),
        ({}, 3, "3 samples to judge: wanted at least 4"),
    ],
)
def test_what_does_not_fit(judge, changes, n, message):
    with pytest.raises(UsageError, match=message):
        judge_samples(stand_in(None, **changes), judge, n)


def test_who_cannot_be_judged_and_who_cannot_judge(judge):
    with pytest.raises(
        UsageError, match="is a prior: it cannot classify .it can: sample, evaluate"
    ):
        judge_samples(stand_in(None), stand_in(None), N)
    with pytest.raises(UsageError, match="is a prior: it cannot sample"):
        judge_samples(Mute(None), judge, N)
    with pytest.raises(UsageError, match="runs/prior: Naming does not fit.*no 'outputs'"):
        judge_samples(stand_in(None), Naming(None), N)
    with pytest.raises(UsageError, match="sample: got 'runs/prior', wanted a run, from vqjax.load"):
        judge_samples("runs/prior", judge, N)


class Careless(StandIn):
    """Every second turn of its classes shows the digits of others."""

    def sample(self, n, seed, *, classes=None, sampling=None, guidance=None):
        wrong = (np.arange(len(self.samples)) // self.classes % 2).astype(bool)
        return np.where(wrong[:, None, None, None], np.roll(self.samples, 1, 0), self.samples)[:n]


def test_rejection_keeps_the_best_of_each_class(judge, held_out):
    run = Careless(of_classes_in_turn(held_out, 80))
    kept = sample_kept(run, Rejection(judge, 0.5), N, options={"seed": 0})
    candidates = run.sample(80, 0)
    chance = judge.classify(candidates)[1][np.arange(80), np.arange(80) % 10]
    for label in range(10):
        places = np.arange(80) % 10 == label
        best = candidates[places][np.sort(np.argsort(-chance[places], kind="stable")[:4])]
        np.testing.assert_array_equal(kept.samples[label::10], best)
    assert kept.numbers["candidates"] == 80
    assert kept.numbers["kept_accuracy"] > kept.numbers["candidate_accuracy"] + 0.2
    assert "kept 40 of 80 candidates" in kept.summary()
    way = {"rejection": Rejection(judge, 0.5)}
    judged, plain = judge_samples(run, judge, N, **way), judge_samples(run, judge, N)
    assert judged.numbers["class_accuracy"] == pytest.approx(kept.numbers["kept_accuracy"])
    assert judged.numbers["class_accuracy"] > plain.numbers["class_accuracy"] + 0.2
    assert f"the best 0.5 of each class by {judge.path} (step 60)" in judged.protocol
    whole = sample_kept(run, Rejection(judge, 1.0), 13, options={"seed": 0})
    np.testing.assert_array_equal(whole.samples, candidates[:13])
    few = sample_kept(run, Rejection(judge, 0.25), 3, classes=[7, 1, 7], options={"seed": 0})
    assert few.numbers["candidates"] == 16 and len(few.samples) == 3
    voices = types.SimpleNamespace(path="runs/voices", task=types.SimpleNamespace(label="speaker"))
    with pytest.raises(UsageError, match="runs/voices judges 'speaker', .* 'label': samples are"):
        judge_samples(run, judge, N, rejection=Rejection(voices, 0.5))
    for wrong, words in (
        (stand_in(None, None), "judges 'label': the classes of runs/prior are no such"),
        (run, "name it by classes"),
    ):
        with pytest.raises(UsageError, match=words):
            options = {"seed": 0, "conditions": {"label": [3]}}
            sample_kept(wrong, Rejection(judge, 0.5), N, options=options)


def test_rejection_from_the_command_line(judge_path, tmp_path, capsys):
    run, judge = str(tmp_path / "run"), str(judge_path)
    train(tiny.gan(total_steps=1, save_every=1), run, devices=jax.devices()[:1])
    capsys.readouterr()
    for words, error in (
        (["--keep", "0", "--judge", judge], "keep=0"),
        (["--keep", "1.5", "--judge", judge], "keep=1.5"),
        (["--keep", ".5"], "add --judge JUDGE"),
        (["--judge", judge], "add --keep SHARE"),
        (["--judge", judge, "--keep", ".5"], "knows 10 classes"),
        (["--judge", run, "--keep", ".5"], "it cannot classify"),
    ):
        assert main(["sample", run, "-n", "2", *words]) == 2
        line = capsys.readouterr().err
        assert error in line and len(line.splitlines()) == 1
    assert main(["evaluate", run, "--keep", ".5"]) == 2
    assert main(["evaluate", run, "--judge", judge, "--keep-by", judge]) == 2
    assert "--keep-by is for --keep" in capsys.readouterr().err


class Guided(StandIn):
    """Nearer to real pictures the more it is guided, up to 2; beyond, they are alike."""

    experiment = types.SimpleNamespace(
        task=types.SimpleNamespace(prior=types.SimpleNamespace(condition=ClassLabel(10)))
    )

    def sample(self, n, seed, *, classes=None, sampling=None, guidance=None):
        share = {1.0: 0.3, 1.5: 0.6, 2.0: 1.0, 3.0: 1.0}[guidance.scale]
        samples = np.where(np.arange(64).reshape(8, 8, 1) < 64 * share, self.samples[:n], 255)
        samples = samples[:1].repeat(n, axis=0) if guidance.scale == 3.0 else samples
        return samples.astype(np.uint8)

    def network_evaluations(self, options):
        return 7 if options["guidance"] == Guidance() else 14


def test_generators_stand_side_by_side_at_their_best_guidance(judge, held_out):
    samples = of_classes_in_turn(held_out, N)
    said = []
    runs = [("free", stand_in(samples)), ("guided", Guided(samples))]
    rows = judge_runs(runs, judge, N, (1.5, 2.0, 3.0), say=said.append)
    assert [(row.name, row.scale) for row in rows] == [
        ("free", None), ("guided", None), ("guided", 2.0),
    ]  # fmt: skip
    assert len(said) == 5 and "guided, guidance 3: " in said[-1]
    head, _, *lines = generators_table(rows).splitlines()
    assert head.count("|") == lines[0].count("|") == 10
    assert [line.split(" | ")[7] for line in lines[:3]] == [NONE, "7", "14"]
    assert lines[3].startswith("| real examples") and "judge " in lines[-1]
    sheet = generators_sheet(rows, judge)
    assert len(sheet.rows) == 4 and sheet.rows[0] == "real examples" and sheet.columns == 10
    real, free = sheet.example("real examples", 3), sheet.example(sheet.rows[1], 3)
    np.testing.assert_array_equal(real, free)  # the first held-out digit of each class
    assert sheet.rows[3] == "guided, guidance 2"


@pytest.mark.slow  # three trainings
def test_from_the_command_line(judge_path, tmp_path, capsys):
    tokenizer, run = tmp_path / "tokenizer", str(tmp_path / "run")
    prior_test.train_tokenizer(tokenizer)
    train(
        prior_test.experiment(prior_test.PRIORS["gpt"], tokenizer),
        run,
        make_evaluator=make_evaluator,
        devices=jax.devices()[:1],
    )
    words = ["evaluate", run, "--judge", str(judge_path), "-n", "30", "--temperature", "0.5"]
    assert main([*words, "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    expected = judge_samples(
        vqjax.load(run), vqjax.load(judge_path), 30, sampling=TokenSampling(temperature=0.5)
    )
    assert measured["protocol"] == expected.protocol
    for name, value in expected.numbers.items():
        assert measured[name] == pytest.approx(value) or name == "sample_seconds"
    assert measured["nats_per_token"] > 0
    assert main(words) == 0
    output = capsys.readouterr().out
    assert "class_accuracy" in output and output.rstrip().endswith(expected.protocol)
    compared = ["compare", run, "--judge", str(judge_path), "-n", "30", "--guidance", "1.5,2"]
    assert main([*compared, "--out", str(tmp_path / "sheet.png")]) == 0
    assert (tmp_path / "sheet.png").is_file()
    table = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in table[2:5]] == ["| run", "| run", "| real examples"]
    assert main(["compare", run, "--guidance", "2"]) == 2
    assert "add --judge JUDGE" in capsys.readouterr().err
    assert main(["evaluate", run, "--judge", str(tokenizer)]) == 2
    assert "is a tokenizer: it cannot classify" in capsys.readouterr().err
