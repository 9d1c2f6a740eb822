"""A loss that needs a file: its arrays are an argument of the step, the file is pinned."""

import dataclasses
import hashlib
import json
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests import tiny
from vqjax import config
from vqjax.config import WeightFile
from vqjax.features.weights import read_exactly
from vqjax.losses import L1
from vqjax.training.frozen import frozen_shapes, load_frozen
from vqjax.training.loop import train
from vqjax.training.mesh import make_mesh
from vqjax.training.record import load_record
from vqjax.training.state import create_state
from vqjax.types import Context, DataError, UsageError

TRUST = ("tests.training.weight_files_test",)
WEIGHT = 3.0


@dataclasses.dataclass(frozen=True)
class Weighed:
    """Mean of w |x - x_hat|, w out of a file; under LPIPS's name, which evaluations know."""

    file: WeightFile
    name: ClassVar[str] = "lpips"
    needs_logits: ClassVar[bool] = False
    sources: ClassVar[dict[str, str]] = {"file": "get it from the shelf"}

    def frozen_shapes(self):
        return {"w": jax.ShapeDtypeStruct((1,), jnp.float32)}

    def read_frozen(self):
        return read_exactly(self.file.path, {"w": (1,)})

    def distance(self, frozen, x, x_hat):
        return frozen["w"][0] * jnp.mean(jnp.abs(x - x_hat), axis=(1, 2, 3))

    def __call__(self, x, x_hat, logits, frozen):
        return jnp.mean(self.distance(frozen, x, x_hat))


def written(path, weight=WEIGHT):
    save_file({"w": np.asarray([weight], np.float32)}, path)
    return path


def plan(file, base=tiny.vqvae):
    task = base().task
    weights = {**task.loss_weights, "l1": 1.0, "lpips": 0.5}
    weights.pop("l2", None)
    losses = (L1(), Weighed(WeightFile(str(file))))
    task = dataclasses.replace(task, losses=losses, loss_weights=weights)
    return base(task=task, total_steps=2)


def go(experiment, run):
    train(experiment, run, devices=jax.devices()[:1], trust=TRUST)
    return load_record(run, TRUST).experiment.task.losses[1].file


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    file = written(folder / "w.safetensors")
    return folder / "run", file, go(plan(file), folder / "run")


def test_the_step_is_given_the_arrays(trained):
    run, file, pinned = trained
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in (x for x in lines if x["kind"] == "train"):
        assert line["lpips"] == pytest.approx(WEIGHT * line["l1"], rel=1e-5)
    assert pinned.path == str(file)
    assert pinned.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_another_file_in_its_place_is_refused(trained, tmp_path):
    run, _, pinned = trained
    other = written(tmp_path / "other.safetensors", 4.0)
    with pytest.raises(DataError, match="task.losses.1.file: .*other.* is not the file that was"):
        go(plan(other), run)
    sha256 = hashlib.sha256(other.read_bytes()).hexdigest()
    with pytest.raises(UsageError, match="task.losses.1.file.sha256: "):
        go(config.with_frozen(plan(other), "file", WeightFile(str(other), sha256)), run)
    same = written(tmp_path / "same.safetensors")
    moved = config.apply_frozen(plan("nowhere"), f"file={same}")
    assert go(moved, run) == pinned  # done already, and the same by its sha256


def test_a_file_that_is_not_there_makes_nothing(tmp_path):
    wanted = "task.losses.1.file: no file .*nowhere: get it from the shelf, or .*--frozen file=FILE"
    with pytest.raises(DataError, match=wanted):
        go(plan(tmp_path / "nowhere"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_shapes_need_no_file_and_both_players_get_the_arrays(tmp_path):
    """With an adversary the adaptive weight measures the term, too."""
    absent = plan(tmp_path / "nowhere", base=tiny.vqgan)
    inputs = absent.data.example_spec()
    shapes = frozen_shapes(absent, inputs)
    there = plan(written(tmp_path / "w.safetensors"), base=tiny.vqgan)
    arrays = load_frozen(there, make_mesh(jax.devices()[:1]))
    assert jax.tree.map(jnp.shape, arrays) == jax.tree.map(jnp.shape, shapes)
    state = jax.eval_shape(lambda: create_state(absent, inputs))
    everything = {*absent.task.terms, *absent.task.players}

    def output(active, frozen):
        image = jax.ShapeDtypeStruct((8, *inputs["image"].shape), jnp.uint8)
        context = Context(jax.random.key(0), 0, tuple(sorted(active)), train=True)
        of = lambda *arrays: absent.task(*arrays, context)  # noqa: E731
        return jax.eval_shape(of, state.params, state.collections, frozen, {"image": image})

    out = output(everything, shapes)
    assert set(out.losses) == set(absent.task.terms) and "generator" in out.multipliers
    # A term that does not count yet is not worked out.
    assert set(output(everything - {"lpips"}, {}).losses) == set(absent.task.terms) - {"lpips"}
