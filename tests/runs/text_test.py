"""A run of a text prior, from Python and as typed: what it draws, and its numbers."""

import json
import pathlib
import re

import numpy as np
import pytest

import vqjax
from tests import tiny
from vqjax.cli.main import main
from vqjax.files import is_ours
from vqjax.media.gallery import read_sheet
from vqjax.priors import GPT, AbsorbingDiffusion, ClassLabel
from vqjax.runs.load import make_evaluator
from vqjax.sampling import Guidance, TokenSampling
from vqjax.training.loop import train
from vqjax.training.optim import Adam
from vqjax.types import UsageError

PRIORS = {"causal": GPT(16, 1, 2), "absorbing": AbsorbingDiffusion(16, 1, 2)}
LEARNED = {
    "causal": GPT(32, 1, 2, condition=ClassLabel(2), dropout=0.0),
    "absorbing": AbsorbingDiffusion(32, 2, 2, condition=ClassLabel(2)),
}


@pytest.mark.parametrize("name", PRIORS)
def test_numbers_of_a_prior_that_holds_all_ids_alike(name, make_run):
    """Of "a", "cc" and "bbb" in three ids each: nine ids, eight tokens with the ends of two."""
    run = vqjax.load(make_run(tiny.texts(PRIORS[name])))
    evaluation = run.evaluate()
    assert evaluation.numbers == pytest.approx(
        {"nats_per_caption": 3 * np.log(257), "nats_per_token": 9 * np.log(257) / 8}
    )
    assert run.held_out(2) == ["a", "cc"] and run.held_out(9) == ["a", "cc", "bbb"]


@pytest.fixture(
    scope="module", params=["causal", pytest.param("absorbing", marks=pytest.mark.slow)]
)
def run(request, tmp_path_factory):
    """That has learned which texts a label has."""
    path = tmp_path_factory.mktemp("texts") / "run"
    settings = {"batch_size": 64, "total_steps": 400, "save_every": 400}
    plan = tiny.texts(LEARNED[request.param], optimizers={"prior": Adam(3e-3)}, **settings)
    train(plan, path, make_evaluator=make_evaluator)
    return vqjax.load(path)


def test_it_draws_texts_of_a_label(run):
    drawn = run.sample(40, 3, classes=[1, 0])
    right = [("bbb",), ("a", "cc")]
    assert np.mean([text in right[i % 2] for i, text in enumerate(drawn)]) > 0.9
    assert {"a", "cc", "bbb"} <= {*drawn}
    assert run.sample(5, 3, classes=[1, 0]) == drawn[:5]
    guided = run.sample(20, conditions={"label": [0]}, guidance=Guidance(2.0))
    assert guided == run.sample(20, classes=[0], guidance=Guidance(2.0)) and run.sample(0) == []
    coldest = run.sample(4, classes=[1], sampling=TokenSampling(temperature=0.0))
    assert coldest == ["bbb"] * 4 and run.conditions == ("classes",)


def test_verbs(run, tmp_path, capsys):
    numbers = run.evaluate().numbers
    path = pathlib.Path(run.path)
    lines = map(json.loads, (path / "metrics.jsonl").read_text().splitlines())
    (logged,) = (line for line in lines if line["kind"] == "eval")
    assert logged["nats_per_caption"] == pytest.approx(numbers["nats_per_caption"], rel=1e-5)
    out = tmp_path / "out"
    words = ["-n", "3", "--seed", "1", "--classes", "1,0", "--top-k", "4", "--out", str(out)]
    assert main(["sample", run.path, *words]) == 0
    file = out / "sample_00000400_seed1_top-k=4_run_class-1-0.json"
    written = json.loads(file.read_text())["caption"]
    said = capsys.readouterr().out.splitlines()
    assert said == [*(f"caption: {text}" for text in written), str(file)] and is_ours(file)
    assert written == run.sample(3, 1, classes=[1, 0], sampling=TokenSampling(top_k=4))
    for verb in ("report", "inspect", "compare"):
        assert main([verb, run.path]) == 0
    said = capsys.readouterr().out
    assert "one example, 3 int32" in said and "compression" not in said
    assert f"  {numbers['nats_per_caption']:.2f}  " in said.splitlines()[-2]  # of `compare`
    page = (path / "report.html").read_text()
    (sheet,) = (path / "samples").glob("*.png")
    texts = read_sheet(sheet).streams[0].texts
    assert len(texts) == 64 and re.findall("<td>([^<]+)</td>", page)[:4] == [*texts[:4]]
    assert "captions like those in LabelledTexts, conditioned on the class, as 3 ids of" in page


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("sample", "--prompt", "a"), "--prompt is not for this run: it takes -n, --seed"),
        (("sample", "--rate", "8000"), "--rate is for sound"),
        (("sample", "prompts=a"), "no 'prompts' here"),
        (("sample", "--interpolate", "2"), "is a text prior: it cannot interpolate"),
        (("edit", "--mask", "left"), "is a text prior: it cannot edit"),
        (("evaluate", "--captions", "3"), "its data cannot tell"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_it_cannot_do_is_one_line(make_run, words, line, capsys):
    verb, *rest = words
    path = make_run(tiny.texts())
    assert main([verb, str(path), *rest]) == 2
    assert line in capsys.readouterr().err.splitlines()[-1]


def test_a_run_without_conditions_takes_none(make_run):
    run = vqjax.load(make_run(tiny.texts()))
    with pytest.raises(UsageError, match="not class-conditional"):
        run.sample(1, classes=[1])
    with pytest.raises(UsageError, match="nothing to guide towards"):
        run.sample(1, guidance=Guidance(2.0))
