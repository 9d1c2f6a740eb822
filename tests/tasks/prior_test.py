"""A prior over a trained tokenizer: from training to every verb, on a run of two steps."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

import vqjax
from tests import tiny
from vqjax.cli.main import main
from vqjax.config import FrozenRun
from vqjax.data import BPE, Captions, CaptionsByLabel, Digits, TokenSet
from vqjax.priors import GPT, ClassLabel, MaskGIT, PixelCNN, Text
from vqjax.quantizers import FSQ, Residual
from vqjax.runs import tokenize
from vqjax.runs.load import make_evaluator
from vqjax.sampling import Guidance, MaskedDecoding, TokenSampling
from vqjax.tasks import PriorTask
from vqjax.training.experiment import Experiment
from vqjax.training.loop import train
from vqjax.training.optim import AdamW
from vqjax.training.record import load_record
from vqjax.types import DataError, UsageError

PRIORS = {
    "gpt": GPT(16, 1, 2, condition=ClassLabel(10)),
    "maskgit": MaskGIT(16, 1, 2, decoding=MaskedDecoding(3)),
    "pixelcnn": PixelCNN(8, 2, condition=ClassLabel(10)),
}
each = pytest.mark.parametrize(
    "name",
    ["gpt", *(pytest.param(name, marks=pytest.mark.slow) for name in ("maskgit", "pixelcnn"))],
)


def experiment(prior, tokenizer, **settings):
    defaults = {
        "task": PriorTask(prior=prior, tokenizer=FrozenRun(str(tokenizer), command="make it so")),
        "data": Digits(),
        "optimizers": {"prior": AdamW(1e-2)},
        "batch_size": 16,
        "total_steps": 6,
        "log_every": 1,
        "eval_every": 6,
        "eval_batch_size": 99,
    }
    return Experiment(**{**defaults, **settings})


def train_tokenizer(path, seed=0):
    """A run of two steps whose 4 x 4 tokens have two levels."""
    quantizer = Residual(FSQ((3, 3), bound="clip"), stages=2)
    task = dataclasses.replace(
        tiny.vqvae().task, tokenizer=tiny.tokenizer(quantizer), loss_weights={"l2": 1.0}
    )
    plan = tiny.vqvae(task=task, data=Digits(), total_steps=2, seed=seed)
    train(plan, path, devices=jax.devices()[:1])


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "run"
    train_tokenizer(path)
    return path


@pytest.fixture(scope="module")
def paths(tokenizer, tmp_path_factory):
    """{name: run}, trained when it is first asked for."""

    class Runs(dict):
        def __missing__(self, name):
            self[name] = tmp_path_factory.mktemp(name) / "run"
            plan = experiment(PRIORS[name], tokenizer)
            one = jax.devices()[:1]
            train(plan, self[name], make_evaluator=make_evaluator, devices=one)
            return self[name]

    return Runs()


def lines(path, kind):
    every = map(json.loads, (path / "metrics.jsonl").read_text().splitlines())
    return [line for line in every if line["kind"] == kind]


@each
def test_it_learns_and_evaluates_as_it_was_told(paths, name, capsys):
    trained = lines(paths[name], "train")
    assert trained[-1]["nll"] < trained[0]["nll"]
    assert main(["evaluate", str(paths[name]), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    (logged,) = lines(paths[name], "eval")
    assert measured["nats_per_token"] == pytest.approx(logged["nats_per_token"], rel=1e-4)
    expected = measured["nats_per_token"] * 32 / np.log(2) / 64  # 32 tokens, 64 pixels
    assert measured["bits_per_dim"] == pytest.approx(expected)


@each
def test_samples_from_python(paths, name):
    run = vqjax.load(paths[name])
    drawn = run.sample(5, seed=1)
    assert drawn.shape == (5, 8, 8, 1) and drawn.dtype == np.uint8
    np.testing.assert_array_equal(run.sample(3, seed=1), drawn[:3])
    assert (run.sample(5, seed=2) != drawn).any()
    cold = run.sample(4, sampling=TokenSampling(temperature=0.0))
    if name != "maskgit":
        np.testing.assert_array_equal(cold[0], run.sample(1, 9, sampling=TokenSampling(0.0))[0])
        guided = run.sample(4, classes=[3], guidance=Guidance(2.0))
        assert guided.shape == (4, 8, 8, 1)
        with pytest.raises(UsageError, match=r"classes\[0\]=10: wanted .* -1 to 9"):
            run.sample(1, classes=[10])
    else:
        with pytest.raises(UsageError, match="not class-conditional"):
            run.sample(1, classes=[3])
        with pytest.raises(UsageError, match="not text-conditional"):
            run.sample(1, prompts=["3"])
        with pytest.raises(UsageError, match="nothing to guide towards"):
            run.sample(1, guidance=Guidance(2.0))


def test_every_verb(paths, tokenizer, tmp_path, capsys):
    run, out = str(paths["gpt"]), tmp_path / "out"
    assert main(["sample", run, "-n", "6", "--classes", "3,7", "--out", str(out)]) == 0
    start = "sample_00000006_seed0"
    singles = [f"{start}-{i:04d}_{paths['gpt'].name}_class-{(3, 7)[i % 2]}.png" for i in range(6)]
    assert sorted(p.name for p in out.iterdir()) == [
        *singles,
        f"{start}_{paths['gpt'].name}_class-3-7.png",
    ]
    assert Image.open(out / singles[0]).size == (8, 8)
    for verb in ("inspect", "report"):
        assert main([verb, run]) == 0, capsys.readouterr().err
    assert "samples</small>" in (paths["gpt"] / "report.html").read_text()
    assert main(["compare", str(tokenizer), run]) == 0, capsys.readouterr().err
    assert "transformer" in capsys.readouterr().out
    for words, line in (
        (["sample", str(tokenizer), "--top-k", "3"], "it cannot sample, the bottleneck"),
        (["sample", run, "--classes", "a"], "give numbers"),
        (["sample", run, "--top-p", "2"], "top_p=2.0"),
        (["sample", run, "--interpolate", "2"], "a prior"),
        (["reconstruct", run, "--out", str(out)], "a prior"),
        (["evaluate", run, "--importance-samples", "2"], "no bound"),
        (["evaluate", run, "--captions", "3"], "its data cannot tell"),
    ):
        assert main(words) == 2
        (said,) = [s for s in capsys.readouterr().err.splitlines() if s.startswith("vqjax: error")]
        assert line in said


NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def test_it_is_told_a_text(tokenizer, tmp_path, capsys):
    named = CaptionsByLabel(Digits(), tuple(f"a {number}" for number in NUMBERS))
    prior = GPT(16, 1, 2, condition=Text(280, 6, 16, 1, 2))
    plan = experiment(prior, tokenizer, data=Captions(named, BPE(280), 6), total_steps=2)
    path, devices = tmp_path / "run", jax.devices()[:1]
    train(plan, path, make_evaluator=make_evaluator, devices=devices)
    data = load_record(path).experiment.data
    assert 0 < len(data.vocabulary.merges) <= 280 - 257
    # It goes on with the vocabulary of the first start, whatever its data hold now.
    other = dataclasses.replace(plan.data, source=CaptionsByLabel(Digits(), NUMBERS))
    later = dataclasses.replace(plan, data=other, total_steps=3)
    train(later, path, allow_change=True, devices=devices)
    assert load_record(path).experiment.data.vocabulary == data.vocabulary

    run, words = vqjax.load(path), ["a seven", "a two"]
    drawn = run.sample(3, prompts=words)
    np.testing.assert_array_equal(drawn[1:2], run.sample(2, prompts=["a one", "a two"])[1:])
    assert (
        main(["sample", str(path), "-n", "2", "--prompt", words[0], "--condition", "text=a two"])
        == 0
    )
    for options, line in (
        (["--prompt", "a seven and much more than that"], "reads at most 6"),
        (
            ["--classes", "3"],
            "--classes is not for this run: it takes -n, --seed, --prompt, --condition",
        ),
        (["--condition", "txt=a"], 'give text="..."'),
    ):
        capsys.readouterr()
        assert main(["sample", str(path), *options]) == 2
        assert line in capsys.readouterr().err
    short = dataclasses.replace(plan, data=Captions(named, BPE(280), 5))
    with pytest.raises(UsageError, match="wanted those of Captions"):
        train(short, tmp_path / "short")


@pytest.mark.slow  # five trainings
def test_it_insists_on_its_tokenizer(tokenizer, tmp_path):
    missing = experiment(PRIORS["gpt"], tmp_path / "nowhere")
    with pytest.raises(DataError, match="make it by `make it so`"):
        train(missing, tmp_path / "a")
    nine = experiment(GPT(16, 1, 2, condition=ClassLabel(9)), tokenizer)
    with pytest.raises(DataError, match="label 9: wanted 0 to 8, or -1 for none"):
        train(nine, tmp_path / "nine", devices=jax.devices()[:1])
    moved = tmp_path / "moved"
    shutil.copytree(tokenizer, moved)
    plan = experiment(PRIORS["gpt"], moved, total_steps=1)
    train(plan, tmp_path / "run", devices=jax.devices()[:1])
    shutil.rmtree(moved)
    with pytest.raises(DataError, match="no run at"):
        vqjax.load(tmp_path / "run")
    vqjax.load(tmp_path / "run", frozen=[f"tokenizer={tokenizer}"]).sample(1)
    other = tiny.vqvae(data=Digits(), total_steps=2, seed=1)
    train(other, moved, devices=jax.devices()[:1])
    with pytest.raises(DataError, match="is not the one recorded"):
        vqjax.load(tmp_path / "run")
    plain = tmp_path / "plain"
    train(tiny.ae(data=Digits(), total_steps=1), plain, devices=jax.devices()[:1])
    with pytest.raises(UsageError, match="has no tokens"):
        train(experiment(PRIORS["gpt"], plain), tmp_path / "b")


def test_arrays_that_nobody_described_are_not_taken_for_tokens(tmp_path):
    description = {"arrays": {"tokens": {}, "label": {}}, "examples": {"train": 3, "eval": 1}}
    (tmp_path / "eval").mkdir()
    stray = tmp_path / "eval" / "label.00000.npy"
    stray.write_bytes(b"mine")
    with pytest.raises(UsageError, match=f"{stray} is there without tokens.json"):
        tokenize._write_description(tmp_path, description)
    assert [p.name for p in tmp_path.rglob("*")] == ["eval", stray.name]


@pytest.mark.slow  # two trainings and two token sets
def test_a_token_set_gives_the_same_batches(paths, tokenizer, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tokenize, "SHARD", 512)
    out = tmp_path / "tokens"
    assert main(["tokenize", str(tokenizer), "--out", str(out)]) == 0
    source, pictures = TokenSet(str(out)), Digits()
    assert (source.num_train(), source.num_eval()) == (pictures.num_train(), pictures.num_eval())
    rows = np.arange(16)
    run = vqjax.load(tokenizer)
    mine, its = (v.train(16, 3, 5, rows) for v in (source, pictures))
    for _ in range(2):
        ours, theirs = next(mine), next(its)
        for name in ("example_id", "label"):
            np.testing.assert_array_equal(ours[name], theirs[name])
        expected = run.encode(theirs["image"])
        for name in ("tokens_0", "tokens_1"):
            assert ours[name].dtype == np.int32
            np.testing.assert_array_equal(ours[name], expected[name])

    # A shard that is missing is made again, the others stay; meanwhile nobody reads half a set.
    first, second = (out / "train" / f"tokens_1.{n:05d}.npy" for n in range(2))
    before = (first.stat().st_mtime_ns, second.read_bytes())
    second.unlink()
    with pytest.raises(DataError, match="is not finished"):
        TokenSet(str(out)).check()
    assert main(["tokenize", str(tokenizer), "--out", str(out)]) == 0
    assert (first.stat().st_mtime_ns, second.read_bytes()) == before

    # Of another tokenizer it is refused.
    other = tmp_path / "other"
    train_tokenizer(other, seed=1)
    with pytest.raises(DataError, match="was made by another step or run"):
        train(experiment(PRIORS["gpt"], other, data=TokenSet(str(out))), tmp_path / "refused")

    # The same losses, step by step, and the same verbs.
    plan = experiment(PRIORS["gpt"], tokenizer, data=TokenSet(str(out)))
    train(plan, tmp_path / "run", make_evaluator=make_evaluator, devices=jax.devices()[:1])
    for a, b in zip(lines(tmp_path / "run", "train"), lines(paths["gpt"], "train"), strict=True):
        assert a["nll"] == pytest.approx(b["nll"], rel=1e-5)
    run = str(tmp_path / "run")
    assert main(["sample", run, "-n", "2", "--out", str(tmp_path / "drawn")]) == 0
    for verb in ("evaluate", "inspect", "report"):
        assert main([verb, run]) == 0, capsys.readouterr().err


@pytest.mark.slow  # two trainings
def test_mistakes_with_token_sets_take_one_line(paths, tokenizer, tmp_path, capsys):
    plain, other, out = tmp_path / "plain", tmp_path / "other", tmp_path / "tokens"
    train(tiny.ae(data=Digits(), total_steps=1), plain, devices=jax.devices()[:1])
    train(tiny.vqvae(data=Digits(), total_steps=1), other, devices=jax.devices()[:1])
    assert main(["tokenize", str(other), "--out", str(out)]) == 0
    for words, code, line in (
        (["tokenize", str(plain), "--out", str(tmp_path / "a")], 2, "has no tokens"),
        (
            ["tokenize", str(paths["gpt"]), "--out", str(tmp_path / "b")],
            2,
            "is a prior: it cannot tokenize",
        ),
        (["tokenize", str(tokenizer), "--out", str(out)], 2, "holds other tokens"),
        (["tokenize", str(tmp_path / "no"), "--out", str(out)], 3, "is not a run"),
    ):
        assert main(words) == code
        (said,) = [s for s in capsys.readouterr().err.splitlines() if s.startswith("vqjax: error")]
        assert line in said
    with pytest.raises(DataError, match="make it by `vqjax tokenize"):
        TokenSet(str(tmp_path / "nowhere")).check()


def test_a_condition_of_an_older_version_is_refused_in_one_line():
    older = type("Older", (nn.Module,), {"given": "label", "dropout": 0.1})
    prior = GPT(16, 1, 2, condition=older())
    with pytest.raises(UsageError, match=r"prior.condition: Older .*'batch_key'"):
        PriorTask(prior=prior, tokenizer=FrozenRun("nowhere"))
