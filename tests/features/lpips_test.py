"""What LPIPS asks of its files and pictures; tests/parity/lpips_test.py has its numbers."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests import tiny
from tests.parity import random_vgg
from vqjax.config import WeightFile
from vqjax.features import lpips, vgg
from vqjax.losses import L1, LPIPS
from vqjax.runs.load import make_evaluator
from vqjax.training.experiment import with_dtype
from vqjax.training.loop import train
from vqjax.types import DataError, UsageError


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    backbone, heads = folder / "vgg16.safetensors", folder / "heads.safetensors"
    save_file(random_vgg.backbone(), backbone)
    save_file(random_vgg.heads(), heads)
    return backbone, heads


def loss_of(files):
    return LPIPS(*(WeightFile(str(file)) for file in files))


def test_shapes_need_no_file_and_are_those_of_the_arrays(files):
    shapes, arrays = loss_of(("nowhere", "nowhere")).frozen_shapes(), loss_of(files).read_frozen()
    assert jax.tree.structure(shapes) == jax.tree.structure(arrays)
    for shape, array in zip(*map(jax.tree.leaves, (shapes, arrays)), strict=True):
        assert (shape.shape, shape.dtype) == (array.shape, array.dtype)
    count = sum(a.size for a in jax.tree.leaves(arrays["backbone"]))
    assert count == 14_714_688  # arXiv 1409.1556, table 2, without the three dense layers


def test_files_that_are_something_else(files, tmp_path):
    backbone, heads = files
    with pytest.raises(DataError, match="heads.safetensors has no array 'features.0.weight'"):
        lpips.read(heads, heads)
    with pytest.raises(DataError, match="vgg16.safetensors has no array 'lin0.model.1.weight'"):
        lpips.read(backbone, backbone)
    below = random_vgg.heads()
    below["lin3.model.1.weight"][0, 7] = -0.5
    save_file(below, tmp_path / "below.safetensors")
    with pytest.raises(DataError, match="lin3.model.1.weight has weights below zero"):
        lpips.read(backbone, tmp_path / "below.safetensors")


def test_only_pictures_that_it_can_judge():
    loss = loss_of(("a", "b"))
    loss.check((16, 16, 3))
    for shape in ((16, 16, 1), (15, 64, 3), (64, 3), (4, 16, 16, 3)):
        with pytest.raises(UsageError, match="'lpips' takes pictures of 3 channels"):
            loss.check(shape)


def test_the_backbone_has_the_experiments_dtype():
    loss = loss_of(("a", "b"))
    task = dataclasses.replace(tiny.vqvae().task, losses=(loss,), loss_weights={"lpips": 1.0})
    assert with_dtype(task, "bfloat16").losses[0].dtype == "bfloat16"
    explicit = dataclasses.replace(task, losses=(dataclasses.replace(loss, dtype="float32"),))
    assert with_dtype(explicit, "bfloat16").losses[0].dtype == "float32"
    x = jax.ShapeDtypeStruct((2, 16, 16, 3), np.float32)
    outputs = jax.eval_shape(
        lambda p, x: vgg.taps(p, x.astype("bfloat16")), loss.frozen_shapes()["backbone"], x
    )
    assert [(a.shape, a.dtype) for a in outputs] == [
        ((2, 16 >> i, 16 >> i, n), "bfloat16") for i, n in enumerate(vgg.CHANNELS)
    ]


@pytest.mark.slow
def test_a_vqgan_learns_by_it(files, tmp_path):
    """Two players, the adaptive weight, bfloat16, an evaluation."""
    base = tiny.vqgan()
    task = dataclasses.replace(
        base.task,
        tokenizer=tiny.tokenizer(channels=3),
        losses=(L1(), loss_of(files)),
        loss_weights={**base.task.loss_weights, "lpips": 1.0},
    )
    experiment = dataclasses.replace(
        base,
        task=task,
        data=tiny.arrays((16, 16, 3), train=16, held_out=8),
        total_steps=6,
        save_every=3,
        compute_dtype="bfloat16",
    )
    run = tmp_path / "run"
    train(experiment, run, make_evaluator=make_evaluator, devices=jax.devices()[:1])
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    trained = [line["lpips"] for line in lines if line["kind"] == "train"]
    judged = [line["lpips"] for line in lines if line["kind"] == "eval"]
    assert trained[-1] < trained[0] and judged[-1] < judged[0]
    assert 0.0 < judged[-1] < 1.0
