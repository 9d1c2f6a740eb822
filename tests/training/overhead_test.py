"""What the loop costs beside the bare step: logging, data, records, all of it."""

import dataclasses
import pathlib
import statistics
import time

import jax
import numpy as np
import pytest

from vqjax import config
from vqjax.data import Arrays
from vqjax.training.logbook import read_metrics
from vqjax.training.loop import train
from vqjax.training.mesh import make_mesh
from vqjax.training.restore import initial_state
from vqjax.training.sharding import put_batch
from vqjax.training.step import active_at, make_train_step

FILE = pathlib.Path(__file__).parents[2] / "experiments" / "mnist_vqgan.py"
STEPS = 60
ROUNDS = 3


def bare_seconds(experiment, devices) -> float:
    """Median seconds of the compiled step alone, on one batch."""
    mesh = make_mesh(devices)
    inputs = experiment.data.example_spec()
    state = initial_state(experiment, inputs, mesh)
    rows = np.arange(experiment.batch_size)
    batch = put_batch(next(experiment.data.train(experiment.batch_size, 0, 0, rows)), mesh)
    active = active_at(experiment, experiment.total_steps - 1)
    program = make_train_step(experiment).lower(state, {}, batch, active=active).compile()
    state, metrics = program(state, {}, batch)
    seconds = []
    for _ in range(STEPS // 10):
        jax.block_until_ready(metrics)
        started = time.perf_counter()
        for _ in range(10):
            state, metrics = program(state, {}, batch)
        jax.block_until_ready(metrics)
        seconds.append((time.perf_counter() - started) / 10)
    return statistics.median(seconds)


@pytest.mark.slow
@pytest.mark.timing
def test_the_loop_costs_at_most_five_percent(tmp_path, one_device):
    """Paired in one process on `mnist_vqgan.py`, both players active, MNIST-sized arrays."""
    images = np.random.default_rng(0).integers(0, 256, (60_000, 28, 28, 1), np.uint8)
    experiment = dataclasses.replace(
        config.load_file(FILE, {"total_steps": str(STEPS)}, []),
        data=Arrays({"image": images}, {"image": images[:64]}),
        save_every=10 * STEPS,
    )
    both = {
        player: dataclasses.replace(optimizer, start=0)
        for player, optimizer in experiment.optimizers.items()
    }
    experiment = dataclasses.replace(experiment, optimizers=both)
    ratios = []
    for round_ in range(ROUNDS):
        before = bare_seconds(experiment, one_device)
        train(experiment, tmp_path / str(round_), devices=one_device)
        rates = [
            line["examples_per_second"]
            for line in read_metrics(tmp_path / str(round_))
            if "examples_per_second" in line
        ]
        after = bare_seconds(experiment, one_device)
        looped = experiment.batch_size / statistics.median(rates)
        ratios.append(looped / statistics.mean([before, after]))
        print(f"bare {before:.4f} and {after:.4f} s, looped {looped:.4f} s: {ratios[-1]:.3f}")
    assert statistics.median(ratios) <= 1.05
