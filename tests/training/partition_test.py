"""What is divided over a mesh, and that a divided run is the same run."""

import dataclasses

import jax
import numpy as np
import pytest

from tests import tiny
from vqjax.hardware.hlo import parse
from vqjax.nn.transformer import Transformer
from vqjax.priors import GPT, ClassLabel
from vqjax.quantizers import EMAVectorQuantizer
from vqjax.training.checkpoint import Checkpoints, restore
from vqjax.training.logbook import read_metrics
from vqjax.training.loop import train
from vqjax.training.mesh import MeshShape, make_mesh
from vqjax.training.partition import replicated_arrays, shardings, spec_of
from vqjax.training.programs import trace_programs
from vqjax.training.restore import initial_state, state_target
from vqjax.training.sharding import batch_sharding, local_rows, put_batch
from vqjax.training.step import active_at, make_train_step
from vqjax.types import UsageError

BLOCK = "prior/transformer/blocks/block"


def mesh(**sizes):
    return make_mesh(None, MeshShape(**sizes))


@pytest.mark.parametrize(
    ("path", "shape", "spec"),
    [
        ("params/tokenizer/encoder/conv/kernel", (3, 3, 64, 128), (None, None, "fsdp", None)),
        ("params/tokenizer/encoder/conv/kernel", (3, 3, 63, 127), (None,) * 4),
        ("params/tokenizer/encoder/conv/kernel", (3, 3, 63, 128), (None, None, None, "fsdp")),
        ("params/tokenizer/encoder/conv/bias", (128,), ()),  # small
        (f"p/{BLOCK}/mlp/up/kernel", (8, 64, 256), (None, "fsdp", "tensor")),
        (f"o/0/mu/{BLOCK}/mlp/down/kernel", (8, 256, 64), (None, "tensor", "fsdp")),
        (f"p/{BLOCK}/attention/query/kernel", (8, 64, 64), (None, "fsdp", "tensor")),
        (f"p/{BLOCK}/attention/out/kernel", (8, 64, 64), (None, "tensor", "fsdp")),
        ("params/prior/tokens/embedding", (1024, 64), ("fsdp", None)),
        ("params/tokenizer/quantizer/codes", (8192, 64), ("tensor", "fsdp")),
        ("optimizers/0/v_col/tokenizer/quantizer/codes", (8192,), ("fsdp",)),
    ],
)  # fmt: skip
def test_rules(path, shape, spec):
    assert tuple(spec_of(path, shape, mesh(fsdp=4, tensor=2))) == spec


def test_shapes_that_do_not_fit():
    with pytest.raises(UsageError, match="do not multiply to the 8 devices at hand"):
        mesh(data=3, fsdp=2)
    with pytest.raises(UsageError, match="slices=3 do not divide data=8"):
        mesh(slices=3)
    with pytest.raises(UsageError, match=r"mesh.fsdp=0: at least 1"):
        mesh(fsdp=0)


def wide_experiment():
    encoder = tiny.tokenizer(EMAVectorQuantizer(4096, 8), width=64)
    task = dataclasses.replace(tiny.vqvae().task, tokenizer=encoder)
    return tiny.vqvae(task=task, ema_decay=0.9)


def wide_prior(width=64):
    plan = tiny.token_prior()
    prior = GPT(width, 2, 4, condition=ClassLabel(3))
    return dataclasses.replace(plan, task=dataclasses.replace(plan.task, prior=prior))


