"""Frozen networks: which sealed step of which run, its shapes without files, its arrays."""

import dataclasses
import pathlib

import jax
from jax.sharding import Mesh

from vqjax import config
from vqjax.training import checkpoint
from vqjax.training.experiment import Experiment
from vqjax.training.record import RECORD
from vqjax.training.restore import open_run
from vqjax.training.state import create_state
from vqjax.types import ArraySpec, DataError, Tree


def pin(experiment: Experiment) -> Experiment:
    """Names, in every `FrozenRun`, the sealed step and the seal that this run builds on.

    What is pinned already must be there unchanged.

    Raises:
        DataError: no run (the line says what makes one), no sealed step, or another one.
    """
    for path, run in config.find_frozen(experiment).items():
        root = pathlib.Path(run.path)
        if not (root / RECORD).is_file():
            make = f": make it by `{run.command}`" if run.command else ""
            raise DataError(f"{path}: no run at {run.path}{make}, or say where it is by --frozen")
        steps = checkpoint.sealed_steps(root / "checkpoints")
        if not steps:
            raise DataError(f"{path}: {run.path} has no sealed step yet")
        step = steps[-1] if run.step is None else run.step
        if step not in steps:
            raise DataError(f"{path}: {run.path} has no sealed step {step} any more")
        seal = checkpoint.seal_of(root / "checkpoints", step)
        if run.seal not in (None, seal):
            raise DataError(f"{path}: step {step} of {run.path} is not the one recorded")
        pinned = dataclasses.replace(run, step=step, seal=seal)
        experiment = config.with_frozen(experiment, path, pinned)
    return experiment


def load_frozen(experiment: Experiment, mesh: Mesh, trust: tuple[str, ...] = ()) -> Tree:
    """{path of the FrozenRun: {"params": ..., "collections": ...}} of a pinned experiment."""
    tree = {}
    for path, run in config.find_frozen(experiment).items():
        opened = open_run(run.path, step=run.step, trust=trust, mesh=mesh)
        tree[path] = {"params": opened.params, "collections": opened.collections}
    return tree


def frozen_shapes(experiment: Experiment, inputs: dict[str, ArraySpec]) -> Tree:
    """The shapes of `load_frozen`, from the stand-in experiments alone; no file is read."""
    tree = {}
    for path, run in config.find_frozen(experiment).items():
        if run.experiment is None:
            raise DataError(f"{path}: no stand-in experiment to take shapes from")
        state = jax.eval_shape(lambda e=run.experiment: create_state(e, inputs))
        tree[path] = {
            "params": {**state.params, **state.ema},
            "collections": state.collections,
        }
    return tree
