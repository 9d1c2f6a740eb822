"""Whether a run directory belongs to the same experiment, to another one, or to none yet."""

import contextlib
import copy
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vqjax import config
from vqjax.paths import is_text
from vqjax.training import seal
from vqjax.training.experiment import Experiment
from vqjax.training.frozen import pin
from vqjax.training.logbook import read_metrics
from vqjax.training.record import (
    BY_HAND,
    PINS,
    RECORD,
    ExperimentRecord,
    Replaced,
    new_id,
    owner_of,
    parse_record,
    read_content,
    replaced_in,
)
from vqjax.training.seal import Owner
from vqjax.types import ArraySpec, DataError, UsageError, VqjaxError, fit_method

GLOB = "*?[]\\"  # Orbax reads its own path as a pattern
UNKNOWN = "settings that nobody recorded"


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a training may do with a run directory.

    Attributes:
        record: of the run from now on.
        writes: whether the record has to be written.
        fresh: no step in the directory belongs to this run.
        lines: for the user.
    """

    record: ExperimentRecord
    writes: bool
    fresh: bool
    lines: tuple[str, ...] = ()

    @property
    def owner(self) -> Owner:
        """The run from whose steps the training may resume."""
        return owner_of(self.record)


def fitted(experiment: Experiment, run: pathlib.Path, trust: Sequence[str] = ()) -> Experiment:
    """The experiment with its data fitted before the first step, such as a vocabulary: from the
    record in `run` where an earlier start fitted it and finished a step.

    Raises:
        DataError: the data cannot be read.
    """
    fit = fit_method(experiment.data)
    if fit is None:
        return experiment
    before = None
    if seal.file_type(run / RECORD) != 0 and is_begun(run):
        with contextlib.suppress(VqjaxError):  # a class that was edited since: `claim` reports it
            before = config.decode(read_content(run)["experiment"].get("data"), trust)
    return dataclasses.replace(experiment, data=fit(before))


def check_writable(run: pathlib.Path) -> None:
    """Refuses, with UsageError, a run directory that cannot be made or used; makes nothing."""
    if not is_text(run):
        raise UsageError(f"cannot keep checkpoints in {run}: it is not UTF-8: another --workdir")
    bad = sorted(set(GLOB) & set(str(run)))
    if bad:
        raise UsageError(
            f"cannot keep checkpoints in {run}: a run's path must not have {' '.join(bad)} in it, "
            "give another --workdir"
        )
    parent = next(p for p in (run, *run.parents) if p.exists())
    if not parent.is_dir():
        raise UsageError(f"cannot write to {run}: {parent} is not a directory")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write to {run}: no permission to write in {parent}")


def claim(
    run: pathlib.Path, record: ExperimentRecord, allow_change: bool, trust: Sequence[str] = ()
) -> Claim:
    """Compares `record` with the content of a run directory; writes nothing.

    `record` replaces that of another experiment which never finished a step, as after a first
    command that failed.

    Args:
        record: its frozen runs and files have the fields in `PINS` only where the user set them.
        allow_change: whether the run may go on with another experiment.
        trust: modules and files whose classes may be built from the old record.

    Returns:
        `record` with the run's id, all `PINS`, and what it replaces.

    Raises:
        UsageError: the directory is another experiment's and `allow_change` is not set.
        DataError: its content cannot be read, or has steps without a record that explains them; as
            `pin`.
    """
    if seal.file_type(run / RECORD) == 0:
        return _without_record(run, _pinned(record), allow_change)
    content = read_content(run)
    old = content["experiment"]
    pins = dict(_recorded_pins(old, ""))
    experiment = _repinned(record.experiment, pins, allow_change)
    compared = _with_defaults(_comparable(old, experiment), trust)
    changes = config.difference(compared, config.encode(experiment))
    changes += _changed_inputs(content.get("inputs"), record.inputs)
    edited = _is_edited(content, run / RECORD, trust)
    if (changes or edited) and not is_begun(run):
        line = f"{run / RECORD} was of another experiment that never finished a step: replaced"
        return Claim(dataclasses.replace(_pinned(record), id=new_id()), True, True, (line,))
    if changes and not allow_change and not edited:
        raise UsageError(
            f"{run} is a run of another experiment: {'; '.join(changes)}; "
            "give another --workdir, or --allow-change to go on with the new settings"
        )
    record = _pinned(dataclasses.replace(record, experiment=experiment))
    digest, lines = content.get("digest"), ()
    if edited and digest == record.digest:
        lines = (f"{run / RECORD} was changed by hand: written anew, as it was",)
    elif edited and not allow_change:
        raise DataError(f"{run / RECORD} {BY_HAND}, or --allow-change to go on all the same")
    replaced = replaced_in(content)
    if digest not in (None, record.digest):
        replaced += (Replaced(digest, (UNKNOWN,) if edited else tuple(changes)),)
    record = dataclasses.replace(record, id=content.get("id") or new_id(), replaced=replaced)
    on_disk = content.get("id"), digest, old
    writes = on_disk != (record.id, record.digest, config.encode(record.experiment))
    return Claim(record, writes, False, lines)


def _is_edited(content: Mapping[str, Any], path: pathlib.Path, trust: Sequence[str]) -> bool:
    """Whether a record differs from what vqjax wrote; False where that is not known, as where its
    classes cannot be built any more.
    """
    try:
        return content.get("digest") not in (None, parse_record(content, path, trust).digest)
    except VqjaxError:
        return False


def _changed_inputs(old: Any, new: Mapping[str, ArraySpec]) -> list[str]:
    """How the arrays of one example differ from those in a record."""
    now = {name: spec.as_json() for name, spec in new.items()}
    for name, array in now.items():
        before = old.get(name) if isinstance(old, Mapping) else None
        for field in ("medium", "rate"):  # which earlier records do not have
            if isinstance(before, Mapping) and field not in before:
                array.pop(field, None)
    return config.difference({"inputs": old}, {"inputs": now})


def _pinned(record: ExperimentRecord) -> ExperimentRecord:
    return dataclasses.replace(record, experiment=pin(record.experiment))


def _without_record(run: pathlib.Path, record: ExperimentRecord, allow_change: bool) -> Claim:
    """Of a directory whose record is missing: only its seals know what was trained."""
    if not is_begun(run):
        return Claim(dataclasses.replace(record, id=new_id()), True, True)
    steps = seal.sealed_steps(run / "checkpoints")
    seals = ((n, seal.read_seal(run / "checkpoints" / str(n)) or {}) for n in reversed(steps))
    step, sealed = next(((n, s["owner"]) for n, s in seals if "owner" in s), (0, {}))
    digest, replaced = sealed.get("experiment"), ()
    if digest is not None and digest == record.digest:
        line = f"{run / RECORD} was missing: written anew, with the settings of step {step}"
    elif allow_change:
        line = f"{run / RECORD} was missing: earlier steps had {UNKNOWN}"
        replaced = () if digest is None else (Replaced(digest, (UNKNOWN,)),)
    else:
        why = "are not those of its steps" if digest else "cannot be compared with theirs"
        raise DataError(
            f"{run} has finished steps but no {RECORD}, and these settings {why}: put it back, "
            "give another --workdir, or --allow-change to go on all the same"
        )
    record = dataclasses.replace(record, id=sealed.get("run") or new_id(), replaced=replaced)
    return Claim(record, True, False, (line,))


def is_begun(run: pathlib.Path) -> bool:
    """Whether a step above 0 was ever finished, or its save begun."""
    folder = run / "checkpoints"
    try:
        names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from error
    if any(name.split(".")[0].isdecimal() and int(name.split(".")[0][:18]) for name in names):
        return True
    return any(line["step"] > 0 for line in read_metrics(run))


def _comparable(old: Any, experiment: Experiment) -> Any:
    """The encoded old experiment with the values from `experiment` that a run may change."""
    compared = copy.deepcopy(old)
    current = _pinnable(experiment)
    for path, node in _recorded_pins(compared, ""):
        if path in current and node[PINS[node["class"]][-1]] is not None:
            # The path of a run and its later steps do not matter, its seal does. So with files.
            node["path"] = current[path].path
            if "command" in node:
                node["command"] = current[path].command
            if isinstance(current[path], config.FrozenRun) and "experiment" in node:
                node["experiment"] = config.encode(current[path])["experiment"]
                node["inputs"] = config.encode(current[path])["inputs"]
    compared["mesh"] = config.encode(experiment.mesh)  # a run resumes in any layout
    return compared


def _with_defaults(tree: Any, trust: Sequence[str]) -> Any:
    """An encoded experiment with the fields that its classes have gained since; unchanged where
    classes cannot be built any more, as after an edit of the file that defines them.
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
            continue  # changed on purpose
        recorded = {name: pins[path][name] for name in PINS[kind]}
        pinned = dataclasses.replace(frozen, **recorded)
        experiment = config.with_frozen(experiment, path, pinned)
    return experiment


def _pinnable(experiment: Experiment) -> dict[str, config.FrozenRun | config.WeightFile]:
    return {**config.find_frozen(experiment), **config.find_files(experiment)}
