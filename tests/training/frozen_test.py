"""A run that builds on another: which step of it, by its seal, from the first start on."""

import dataclasses
import shutil
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from tests import tiny
from vqjax import config
from vqjax.config import FrozenRun, WeightFile
from vqjax.data import TFDS
from vqjax.training.checkpoint import Checkpoints
from vqjax.training.experiment import Experiment
from vqjax.training.frozen import frozen_shapes, load_frozen, pin, resolve_for_shapes, shape_notes
from vqjax.training.loop import train
from vqjax.training.mesh import make_mesh
from vqjax.training.optim import SGD
from vqjax.training.record import ExperimentRecord, load_record, write_record
from vqjax.training.seal import seal_of
from vqjax.training.state import create_state
from vqjax.types import ArraySpec, DataError, TaskOutput, UsageError

TRUST = ("tests.training.frozen_test",)
INPUTS = tiny.arrays().example_spec()


@dataclasses.dataclass(frozen=True)
class Offset:
    """Learns one number: by how much pictures differ from a frozen run's first parameter."""

    base: FrozenRun
    players = ("offset",)
    weights = {"distance": 1.0}
    terms = {"distance": "offset"}
    averaged = ()

    def alarm(self, numbers):
        return None

    def check(self, inputs):
        assert "image" in inputs

    def init(self, rng, batch):
        return {"offset": {"b": jnp.zeros(())}}, {"offset": {}}

    def start(self, params, collections, frozen, batches, rng):
        return params, collections

    def __call__(self, params, collections, frozen, batch, context):
        b = params["offset"]["b"]
        base = jax.tree.leaves(frozen["task.base"]["params"])[0].ravel()[0]
        distance = (batch["image"].astype(jnp.float32).mean() / 255 - base - b) ** 2
        return TaskOutput(losses={"distance": distance}, metrics={"base": base})

    def update(self, params, collections, statistics, rng, step):
        return params, collections


def above(base, steps=2, **settings):
    return Experiment(
        task=Offset(FrozenRun(str(base), command="vqjax train base.py", **settings)),
        data=tiny.arrays(),
        optimizers={"offset": SGD(0.1)},
        batch_size=8,
        total_steps=steps,
        log_every=1,
    )


def save_step(run, step):
    """A sealed step whose arrays are all `step`."""
    experiment = tiny.vqvae()
    device = SingleDeviceSharding(jax.devices()[0])
    shapes = jax.eval_shape(lambda: create_state(experiment, INPUTS))

    def filled(s):
        full = jnp.zeros(s.shape, s.dtype) if jnp.issubdtype(s.dtype, jax.dtypes.prng_key) else None
        return jax.device_put(jnp.full(s.shape, step, s.dtype) if full is None else full, device)

    state = jax.tree.map(filled, shapes.replace(rng=None)).replace(rng=jax.random.key(0))
    with Checkpoints(run / "checkpoints", keep=3) as checkpoints:
        checkpoints.save(step, state)


@pytest.fixture
def base(tmp_path):
    run = tmp_path / "base"
    write_record(run, ExperimentRecord(tiny.vqvae(), INPUTS, "base"))
    save_step(run, 4)
    return run


def go(experiment, run, **settings):
    train(experiment, run, devices=jax.devices()[:1], trust=TRUST, **settings)
    return load_record(run, TRUST).experiment.task.base


@dataclasses.dataclass(frozen=True)
class Lens:
    """Needs a file."""

    file: WeightFile
    sources: ClassVar[dict[str, str]] = {"file": "grind one"}

    def read_frozen(self):
        return None


def test_a_run_that_is_there_is_not_replaced_because_another_is_missing(base):
    """Nor because a file is; where --frozen says that something is, it has to be."""
    stand_in = tiny.vqvae(total_steps=99)
    there, gone = (FrozenRun(str(base.parent / n), experiment=stand_in) for n in ("base", "gone"))
    tree = {"a": there, "b": gone, "lens": Lens(WeightFile("no.pt"))}
    told = []
    found = resolve_for_shapes(tree, trust=TRUST, say=told.append)
    steps = {name: found[name].experiment.total_steps for name in "ab"}
    assert steps == {"a": tiny.vqvae().total_steps, "b": 99}
    assert told == [f"b: no run at {gone.path}: its stand-in takes its place"]
    with pytest.raises(DataError, match="b: no run at"):
        resolve_for_shapes(tree, [f"b={gone.path}"], TRUST)
    with pytest.raises(DataError, match="lens.file: no file no.pt: grind one"):
        resolve_for_shapes(tree, ["file=no.pt"], TRUST)


