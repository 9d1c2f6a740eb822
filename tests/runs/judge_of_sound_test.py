"""Judges of sound: levels, lengths, what reconstructions keep, samples under two conditions."""

import dataclasses
import json
import types

import jax
import numpy as np
import pytest

import vqjax
from tests import tiny
from tests.runs.judge_test import StandIn
from vqjax.cli.main import main
from vqjax.data import Tones
from vqjax.priors import ClassLabel, Several
from vqjax.runs.judge import judge_reconstructions, judge_samples
from vqjax.runs.load import make_evaluator
from vqjax.training.loop import train
from vqjax.types import UsageError

CLIPS = Tones(samples=8_000, train_clips=8, eval_clips=20, loudness=None)


@pytest.fixture(scope="module")
def judge_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("judge") / "run"
    experiment = tiny.sound_classifier()
    train(experiment, path, make_evaluator=make_evaluator, devices=jax.devices()[:1])
    return path


@pytest.fixture(scope="module")
def judge(judge_path):
    return vqjax.load(judge_path)


@pytest.fixture(scope="module")
def clips():
    """20 whole clips of classes in turn: {"audio": int16[20, 8000, 1], "length", "label"}."""
    return next(CLIPS.eval(20, np.arange(20)))


@pytest.fixture(scope="module")
def codec(make_run):
    experiment = tiny.sound()
    data = dataclasses.replace(experiment.data, eval_clips=6)
    return vqjax.load(make_run(dataclasses.replace(experiment, data=data), name="codec"))