@pytest.mark.parametrize(
    ("make", "sizes"),
    [
        pytest.param(lambda: wide_prior(256), (4, 8), id="prior"),
        pytest.param(wide_experiment, (1, 2, 4, 8), id="tokenizer", marks=pytest.mark.slow),
    ],
)
def test_every_doubling_of_fsdp_halves_what_a_device_holds(make, sizes):
    """From the compiled program: arguments per device, of which the batch is next to nothing. What
    is too small to be divided stays whole and is listed.
    """
    held = {}
    experiment = make()
    inputs = experiment.data.example_spec()
    for fsdp in sizes:
        where = mesh(fsdp=fsdp)
        (traced,) = trace_programs(experiment, inputs, {}, where).values()
        memory = traced.lower().compile().memory_analysis()
        whole = replicated_arrays(state_target(experiment, inputs, where), where)
        assert fsdp == 1 or all(np.prod(shape) < 4096 for shape in whole.values())
        held[fsdp] = memory.argument_size_in_bytes
        assert memory.alias_size_in_bytes > 0.98 * held[fsdp]  # the state is donated, all of it
    for fsdp in sizes[1:]:
        assert held[fsdp] == pytest.approx(held[fsdp // 2] / 2, rel=0.05)


@pytest.mark.parametrize(
    ("make", "sizes"),
    [
        pytest.param(wide_prior, {"fsdp": 2, "tensor": 2}, id="prior"),
        pytest.param(wide_experiment, {"fsdp": 8}, id="tokenizer", marks=pytest.mark.slow),
        pytest.param(wide_experiment, {"tensor": 4}, id="codebook", marks=pytest.mark.slow),
    ],
)
def test_divided_steps_are_the_same_steps(make, sizes):
    experiment, totals = make(), []
    for where in (mesh(), mesh(**sizes)):
        state = initial_state(experiment, experiment.data.example_spec(), where)
        rows = local_rows(experiment.batch_size, where)
        batches = experiment.data.train(experiment.batch_size, 0, 0, rows)
        step, active = make_train_step(experiment, where), active_at(experiment, 0)
        totals.append([])
        with jax.set_mesh(where):
            for _ in range(3):
                state, metrics = step(state, {}, put_batch(next(batches), where), active=active)
                totals[-1].append(float(metrics["total"]))
    np.testing.assert_allclose(*totals, rtol=1e-5)


@pytest.mark.slow
def test_a_run_goes_on_in_another_layout(tmp_path):
    whole, moved = tmp_path / "whole", tmp_path / "moved"
    experiment = tiny.vqvae(total_steps=4)
    train(experiment, whole)
    train(dataclasses.replace(experiment, total_steps=2), moved)
    layout = dataclasses.replace(experiment, mesh=MeshShape(fsdp=2, tensor=2))
    train(layout, moved, allow_change=True)  # of total_steps; of the mesh it needs none
    a, b = (
        [line for line in read_metrics(run) if line["kind"] == "train"] for run in (whole, moved)
    )
    assert a[:2] == b[:2] and len(a) == len(b) == 4
    for one, other in zip(a[2:], b[2:], strict=True):
        assert one["total"] == pytest.approx(other["total"], rel=1e-4)


def test_what_eight_devices_saved_any_number_restores(tmp_path):
    experiment = wide_experiment()
    inputs = experiment.data.example_spec()
    state = initial_state(experiment, inputs, mesh(fsdp=4, tensor=2))
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(3, state)
    wanted = jax.tree.leaves(jax.device_get(state.replace(rng=jax.random.key_data(state.rng))))
    for devices, shape in (
        (8, MeshShape()),
        (4, MeshShape(fsdp=4)),
        (2, MeshShape(tensor=2)),
        (1, None),
    ):
        where = make_mesh(jax.devices()[:devices], shape)
        found = restore(tmp_path, state_target(experiment, inputs, where)).state
        found = found.replace(rng=jax.random.key_data(found.rng))
        for a, b in zip(jax.tree.leaves(found), wanted, strict=True):
            assert a.sharding.mesh.size == devices
            np.testing.assert_array_equal(a, b)


def test_fsdp_gathers_parameters_and_no_activations():
    """Of a transformer's gradient. Left to itself the partitioner cuts activations by channels and
    gathers them in every layer: four times as large as all that moves here.
    """
    where = mesh(fsdp=8)
    network = Transformer(layers=3, heads=4)
    x = jax.ShapeDtypeStruct((64, 16, 64), np.float32, sharding=batch_sharding(where))
    angles = np.zeros((16, 8), np.float32)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), np.zeros(x.shape), angles))
    params = jax.tree.map(
        lambda s, to: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=to),
        shapes,
        shardings(shapes, where),
    )

    def gradient(p, x):
        grads = jax.grad(lambda p: (network.apply(p, x, angles) ** 2).mean())(p)
        return jax.lax.with_sharding_constraint(grads, shardings(grads, where))

    with jax.set_mesh(where):
        program = parse(jax.jit(gradient).lower(params, x).compile().as_text())
    assert program.unknown_loops == 0
    moved = [one for one in program.collectives() if one.times > 1]  # in the layers
    largest = max(np.prod(s.shape[1:]) * 4 for s in jax.tree.leaves(shapes))
    gathers = [one for one in moved if one.kind == "all-gather"]
    assert gathers and max(one.bytes for one in gathers) <= largest
    assert {one.kind for one in moved} <= {"all-gather", "all-reduce", "reduce-scatter"}
    assert {one.times for one in moved} == {3}
