"""The classifier task: what it refuses, its loss by hand, and a run with every verb."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import vqjax
from tests import tiny
from vqjax.cli.main import main
from vqjax.data import Arrays
from vqjax.runs.load import make_evaluator
from vqjax.tasks import ClassifierTask
from vqjax.tokenizers import MLPEncoder
from vqjax.training.loop import train
from vqjax.training.mesh import make_mesh
from vqjax.types import ArraySpec, Context, DataError, UsageError

MLP = ClassifierTask(MLPEncoder((8, 8), (16,)), classes=10)
PICTURE, LABEL = ArraySpec((8, 8, 1), "uint8"), ArraySpec((), "int32")


class Pointwise(nn.Module):
    """Latents at every position: three multiples of its value."""

    latent_dim = 3

    def grid(self, shape):
        return shape

    @nn.compact
    def __call__(self, x):
        return x @ self.param("kernel", nn.initializers.normal(), (x.shape[-1], self.latent_dim))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A run of a few steps on scanned digits."""
    path = tmp_path_factory.mktemp("classifier") / "run"
    experiment = tiny.classifier()
    train(experiment, path, make_evaluator=make_evaluator, devices=jax.devices()[:1])
    return path


@pytest.mark.parametrize(
    ("task", "inputs", "message"),
    [
        (MLP, {"image": PICTURE}, "needs 'label': the data has image"),
        (MLP, {"label": LABEL}, "needs 'image'"),
        (MLP, {"image": PICTURE, "label": ArraySpec((2,), "int32")}, "wanted one number"),
        (MLP, {"image": ArraySpec((9, 8, 1), "uint8"), "label": LABEL}, r"only the size"),
    ],
)
def test_check_refuses_what_cannot_work(task, inputs, message):
    with pytest.raises(UsageError, match=message):
        task.check(inputs)


def test_settings_that_cannot_be():
    with pytest.raises(UsageError, match="classes=1"):
        dataclasses.replace(MLP, classes=1)
    with pytest.raises(UsageError, match=r"label_smoothing=1\.0"):
        dataclasses.replace(MLP, label_smoothing=1.0)


def test_features_are_the_mean_of_latents_and_loss_is_by_hand():
    task = ClassifierTask(Pointwise(), classes=2, label_smoothing=0.2)
    x = np.random.default_rng(0).uniform(size=(2, 4, 4, 1)).astype(np.float32)
    batch = {"image": x, "label": jnp.array([0, 1])}
    params, collections = task.init(jax.random.key(0), batch)
    features, logits = task.classify(params, x)
    kernel = np.asarray(params["classifier"]["encoder"]["kernel"])
    np.testing.assert_allclose(features, (x @ kernel).mean((1, 2)), rtol=1e-5, atol=1e-6)
    context = Context(jax.random.key(0), 0, ("classifier", "cross_entropy"), train=True)
    out = task(params, collections, {}, batch, context)
    log_p = np.asarray(jax.nn.log_softmax(logits))
    # 0.8 of the label and 0.2 / 2 of each of the two classes.
    expected = -(0.9 * log_p[0, 0] + 0.1 * log_p[0, 1] + 0.9 * log_p[1, 1] + 0.1 * log_p[1, 0]) / 2
    assert float(out.losses["cross_entropy"]) == pytest.approx(float(expected), rel=1e-5)
    assert float(out.metrics["accuracy"]) == (log_p.argmax(1) == [0, 1]).mean()


def test_it_learns_and_evaluates_as_it_was_told(path, capsys):
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    (logged,) = [line for line in lines if line["kind"] == "eval"]
    assert logged["accuracy"] > 0.6  # of ten classes
    assert main(["evaluate", str(path), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    run = vqjax.load(path)
    batch = next(run.experiment.data.eval(297, np.arange(297)))
    labels, probabilities = run.classify(batch["image"])
    of_labels = probabilities[np.arange(297), batch["label"]]
    assert measured["accuracy"] == pytest.approx((labels == batch["label"]).mean())
    assert measured["accuracy"] == pytest.approx(logged["accuracy"])
    assert measured["cross_entropy"] == pytest.approx(-np.log(of_labels).mean(), rel=1e-4)


def test_from_python(path):
    run = vqjax.load(path)
    images = run.held_out(3)
    labels, probabilities = run.classify(images)
    assert labels.dtype == np.int32 and probabilities.shape == (3, 10)
    np.testing.assert_allclose(probabilities.sum(1), 1.0, rtol=1e-5)
    assert run.features(images).shape == (3, run.feature_dim) == (3, 16)
    assert run.features(images[:0]).shape == (0, 16)
    floats = images.astype(np.float64) / 127.5 - 1.0
    np.testing.assert_allclose(run.features(floats), run.features(images), rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match=r"wanted \[B, 8, 8, 1\]"):
        run.classify(images[:, :4])
    with pytest.raises(UsageError, match="int64 values"):
        run.classify(images.astype(np.int64))


def test_every_verb(path, tmp_path, capsys):
    for verb in ("inspect", "report", "compare"):
        assert main([verb, str(path)]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "features of one example" in said and "16 real numbers" in said
    page = (path / "report.html").read_text()
    assert "Accuracy" in page and "PSNR" not in page and "Reconstructions" not in page
    out = str(tmp_path / "out")
    for words, line in (
        (["sample", str(path)], "is a classifier: it cannot sample (it can: classify, evaluate)"),
        (
            ["reconstruct", str(path), "--out", out],
            "is a classifier: it cannot reconstruct (it can: classify, evaluate)",
        ),
        (
            ["tokenize", str(path), "--out", out],
            "is a classifier: it cannot tokenize (it can: classify, evaluate)",
        ),
        (["evaluate", str(path), "--importance-samples", "2"], "no bound"),
        (["evaluate", str(path), "--judge", str(path)], "is a classifier: it cannot sample"),
        (["evaluate", str(path), "--top-k", "2"], "--top-k is for samples: add --judge"),
        (["evaluate", str(path), "--judge", str(path), "--top-p", "2"], "top_p=2.0"),
    ):
        assert main(words) == 2
        (said,) = [s for s in capsys.readouterr().err.splitlines() if s.startswith("vqjax: error")]
        assert line in said


def test_labels_of_the_eval_split_are_classes():
    x = np.zeros((4, 8, 8, 1), np.uint8)
    good, bad = np.arange(4, dtype=np.int32), np.array([0, 1, 2, 10], np.int32)
    data = Arrays({"image": x, "label": good}, {"image": x, "label": bad})
    experiment = tiny.classifier(data=data)
    evaluator = make_evaluator(experiment, make_mesh(jax.devices()[:1]), {})
    with pytest.raises(DataError, match="eval example 3: label 10: wanted 0 to 9"):
        evaluator({}, {})
