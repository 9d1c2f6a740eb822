"""Runs whose record has values of the right kind and no sense: one line, whatever opens them."""

import json
import pathlib

import jax
import pytest

from tests import tiny
from vqjax.cli.main import main
from vqjax.training.platform import devices_at_hand
from vqjax.training.record import ExperimentRecord, write_record
from vqjax.types import UsageError

FILE = str(pathlib.Path(__file__).parent.parent / "training" / "files" / "small_vqvae.py")
NESTED = []
for _ in range(400):
    NESTED = [NESTED]


@pytest.fixture
def run(tmp_path):
    data = tiny.arrays()
    write_record(tmp_path / "run", ExperimentRecord(tiny.vqvae(), data.example_spec(), "tiny"))
    return tmp_path / "run"


def invoke(capsys, *argv):
    """(exit code, its one line)."""
    capsys.readouterr()
    code = main([str(word) for word in argv])
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and len(err) < 500 and "unexpected" not in err, err
    return code, err


@pytest.mark.parametrize(
    ("verb", "path", "value", "line"),
    [
        ("inspect", "inputs.image.dtype", "x", "no network can be built of these settings"),
        ("inspect", "experiment.data", NESTED, "nested too deep"),
        ("inspect", "experiment.task", 5, "task: int does not fit here"),
        ("evaluate", "experiment.task.tokenizer.encoder.width", 2**64, "at most 64 bits"),
        ("evaluate", "experiment.compute_dtype", "x", "no network can be built"),
        ("evaluate", "experiment.data.train_arrays", {}, "experiment.json"),
        ("compare", "experiment.optimizers.tokenizer", {"a": 1}, "no evaluation and no sealed"),
    ],
)
def test_no_sense(capsys, run, verb, path, value, line):
    record = json.loads((run / "experiment.json").read_text())
    *parents, name = path.split(".")
    node = record
    for parent in parents:
        node = node[parent]
    node[name] = value
    del record["digest"]  # as in a run of an earlier version
    (run / "experiment.json").write_text(json.dumps(record))
    code, err = invoke(capsys, verb, run)
    assert code == 3 and line in err and str(run) in err


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (f"task.tokenizer.encoder=ConvEncoder(width={2**64})", "at most 64 bits"),
        (f"task.tokenizer.encoder.widths.0={2**50}", "more than any machine has"),
        (f"batch_size={2**64}", f"batch_size={2**64}: "),
        ("compute_dtype=x", "compute_dtype='x'"),
    ],
)
def test_no_sense_in_an_override(capsys, tmp_path, override, line):
    code, err = invoke(capsys, "train", FILE, override, "--workdir", tmp_path / "run")
    assert code == 2 and line in err and not (tmp_path / "run").exists()


def test_a_prior_over_itself(capsys, tmp_path):
    prior = tiny.token_prior()
    run = tmp_path / "run"
    write_record(run, ExperimentRecord(prior, prior.data.example_spec(), "prior"))
    record = json.loads((run / "experiment.json").read_text())
    tokenizer = record["experiment"]["task"]["tokenizer"]
    tokenizer |= {"path": str(run), "experiment": json.loads(json.dumps(record["experiment"]))}
    del record["digest"]
    (run / "experiment.json").write_text(json.dumps(record))
    for verb in ("inspect", "evaluate"):
        code, err = invoke(capsys, verb, run)
        assert code == 3 and "PriorTask does not fit here" in err


def test_a_device_that_jax_does_not_find(monkeypatch):
    def none():
        raise AssertionError

    monkeypatch.setattr(jax, "devices", none)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(UsageError, match="JAX_PLATFORMS=cuda: JAX does not .*pip install .*cuda12"):
        devices_at_hand()