def test_the_first_start_pins_and_later_ones_stay_with_it(base, tmp_path):
    run = tmp_path / "run"
    seal = seal_of(base / "checkpoints", 4)
    first = go(above(base), run)
    assert (first.step, first.seal) == (4, seal)
    save_step(base, 6)  # the base was trained on: no business of ours
    again = go(above(base, steps=4), run, allow_change=True)
    assert (again.step, again.seal) == (4, seal)
    text = (run / "metrics.jsonl").read_text()
    assert text.count('"base": 4.0') == 4 and '"base": 6.0' not in text
    assert go(above(base), tmp_path / "new").step == 6


def test_a_moved_run_is_found_by_its_seal(base, tmp_path):
    run, moved = tmp_path / "run", tmp_path / "moved"
    go(above(base), run)
    base.rename(moved)
    with pytest.raises(DataError, match="no run at .*: make it by `vqjax train base.py`, or say"):
        go(above(base, steps=2), run)
    for settings in ({}, {"allow_change": True}):
        there = config.apply_frozen(above(base), f"base={moved}")
        assert go(there, run, **settings).step == 4


def test_another_run_in_its_place_is_refused(base, tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    go(above(base), run)
    shutil.copytree(base, other)
    shutil.rmtree(other / "checkpoints")
    save_step(other, 5)
    with pytest.raises(DataError, match="task.base: .*other has no sealed step 4 any more"):
        go(above(other), run)
    (other / "checkpoints" / "5").rename(other / "checkpoints" / "4")
    with pytest.raises(DataError, match="step 4 of .*other is not the one recorded"):
        go(above(other), run)
    with pytest.raises(UsageError, match="task.base.step: 4 -> 5"):
        go(above(base, step=5), run)


def test_a_run_that_is_not_there_makes_nothing(tmp_path):
    with pytest.raises(DataError, match="task.base: no run at .*make it by `vqjax train base.py`"):
        go(above(tmp_path / "nowhere"), tmp_path / "run")
    (tmp_path / "empty").mkdir()
    write_record(tmp_path / "empty", ExperimentRecord(tiny.vqvae(), INPUTS, "empty"))
    with pytest.raises(DataError, match="task.base: .*empty has no sealed step yet"):
        go(above(tmp_path / "empty"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_damaged_base_is_an_error(base, tmp_path):
    path = max(base.rglob("d/*"), key=lambda p: p.stat().st_size)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="checkpoint 4 is damaged"):
        go(above(base), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_shapes_need_no_files(base):
    stand_in = above("/nowhere", experiment=tiny.vqvae())
    shapes = frozen_shapes(stand_in, INPUTS)
    arrays = load_frozen(pin(above(base)), make_mesh(jax.devices()[:1]))
    assert jax.tree.structure(shapes) == jax.tree.structure(arrays)
    for shape, array in zip(*map(jax.tree.leaves, (shapes, arrays)), strict=True):
        assert (shape.shape, shape.dtype) == (array.shape, array.dtype)
        assert np.all(np.asarray(array) == 4)
    with pytest.raises(DataError, match="task.base: no stand-in experiment"):
        frozen_shapes(above("/nowhere"), INPUTS)


def test_arrays_of_another_size_than_the_network_below_learned_from_are_said(base):
    wide = tiny.arrays(shape=(8, 16, 1)).example_spec()
    plan = above(base)
    assert shape_notes(plan, INPUTS, TRUST) == ()
    assert shape_notes(plan, wide, TRUST) == (
        "note: task.base was trained on 'image' of [8, 8, 1], this run has [8, 16, 1]",
    )
    record = load_record(base, TRUST)
    inputs = {**record.inputs, "caption": ArraySpec((9,), "int32")}
    write_record(base, dataclasses.replace(record, inputs=inputs))
    other = {**INPUTS, "caption": ArraySpec((5,), "int32")}
    assert shape_notes(plan, other, TRUST) == ()  # its network reads no captions


def test_shapes_come_from_a_runs_own_inputs():
    plan = tiny.token_prior()  # over tokens: there is no image
    inputs = plan.data.example_spec()
    shapes = frozen_shapes(plan, inputs)["task.tokenizer"]["params"]
    assert shapes["tokenizer"]["encoder"]["conv_out"]["kernel"].shape[-1] == 8
    known = dataclasses.replace(
        plan.task.tokenizer, inputs={"image": ArraySpec((16, 16, 1), "uint8")}
    )
    plan = dataclasses.replace(plan, task=dataclasses.replace(plan.task, tokenizer=known))
    again = config.decode(config.from_json(config.to_json(config.encode(plan.task))))
    assert again.tokenizer.inputs == known.inputs
    assert frozen_shapes(plan, inputs).keys() == {"task.tokenizer"}
    gone = dataclasses.replace(known, inputs=None, experiment=tiny.vqvae(data=TFDS("nowhere")))
    plan = dataclasses.replace(plan, task=dataclasses.replace(plan.task, tokenizer=gone))
    with pytest.raises(DataError, match="no run at nowhere, and its data is missing"):
        frozen_shapes(plan, inputs)
