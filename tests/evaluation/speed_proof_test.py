"""What measuring costs, and whether the parts make up the step: in seconds, so it runs alone."""

import pathlib
import statistics
import time

import jax
import numpy as np
import pytest

from vqjax import config
from vqjax.evaluation.rig import Rig, compile_steps
from vqjax.evaluation.shares import measure_shares
from vqjax.training.mesh import make_mesh
from vqjax.training.restore import initial_state
from vqjax.types import ArraySpec

FILE = pathlib.Path(__file__).parents[2] / "experiments" / "mnist_vqgan.py"
INPUTS = {"image": ArraySpec((28, 28, 1), "uint8"), "label": ArraySpec((), "int32")}
SECONDS, ROUNDS = 5.0, 3


@pytest.fixture(scope="module")
def measured():
    """The rig and the compiled step of `mnist_vqgan.py`, both players active, on one device."""
    experiment, mesh = config.load_file(str(FILE), {}, []), make_mesh(jax.devices()[:1])
    compiled = compile_steps(experiment, INPUTS, {}, mesh)
    state = initial_state(experiment, INPUTS, mesh)
    return Rig(experiment, INPUTS, mesh, {}, state), compiled


def bare_seconds(here, compiled) -> float:
    """Per step of the compiled program alone, on one batch that is there already."""
    (program,) = compiled.programs.values()
    batch, groups = here.batch(here.experiment.batch_size), []
    end = time.perf_counter() + SECONDS
    while len(groups) < 3 or time.perf_counter() < end:
        started = time.perf_counter()
        for _ in range(5):
            here.state, metrics = program(here.state, {}, batch)
        jax.block_until_ready(metrics)
        groups.append((time.perf_counter() - started) / 5)
    return statistics.median(groups)


@pytest.mark.slow
@pytest.mark.timing
def test_measuring_costs_at_most_two_percent(measured):
    here, compiled = measured
    ratios = []
    for _ in range(ROUNDS):
        before = bare_seconds(here, compiled)
        batches = here.batches(here.experiment.batch_size)
        steps = here.time_steps(compiled, batches, SECONDS)
        after = bare_seconds(here, compiled)
        ratios.append(float(np.median(steps)) / statistics.mean([before, after]))
        print(f"bare {before:.4f} and {after:.4f} s, measured {np.median(steps):.4f} s")
    print("measured / bare:", *(f"{ratio:.3f}" for ratio in ratios))
    assert statistics.median(ratios) <= 1.02


@pytest.mark.slow
@pytest.mark.timing
def test_the_parts_add_up_to_the_step_within_ten_percent(measured):
    here, compiled = measured
    batch, active = here.batch(here.experiment.batch_size), compiled.fullest
    program = compiled.programs[active]
    here.state, shares = measure_shares(
        here.experiment, here.state, {}, batch, program, active, here.mesh, 4 * SECONDS
    )
    print({name: f"{share:.1%}" for name, share in shares.items()}, sum(shares.values()))
    assert sum(shares.values()) == pytest.approx(1.0, abs=0.1)
