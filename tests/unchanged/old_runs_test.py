"""Runs as an earlier vqjax left them: they open, say the same numbers, draw the same, and go on.

`old_runs.tar.xz` holds two runs of commit 725573b, stopped at step 40 of 60: tokenizer/, a VQGAN of
a few thousand weights on the scanned digits, and prior/, a GPT over its tokens, told the class;
tok.py and prior.py, which made them; what `vqjax evaluate --json` said of each; the tokens of the
first 8 held-out digits, and 8 samples. Their metrics.jsonl go to step 60.
"""

import json
import pathlib
import tarfile

import numpy as np
import pytest

import vqjax
from vqjax.cli.main import main

ARCHIVE = pathlib.Path(__file__).parent / "old_runs.tar.xz"


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(ARCHIVE) as archive:
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # from Python 3.11.4
        archive.extractall(folder, **safe)
    return folder


def _evaluated(path, capsys, *words):
    capsys.readouterr()
    assert main(["evaluate", str(path), "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def _moved(old):
    """The prior's tokenizer is not where it was."""
    return f"tokenizer={old / 'tokenizer'}"


@pytest.mark.parametrize("name", ["tokenizer", "prior"])
def test_evaluates_to_the_same_numbers(old, name, capsys):
    before = json.loads((old / f"{name}.json").read_text())
    words = () if name == "tokenizer" else ("--frozen", _moved(old))
    now = _evaluated(old / name, capsys, *words)
    assert list(now) == list(before)
    assert now.pop("run") and before.pop("run")
    assert (now.pop("step"), now.pop("params")) == (before.pop("step"), before.pop("params"))
    assert now == pytest.approx(before, rel=1e-3)


def test_encodes_and_samples_the_same(old):
    tokenizer = vqjax.load(old / "tokenizer")
    tokens = tokenizer.encode(tokenizer.held_out(8))
    assert (tokens == np.load(old / "tokens.npy")).mean() > 0.98
    prior = vqjax.load(old / "prior", frozen=[_moved(old)])
    drawn = prior.sample(8, 3, classes=range(8)).astype(int)
    # A token that another compiler draws differently takes those after it along.
    alike = np.abs(drawn - np.load(old / "samples.npy")).max(axis=(1, 2, 3)) <= 2
    assert alike.mean() >= 0.75


def test_is_inspected_reported_and_compared(old, capsys):
    runs = [str(old / name) for name in ("tokenizer", "prior")]
    for run in runs:
        assert main(["inspect", run]) == 0
        assert "sealed steps\n  40" in capsys.readouterr().out
    assert main(["report", *runs, "--out", str(old / "page.html")]) == 0
    assert "16 codes" in (old / "page.html").read_text()
    assert main(["compare", runs[0], "--json"]) == 0


@pytest.mark.slow
def test_goes_on_to_where_it_came(old, capsys):
    lines = {
        name: json.loads((old / name / "metrics.jsonl").read_text().splitlines()[-2])
        for name in ("tokenizer", "prior")
    }
    over = ("--arg", f"tokenizer={old / 'tokenizer'}")
    for name, file, words in (("prior", "prior.py", over), ("tokenizer", "tok.py", ())):
        before = lines[name]
        assert (before.pop("kind"), before["step"]) == ("eval", 60)
        command = ["train", str(old / file), "--workdir", str(old / name), *words]
        assert main(command) == 0
        said = capsys.readouterr().err
        assert "resuming at step 40 of 60" in said
        after = [json.loads(v) for v in (old / name / "metrics.jsonl").read_text().splitlines()]
        after = next(v for v in reversed(after) if v.pop("kind") == "eval")
        assert after == pytest.approx(before, rel=2e-2)
