"""RUN/experiment.json: what a run is, readable without the file that it came from."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from vqjax import config
from vqjax._version import __version__
from vqjax.training.experiment import Experiment
from vqjax.types import ArraySpec, DataError, UsageError

RECORD = "experiment.json"


@dataclasses.dataclass(frozen=True)
class Record:
    """One run's record.

    Attributes:
        experiment: the resolved tree.
        inputs: `ArraySpec` of one example, so that the run opens without its data.
        name: the experiment file's stem.
        command: what started the run.
        version: of vqjax.
    """

    experiment: Experiment
    inputs: dict[str, ArraySpec]
    name: str
    command: tuple[str, ...] = ()
    version: str = __version__


def write_record(run: pathlib.Path, record: Record) -> None:
    """Writes the record whole or not at all."""
    content = {
        "vqjax": record.version,
        "name": record.name,
        "command": list(record.command),
        "inputs": {k: dataclasses.asdict(v) for k, v in record.inputs.items()},
        "experiment": config.encode(record.experiment),
    }
    part = run / (RECORD + ".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(part, run / RECORD)


def read_record(run: str | os.PathLike, trust: Sequence[str] = ()) -> Record:
    """Reads a record; a stranger's is safe to open (`vqjax.config`).

    Raises:
        DataError: no run there, or a record that cannot be read.
    """
    path = pathlib.Path(run) / RECORD
    if not path.is_file():
        raise DataError(f"{run} is not a run: it has no {RECORD}")
    try:
        content = json.loads(path.read_text())
        tree = content["experiment"]
        inputs = {
            str(k): ArraySpec(tuple(map(int, v["shape"])), str(v["dtype"]))
            for k, v in content["inputs"].items()
        }
        texts = str(content["name"]), tuple(map(str, content["command"])), str(content["vqjax"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    experiment = config.decode(tree, trust=trust)
    if not isinstance(experiment, Experiment):
        raise DataError(f"{path} holds {type(experiment).__name__}, not an Experiment")
    return Record(experiment, inputs, *texts)


def claim(run: pathlib.Path, record: Record, allow_change: bool, trust: Sequence[str]) -> Record:
    """Makes a run directory for `record`, or finds the same experiment in it.

    Returns:
        The record that counts: an earlier start's, or `record`.

    Raises:
        UsageError: another experiment lies there and `allow_change` is not set, or the directory
            cannot be made or written.
    """
    if (run / RECORD).exists():
        old = read_record(run, trust)
        changes = config.difference(unpinned(old.experiment), unpinned(record.experiment))
        if changes and not allow_change:
            raise UsageError(
                f"{run} is a run of another experiment: {'; '.join(changes)}; "
                "give another --workdir, or --allow-change to go on with the new settings"
            )
        record = dataclasses.replace(record, experiment=repinned(record.experiment, old.experiment))
        if not changes:
            return record
    try:
        run.mkdir(parents=True, exist_ok=True)
        write_record(run, record)
    except OSError as error:
        raise UsageError(f"cannot write to {run}: {error.strerror or error}") from error
    return record


def unpinned(experiment: Experiment) -> Any:
    """Without what the first start recorded of frozen runs: their step and seal."""
    for path, run in config.find_frozen(experiment).items():
        free = dataclasses.replace(run, step=None, seal=None)
        experiment = config.with_frozen(experiment, path, free)
    return experiment


def repinned(experiment: Experiment, old: Experiment) -> Experiment:
    """With the steps and seals of frozen runs that an earlier start recorded."""
    pinned = config.find_frozen(old)
    for path, run in config.find_frozen(experiment).items():
        if path in pinned and run.step is None:
            step, seal = pinned[path].step, pinned[path].seal
            run = dataclasses.replace(run, step=step, seal=seal)
            experiment = config.with_frozen(experiment, path, run)
    return experiment
