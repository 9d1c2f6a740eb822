"""LPIPS over the eval split, of runs that were trained with it."""

import dataclasses

import pytest

from tests.small_source import SmallSource, small_experiment
from tests.training.weight_files_test import TRUST, WEIGHT, Weighed, written
from vqjax.config import WeightFile
from vqjax.runs.evaluate import evaluate_run


def test_evaluation_says_what_it_leaves_out(make_run, trust, tmp_path):
    file = written(tmp_path / "w.safetensors")
    experiment = small_experiment(SmallSource())
    task = experiment.task
    task = dataclasses.replace(
        task,
        losses=(*task.losses, Weighed(WeightFile(str(file)))),
        loss_weights={**task.loss_weights, "lpips": 1.0},
    )
    run = make_run(dataclasses.replace(experiment, task=task))
    said, settings = [], {"trust": (*trust, *TRUST)}
    _, evaluation = evaluate_run(run, say=said.append, **settings)
    # The stand-in is L1 in [-1, 1]; `l1` is in [0, 1].
    assert evaluation.numbers["lpips"] == pytest.approx(2 * WEIGHT * evaluation.numbers["l1"], 1e-5)
    assert not said
    away = file.rename(tmp_path / "away.safetensors")
    _, without = evaluate_run(run, say=said.append, **settings)
    assert "lpips" not in without.numbers and "psnr" in without.numbers
    assert "left out: " in said[0] and "get it from the shelf" in said[0]
    _, again = evaluate_run(run, say=said.append, frozen=[f"file={away}"], **settings)
    assert again.numbers == evaluation.numbers and len(said) == 1