@pytest.mark.slow
def test_it_is_evaluated_as_it_classifies(judge, judge_path, capsys):
    batch = next(judge.experiment.data.eval(60, np.arange(60)))
    labels, probabilities = judge.classify(batch["audio"])
    accuracy = (labels == batch["label"]).mean()
    assert len(set(labels.tolist())) > 2  # it is no constant
    assert main(["evaluate", str(judge_path), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["accuracy"] == pytest.approx(accuracy)
    nats = -np.log(probabilities[np.arange(60), batch["label"]]).mean()
    assert measured["cross_entropy"] == pytest.approx(nats, rel=1e-3)


def test_any_level_length_rate_and_dtype(judge, clips):
    audio, length = clips["audio"], int(clips["length"][3])
    _, logits = judge.outputs(audio)
    one = audio[3, :length, 0]
    near = {"rtol": 1e-3, "atol": 1e-3}
    np.testing.assert_allclose(judge.outputs(one)[1], logits[3], **near)
    np.testing.assert_allclose(judge.outputs(one / np.float32(32768))[1], logits[3], **near)
    longer = np.pad(audio, ((0, 0), (0, 5_000), (0, 0)))
    np.testing.assert_allclose(judge.outputs(longer)[1], logits, **near)
    quiet = judge.outputs(one / np.float32(65536))[1]  # steps of 6.02 dB, the grid's are 0.5
    np.testing.assert_allclose(quiet, logits[3], atol=0.1)
    assert judge.classify(np.repeat(one, 2), rate=16_000)[0] == logits[3].argmax()
    label, probabilities = judge.classify(one)
    assert label.shape == () and probabilities.shape == (10,)
    assert judge.features(audio[:0]).shape == (0, 16)


@pytest.mark.parametrize(
    ("sound", "rate", "message"),
    [
        (np.zeros((2, 100), np.int16), None, r"\[B, T, 1\]"),
        (np.zeros(100, np.uint8), None, "uint8 values"),
        (np.full(100, np.nan, np.float32), None, "no NaN"),
        (np.zeros(100, np.int16), 0, "rate"),
    ],
)
def test_what_is_no_sound(judge, sound, rate, message):
    with pytest.raises(UsageError, match=message):
        judge.classify(sound, rate=rate)


def test_reconstructions_are_what_the_codec_makes_of_whole_clips(judge, codec):
    numbers = judge_reconstructions(codec, judge).numbers
    names = ["/originals", "/first_1", "/first_2", ""]
    assert list(numbers) == [f"judged_accuracy{name}" for name in names]
    data = codec.experiment.data
    lengths = data.clip_lengths("eval")
    batch = data.clips("eval", np.arange(6), 8_000)
    found = {name: [] for name in names}
    for clip, n in zip(batch["audio"][..., 0], lengths, strict=True):
        found["/originals"].append(judge.classify(clip[:n])[0])
        for count, name in enumerate(names[1:], 1):
            made = codec.reconstruct(clip[:n], codebooks=count)
            found[name].append(judge.classify(made)[0])
    for name, labels in found.items():
        assert numbers[f"judged_accuracy{name}"] == np.mean(labels == batch["label"])


@pytest.mark.slow  # the codec's own evaluation is compiled, too
def test_from_the_command_line(judge, judge_path, codec, capsys):
    assert main(["evaluate", codec.path, "--judge", str(judge_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    numbers = judge_reconstructions(codec, judge).numbers
    assert {name: printed[name] for name in numbers} == numbers and "si_sdr" in printed
    assert "6 clips of the eval split of Tones(" in printed["protocol"]


def test_nothing_is_drawn(judge_path, codec, capsys):
    assert main(["evaluate", codec.path, "--judge", str(judge_path), "-n", "3"]) == 2
    assert "-n is for samples: of" in capsys.readouterr().err


def test_of_other_data(judge, codec):
    numbers = judge_reconstructions(codec, judge, CLIPS).numbers
    batch = CLIPS.clips("eval", np.arange(20), 8_000)
    hits = judge.classify(batch["audio"])[0] == batch["label"]
    assert numbers["judged_accuracy/originals"] == hits.mean()
    with pytest.raises(UsageError, match="judges 'label': the data has audio, length"):
        judge_reconstructions(codec, judge, Unlabelled(CLIPS))
    with pytest.raises(UsageError, match="is a classifier: it cannot reconstruct"):
        judge_reconstructions(judge, judge)


class Unlabelled:
    def __init__(self, source):
        self.source = source

    def check(self):
        pass

    def example_spec(self):
        spec = self.source.example_spec()
        return {name: a for name, a in spec.items() if name != "label"}


class Drawing(StandIn):
    """A prior of sound under one or more conditions that keeps what it was asked for."""

    rate = 8_000

    def __init__(self, samples, condition):
        super().__init__(samples, shape=(160, 1))
        self.task = types.SimpleNamespace(prior=types.SimpleNamespace(condition=condition))
        self.classes = getattr(condition, "parts", (condition,))[0].classes

    def sample(self, n, seed, *, classes=None, conditions=None):
        self.asked = {"classes": classes, "conditions": conditions}
        return self.samples[:n]


BOTH = Several((ClassLabel(4), ClassLabel(10, batch_key="melody")))


def test_samples_of_classes_in_turn(judge, clips):
    run = Drawing(clips["audio"], ClassLabel(10))
    numbers = judge_samples(run, judge, 20).numbers
    hits = judge.classify(clips["audio"])[0] == clips["label"]
    assert numbers["class_accuracy"] == hits.mean() and run.asked["classes"] is None
    assert numbers["frechet_distance"] > 0
    chosen = judge_samples(run, judge, 20, classes=[1, "leap"])
    assert run.asked["classes"] == [1, 2] and "2 classes in turn" in chosen.protocol
    expected = judge.classify(clips["audio"])[0] == np.arange(20) % 2 + 1
    assert chosen.numbers["class_accuracy"] == expected.mean()


def test_a_judge_of_another_condition(judge, clips, monkeypatch):
    task = dataclasses.replace(judge.task, label="melody")
    data = Renamed(judge.experiment.data)
    experiment = dataclasses.replace(judge.experiment, task=task, data=data)
    monkeypatch.setattr(judge, "experiment", experiment)
    monkeypatch.setattr(judge, "task", task)
    run = Drawing(clips["audio"], BOTH)
    judgement = judge_samples(run, judge, 20)
    melodies = np.arange(20) // 4 % 10  # another one when all of the 4 classes have been
    assert run.asked == {"classes": None, "conditions": {"melody": melodies.tolist()}}
    hits = judge.classify(clips["audio"])[0] == melodies
    assert judgement.numbers["class_accuracy"] == hits.mean()
    assert "10 classes of 'melody' in turn" in judgement.protocol
    judge_samples(run, judge, 20, classes=[7, 3])
    assert run.asked["conditions"]["melody"][:9] == [7] * 4 + [3] * 4 + [7]
    plain = Drawing(clips["audio"], ClassLabel(4))
    assert "class_accuracy" not in judge_samples(plain, judge, 20).numbers
    with pytest.raises(UsageError, match="not conditioned on 'melody'"):
        judge_samples(plain, judge, 20, classes=[1])


class Renamed:
    """A source whose classes have another name."""

    def __init__(self, source):
        self.source = source

    def __getattr__(self, name):
        return getattr(self.source, name)

    def _changed(self, batches):
        return ({**b, "melody": b["label"]} for b in batches)

    def eval(self, *args):
        return self._changed(self.source.eval(*args))

    def in_order(self, *args):
        return self._changed(self.source.in_order(*args))


@pytest.mark.parametrize(
    ("changes", "classes", "message"),
    [
        ({"rate": 16_000}, None, "judges sound at 8000 Hz: .* at 16000 Hz"),
        ({"shape": (160, 2)}, None, "judges examples of 8000 x 1"),
        ({"classes": 4}, None, "knows 10 classes: runs/prior is conditioned on 4"),
        ({}, ["leep"], "did you mean 'leap'"),
        ({}, [10], r"classes\[0\]=10"),
        ({}, [], "name at least one class"),
    ],
)
def test_what_does_not_fit(judge, clips, changes, classes, message):
    run = Drawing(clips["audio"], ClassLabel(changes.get("classes", 10)))
    for name, value in changes.items():
        setattr(run, name, value)
    with pytest.raises(UsageError, match=message):
        judge_samples(run, judge, 20, classes=classes)
