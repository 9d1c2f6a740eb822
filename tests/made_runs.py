"""Runs as training leaves them, small enough to be made in a second."""

import json

import numpy as np
import pytest

from tests.small_source import SmallSource, small_experiment, started
from vqjax.media.gallery import Gallery, png_file
from vqjax.training import checkpoint
from vqjax.training.record import ExperimentRecord, new_id, owner_of, write_record


@pytest.fixture(scope="session")
def trust():
    """What `--trust` has to be for runs of `small_source`."""
    return ("tests.small_source",)


@pytest.fixture(scope="session")
def make_run(tmp_path_factory):
    """make_run(experiment, step=4, name="small") -> a sealed run of initial parameters."""

    def make(experiment, step=4, name="small"):
        run = tmp_path_factory.mktemp(name)
        inputs = experiment.data.example_spec()
        command = ("vqjax", "train", f"{name}.py")
        record = ExperimentRecord(experiment, inputs, name, command, id=new_id())
        write_record(run, record)
        state = started(experiment)
        saver = checkpoint.Checkpoints(run / "checkpoints", keep=3, owner=owner_of(record))
        saver.save(step, state)
        saver.wait()
        saver.close()
        return run

    return make


@pytest.fixture(scope="session")
def run_dir(make_run):
    """A sealed run on uint8 [8, 8, 1] pictures, factor 2."""
    return make_run(small_experiment(SmallSource()))


@pytest.fixture
def trained_records(run_dir, tmp_path):
    """A copy of `run_dir` with metrics, pictures and a log as a run of 400 steps leaves them."""
    path = tmp_path / "digits <vqgan> & co"
    path.mkdir()
    header = json.loads((run_dir / "experiment.json").read_text())
    header["name"] = "digits <b>vqgan</b> & co"
    header["command"] = ["vqjax", "train", "a b.py", "<script>alert(1)</script>"]
    header["experiment"]["total_steps"] = 400
    del header["digest"]  # not by hand
    (path / "experiment.json").write_text(json.dumps(header))
    lines = [{"kind": "time", "step": 0, "elapsed": 8.25, "compile_seconds": 8.0}]
    for step in range(10, 401, 10):
        lines.append({"kind": "train", "step": step, "l1": 20 / step, "commitment": 2 / step,
                      "codebook": 0.5 - step / 500, "total": 22 / step, "perplexity": 3.0,
                      "grad_norm/tokenizer": 1.0})  # fmt: skip
        lines.append({"kind": "time", "step": step, "elapsed": 8.25 + step / 4,
                      "examples_per_second": 512.0, "input_wait": 0.01})  # fmt: skip
        if step % 50 == 0:
            lines.append({"kind": "eval", "step": step, "psnr": 30 - 600 / (step + 20),
                          "mse": 0.01, "l1": 0.05, "ssim": 0.9 - 10 / step,
                          "high_frequency_ratio": 0.5 + step / 1000,
                          "codebook_usage": step / 400, "perplexity": 1 + step / 80})  # fmt: skip
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (path / "metrics.jsonl").write_text(text + '{"kind": "train", "st')
    (path / "samples").mkdir()
    source = SmallSource()
    x = np.stack([source.example(i) for i in range(11)])
    for step in range(50, 401, 50):
        rows = {"originals": x, "reconstructions": x // (1 + 400 // step)}
        (path / "samples" / f"{step:08d}.png").write_bytes(png_file(Gallery(rows).sheet()))
    (path / "log.txt").write_text(
        "2026-01-02 03:04:05 training for 400 steps of 8 examples on 1 x cpu; run: /tmp/x\n"
        "2026-01-02 03:04:15 <b>first</b> step after 9.0 s\n"
    )
    return path
