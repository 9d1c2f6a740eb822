"""Frozen networks: their sealed steps or files of weights, shapes without files, and arrays."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jax.sharding import Mesh

from vqjax import config
from vqjax.hub import run_path
from vqjax.paths import as_path
from vqjax.training import packed, seal
from vqjax.training.experiment import Experiment
from vqjax.training.record import RECORD, load_record
from vqjax.training.restore import open_run
from vqjax.training.sharding import replicate
from vqjax.training.state import state_shapes
from vqjax.types import ArraySpec, DataError, Tree


def resolve_frozen(experiment: Experiment, trust: tuple[str, ...] = ()) -> Experiment:
    """Puts into every `FrozenRun` the experiment of its run, in place of any stand-in, and the
    specs of its examples; makes its path absolute, and those of files of weights.

    Raises:
        DataError: no run or file there; the line says what makes one.
        UsageError: it names classes that are not trusted.
    """
    for path, run in config.find_frozen(experiment).items():
        experiment = _with_record(experiment, path, run, trust)
    for path, owner in config.find_owners(experiment).items():
        for name in owner.sources:
            file = _weight_file(path, owner, name)
            absolute = dataclasses.replace(getattr(owner, name), path=str(file))
            experiment = config.with_frozen(experiment, f"{path}.{name}", absolute)
    return experiment


def resolve_for_shapes(
    experiment: Experiment,
    frozen: Sequence[str] = (),
    trust: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda line: None,
) -> Experiment:
    """`resolve_frozen` where only shapes are needed: a missing run keeps its stand-in, and files
    may be missing.

    Args:
        frozen: `--frozen NAME=PATH`; these runs and files must exist.
        say: called with a line on every stand-in.

    Raises:
        DataError: a run or file of `frozen` is missing, or a run without a stand-in.
        UsageError: a run names classes that are not trusted.
    """
    required = {config.frozen_path(experiment, item.partition("=")[0]) for item in frozen}
    for path, owner in config.find_owners(experiment).items():
        for name in owner.sources:
            if f"{path}.{name}" in required:
                _weight_file(path, owner, name)
    for path, run in config.find_frozen(experiment).items():
        if run.experiment is None or path in required or (_root(path, run) / RECORD).exists():
            experiment = _with_record(experiment, path, run, trust)
        else:
            say(f"{path}: no run at {run.path}: its stand-in takes its place")
    return experiment


def _with_record(
    experiment: Experiment, path: str, run: config.FrozenRun, trust: tuple[str, ...]
) -> Experiment:
    root = _run_directory(path, run)
    record = load_record(root, trust)
    fields = {"path": str(root), "experiment": record.experiment, "inputs": record.inputs}
    return config.with_frozen(experiment, path, dataclasses.replace(run, **fields))


def _weight_file(path: str, owner: Any, name: str) -> pathlib.Path:
    """The file in field `name` of the owner at `path`."""
    file = getattr(owner, name).path
    absolute = as_path(file, f"{path}.{name}").absolute()
    if not absolute.is_file():
        raise DataError(
            f"{path}.{name}: no file {file}: {owner.sources[name]}, or say where it is by "
            f"--frozen {name}=FILE"
        )
    return absolute


def _root(path: str, run: config.FrozenRun) -> pathlib.Path:
    return run_path(run.path, path).absolute()  # the working directory may change


def _run_directory(path: str, run: config.FrozenRun) -> pathlib.Path:
    root = _root(path, run)
    if not (root / RECORD).exists():
        make = f": make it by `{run.command}`" if run.command else ""
        name = path.split(".")[-1]
        raise DataError(
            f"{path}: no run at {run.path}{make}, or say where it is by --frozen {name}=PATH"
        )
    return root


def pin(experiment: Experiment) -> Experiment:
    """Records, in every `FrozenRun`, the sealed step and the seal that this run builds on, and the
    sha256 of every file of weights.

    What is already pinned must exist unchanged.

    Raises:
        DataError: no run or file (the line says what makes one), no sealed step, or another one.
    """
    for path, run in config.find_frozen(experiment).items():
        root = _run_directory(path, run)
        steps = packed.sealed_steps(root)
        if not steps:
            raise DataError(f"{path}: {run.path} has no sealed step yet")
        step = steps[-1] if run.step is None else run.step
        if step not in steps:
            raise DataError(f"{path}: {run.path} has no sealed step {step} any more")
        digest = packed.seal_of(root, step)
        if run.seal not in (None, digest):
            raise DataError(f"{path}: step {step} of {run.path} is not the one recorded")
        pinned = dataclasses.replace(run, step=step, seal=digest)
        experiment = config.with_frozen(experiment, path, pinned)
    for path, owner in config.find_owners(experiment).items():
        for name in owner.sources:
            _weight_file(path, owner, name)
            pinned = _pinned(f"{path}.{name}", getattr(owner, name))
            experiment = config.with_frozen(experiment, f"{path}.{name}", pinned)
    pins = {run.seal for run in config.find_frozen(experiment).values()}
    for digest in getattr(experiment.data, "seals", ()):  # of the steps that made tokens
        if digest not in pins:
            raise DataError(f"data: {experiment.data} was made by another step or run than is used")
    return experiment


def _pinned(path: str, file: config.WeightFile) -> config.WeightFile:
    try:
        sha256 = seal.sha256(as_path(file.path, path))
    except OSError as error:
        raise DataError(f"{path}: {file.path} cannot be read: {error.strerror}") from error
    if file.sha256 not in (None, sha256):
        raise DataError(
            f"{path}: {file.path} is not the file that was recorded: its sha256 is "
            f"{sha256[:12]}..., recorded is {file.sha256[:12]}..."
        )
    return dataclasses.replace(file, sha256=sha256)


def load_frozen(experiment: Experiment, mesh: Mesh, trust: tuple[str, ...] = ()) -> Tree:
    """The arrays that a pinned experiment builds on: {path of the FrozenRun: {"params": ...,
    "collections": ...}}, and by the path of each owner of files its arrays, on all devices.

    Raises:
        DataError: a run, its step with the recorded seal, or a file is missing.
    """
    experiment = pin(experiment)
    tree = {}
    for path, run in config.find_frozen(experiment).items():
        opened = open_run(run.path, step=run.step, trust=trust, mesh=mesh)
        tree[path] = {"params": opened.params, "collections": opened.collections}
    for path, owner in config.find_owners(experiment).items():
        tree[path] = replicate(owner.read_frozen(), mesh)
    return tree


def shape_notes(
    experiment: Experiment, inputs: dict[str, ArraySpec], trust: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """A line for each frozen run whose network learned from an array of another shape than the one
    of this name in `inputs`: allowed, but seldom intended.
    """
    lines = []
    for path, run in config.find_frozen(experiment).items():
        record = load_record(_root(path, run), trust)
        name = getattr(record.experiment.task, "inputs", None)
        if name in record.inputs and name in inputs:
            was, now = (list(specs[name].shape) for specs in (record.inputs, inputs))
            if was != now:
                lines.append(f"note: {path} was trained on {name!r} of {was}, this run has {now}")
    return tuple(lines)


def frozen_shapes(experiment: Experiment, inputs: dict[str, ArraySpec]) -> Tree:
    """The shapes of `load_frozen`, from the experiments alone: no checkpoint is read.

    Args:
        inputs: of the experiment, also used for a run that does not exist yet.
    """
    tree = {}
    for path, run in config.find_frozen(experiment).items():
        if run.experiment is None:
            raise DataError(f"{path}: no stand-in experiment to take shapes from")
        state = state_shapes(run.experiment, _inputs_of(path, run, inputs))
        tree[path] = {"params": {**state.params, **state.ema}, "collections": state.collections}
    for path, owner in config.find_owners(experiment).items():
        tree[path] = owner.frozen_shapes()
    return tree


def _inputs_of(
    path: str, run: config.FrozenRun, outer: Mapping[str, ArraySpec]
) -> dict[str, ArraySpec]:
    """The specs of a frozen run's examples: as recorded, or those of the experiment around it."""
    if run.inputs is not None:
        return dict(run.inputs)
    name = getattr(run.experiment.task, "inputs", None)
    if name is None or name in outer:
        return dict(outer)
    try:
        return run.experiment.data.example_spec()
    except DataError as error:
        raise DataError(
            f"{path}: no run at {run.path}, and its data is missing, which would define its "
            f"{name!r}: {error}"
        ) from error
