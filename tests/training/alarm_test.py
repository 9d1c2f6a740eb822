"""The alarm: codes die, the log says so and what may help; the remedy is one of those settings."""

import dataclasses

import pytest

from tests import tiny
from vqjax.cli.main import main
from vqjax.config import apply_overrides
from vqjax.quantizers import FSQ, LFQ, KMeans, Residual, Revival, SimVQ, VectorQuantizer, Watch
from vqjax.training.logbook import Logbook, read_metrics
from vqjax.training.loop import train
from vqjax.types import Alarm


def task_with(quantizer):
    experiment = tiny.vqvae(task=dataclasses.replace(
        tiny.vqvae().task, tokenizer=tiny.tokenizer(quantizer), loss_weights={"l2": 1.0}
    ))  # fmt: skip
    experiment.check()
    return experiment


def collapsing(**settings):
    # All codes start close to zero, and the first that are picked run away with every vector.
    experiment = task_with(VectorQuantizer(64, 4, watch=Watch(picks=4.0, alarm=0.5)))
    return dataclasses.replace(experiment, total_steps=40, log_every=5, save_every=40, **settings)


def test_the_log_warns_once_with_the_remedies_that_the_quantizer_has(tmp_path, one_device, capsys):
    train(collapsing(), tmp_path / "run", devices=one_device)
    log = (tmp_path / "run" / "log.txt").read_text()
    assert log.count("WARNING") == 1 and "of 64 codes are in use (alarm below 50%)" in log
    assert "task.tokenizer.quantizer.start='KMeans()'" in log
    assert "task.tokenizer.quantizer.revival='Revival()'" in log
    last = [line for line in read_metrics(tmp_path / "run") if line["kind"] == "train"][-1]
    assert last["codebook_alive"] < 0.5 and last["codebook_age"] > 10
    assert "ALARM=" in capsys.readouterr().err


@pytest.mark.slow
def test_the_proposed_settings_are_ones_that_can_be_typed_and_they_help(tmp_path, one_device):
    experiment = collapsing()
    numbers = {"codebook_alive": 0.1}
    alarm = experiment.task.alarm(numbers)
    proposed = alarm.line.partition("what may help: ")[2].split(", or ")
    assert len(proposed) == 2
    helped = apply_overrides(experiment, [text.replace("'", "") for text in proposed])
    assert helped.task.tokenizer.quantizer.revival == Revival()
    assert helped.task.tokenizer.quantizer.start == KMeans()
    train(helped, tmp_path / "run", devices=one_device)
    last = [line for line in read_metrics(tmp_path / "run") if line["kind"] == "train"][-1]
    assert last["codebook_alive"] > 0.8
    assert "WARNING" not in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.parametrize(
    ("quantizer", "words"),
    [
        (FSQ((8, 8)), "quantizer.levels"),
        (LFQ(4), "task.loss_weights.entropy"),
        (SimVQ(16, 4), "task.tokenizer.quantizer.start='KMeans()'"),
        (
            Residual(VectorQuantizer(16, 4), stages=2),
            "task.tokenizer.quantizer.template.revival='Revival()'",
        ),
    ],
)
def test_every_quantizer_names_its_own_remedies(quantizer, words):
    task = task_with(quantizer).task
    assert task.alarm({"codebook_alive": 0.99, "l2": 1.0}) is None
    assert task.alarm({"l2": 1.0}) is None
    assert (
        words in task.alarm({"codebook_alive/tokens_0": 0.9, "codebook_alive/tokens_1": 0.1}).line
    )


def test_the_logbook_says_when_it_starts_and_when_it_is_over(tmp_path, capsys):
    alarm = Alarm("1.0% of codes", "only 1.0% are in use")
    with Logbook(tmp_path, 0, 100) as logbook:
        for step, state in ((1, None), (2, alarm), (3, alarm), (4, None), (5, None)):
            logbook.alarm(step, state)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "step 2: WARNING: only 1.0% are in use",
        "step 4: alarm over (it was: 1.0% of codes)",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("EMAVectorQuantizer(16,4,revival=Revival(below=0.5))", "0 < below < share"),
        ("EMAVectorQuantizer(16,4,watch=Watch(alarm=2.0))", "0 <= alarm <= 1"),
        ("FSQ(levels=(1,4))", "at least 3"),
        ("FSQ(levels=(5,5),bound='tan')", "did you mean 'tanh'"),
        ("LFQ(40)", "at most 30 bits"),
        ("GumbelQuantizer(16,4,temperature=0.0)", "wanted > 0 at every step"),
        ("GumbelQuantizer(16,4,temperature=Cosine(1.0,steps=9))", "wanted > 0 at every step"),
        ("Residual(Residual(FSQ((5,5)),2),2)", "does not have just one codebook"),
        ("Residual(GumbelQuantizer(16,4),2)", "cannot be stacked"),
        ("Residual(FSQ((5,4),bound='clip'),2)", "takes odd levels, not 4"),
        ("Product(FSQ((5,5)),0)", "groups=0: at least 1"),
        ("MultiScaleResidual(LFQ(4),(1,2))", "'entropy' has no place"),
        ("MultiScaleResidual(FSQ((5,5)),(2,1))", "growing"),
        ("SimVQ(16,4,revival=Revival())", "no revival"),
        ("Residual(Revival(),2)", "template"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_one_line(text, words, tmp_path, capsys):
    file = "tests/training/files/small_vqvae.py"
    run = tmp_path / "run"
    code = main(["train", file, f"task.tokenizer.quantizer={text}", "--workdir", str(run)])
    lines = capsys.readouterr().err.splitlines()
    assert code == 2 and len(lines) == 1 and words in lines[0] and not run.exists()
