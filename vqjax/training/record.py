"""RUN/experiment.json: what a run is, readable without the file that it came from."""

import copy
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vqjax import config
from vqjax._version import __version__
from vqjax.training.experiment import Experiment
from vqjax.types import ArraySpec, DataError, UsageError, VqjaxError

RECORD = "experiment.json"
# What the first start records of what is frozen under an experiment, by its class.
PINS = {"FrozenRun": ("step", "seal"), "WeightFile": ("sha256",)}


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
    """Writes the record whole or not at all, into a directory that is made where it is missing.

    Raises:
        UsageError: the directory cannot be made or written.
    """
    content = {
        "vqjax": record.version,
        "name": record.name,
        "command": list(record.command),
        "inputs": {k: dataclasses.asdict(v) for k, v in record.inputs.items()},
        "experiment": config.encode(record.experiment),
    }
    try:
        run.mkdir(parents=True, exist_ok=True)
        part = run / (RECORD + ".part")
        part.write_text(config.to_json(content), encoding="utf-8")
        os.replace(part, run / RECORD)
    except OSError as error:
        raise UsageError(f"cannot write to {run}: {error.strerror or error}") from error


def read_record(run: str | os.PathLike, trust: Sequence[str] = ()) -> Record:
    """Reads a record; a stranger's is safe to open (`vqjax.config`).

    Raises:
        DataError: no run there, or a record that cannot be read.
    """
    content = _read(pathlib.Path(run))
    path = pathlib.Path(run) / RECORD
    try:
        inputs = {
            str(k): ArraySpec(tuple(map(int, v["shape"])), str(v["dtype"]))
            for k, v in content["inputs"].items()
        }
        texts = str(content["name"]), tuple(map(str, content["command"])), str(content["vqjax"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    experiment = config.decode(content["experiment"], trust=trust)
    if not isinstance(experiment, Experiment):
        raise DataError(f"{path} holds {type(experiment).__name__}, not an Experiment")
    return Record(experiment, inputs, *texts)


def _read(run: pathlib.Path) -> dict[str, Any]:
    """The record as JSON values."""
    path = run / RECORD
    if not path.is_file():
        raise DataError(f"{run} is not a run: it has no {RECORD}")
    content = config.read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("experiment"), dict):
        raise DataError(f"{path} is not a record of a run")
    return content


def learned(experiment: Experiment, run: pathlib.Path, trust: Sequence[str] = ()) -> Experiment:
    """The experiment whose data has what it learns before the first step, such as a vocabulary:
    from the record in `run` where an earlier start learned it.

    Raises:
        DataError: the record or the data cannot be read.
    """
    if not hasattr(experiment.data, "learned"):
        return experiment
    there = (run / RECORD).exists()
    before = read_record(run, trust).experiment.data if there else None
    return dataclasses.replace(experiment, data=experiment.data.learned(before))


def check_writable(run: pathlib.Path) -> None:
    """Refuses, with UsageError, a run directory that cannot be made; makes nothing."""
    place = next(p for p in (run, *run.parents) if p.exists())
    if not place.is_dir():
        raise UsageError(f"cannot write to {run}: {place} is not a directory")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write to {run}: no permission to write in {place}")


def claim(
    run: pathlib.Path, record: Record, allow_change: bool, trust: Sequence[str] = ()
) -> tuple[Record, Any]:
    """Compares `record` with what lies in a run directory; writes nothing.

    Args:
        record: its frozen runs and files say what is in `PINS` only where the user does.
        allow_change: whether another experiment may take the run over.
        trust: modules and files whose classes may be built from the old record.

    Returns:
        `record` with the `PINS` that an earlier start recorded, and the old experiment, encoded:
        None where there is none.

    Raises:
        UsageError: another experiment lies there and `allow_change` is not set.
        DataError: what lies there cannot be read.
    """
    if not (run / RECORD).exists():
        return record, None
    old = _read(run)["experiment"]
    pins = dict(_recorded_pins(old, ""))
    experiment = _repinned(record.experiment, pins, allow_change)
    compared = copy.deepcopy(old)
    moved = _pinnable(experiment)
    for path, node in _recorded_pins(compared, ""):
        if path in moved and node[PINS[node["class"]][-1]] is not None:
            # Where a run lies and how it went on does not matter: its seal does. So with files.
            node["path"] = moved[path].path
            if isinstance(moved[path], config.FrozenRun) and "experiment" in node:
                node["experiment"] = config.encode(moved[path])["experiment"]
    compared["mesh"] = config.encode(experiment.mesh)  # a run goes on in any layout
    changes = config.difference(_with_defaults(compared, trust), config.encode(experiment))
    if changes and not allow_change:
        raise UsageError(
            f"{run} is a run of another experiment: {'; '.join(changes)}; "
            "give another --workdir, or --allow-change to go on with the new settings"
        )
    return dataclasses.replace(record, experiment=experiment), old


def _with_defaults(tree: Any, trust: Sequence[str]) -> Any:
    """An encoded experiment with the fields that its classes have got since; itself where classes
    cannot be built any more, as after an edit of the file that defines them.
    """
    try:
        return config.encode(config.decode(tree, trust))
    except VqjaxError:
        return tree


def _recorded_pins(tree: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The frozen runs and files of an encoded experiment, by their paths in it."""
    if isinstance(tree, list):
        children = {str(i): v for i, v in enumerate(tree)}
    elif isinstance(tree, dict) and tree.get("class") in PINS:
        if {"path", *PINS[tree["class"]]} <= tree.keys():
            yield path, tree
        return
    elif isinstance(tree, dict):
        children = tree["items"] if tree.get("class") == "mapping" else tree
    else:
        return
    for name, child in children.items() if isinstance(children, dict) else ():
        yield from _recorded_pins(child, f"{path}.{name}" if path else name)


def _repinned(
    experiment: Experiment, pins: Mapping[str, dict[str, Any]], allow_change: bool
) -> Experiment:
    for path, frozen in _pinnable(experiment).items():
        kind = type(frozen).__name__
        if path not in pins or pins[path]["class"] != kind:
            continue
        if any(getattr(frozen, name) is not None for name in PINS[kind]):
            continue
        if allow_change and frozen.path != pins[path]["path"]:
            continue  # another one on purpose
        recorded = {name: pins[path][name] for name in PINS[kind]}
        pinned = dataclasses.replace(frozen, **recorded)
        experiment = config.with_frozen(experiment, path, pinned)
    return experiment


def _pinnable(experiment: Experiment) -> dict[str, config.FrozenRun | config.WeightFile]:
    return {**config.find_frozen(experiment), **config.find_files(experiment)}
