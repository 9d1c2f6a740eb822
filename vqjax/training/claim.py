"""Whose a run directory is: the same experiment's, another's, or nobody's yet."""

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
    Record,
    Replaced,
    as_record,
    new_id,
    owner_of,
    read_content,
    replaced_in,
)
from vqjax.training.seal import Owner
from vqjax.types import ArraySpec, DataError, UsageError, VqjaxError

GLOB = "*?[]\\"  # Orbax takes its own path for a pattern
UNKNOWN = "settings that nobody recorded"


@dataclasses.dataclass(frozen=True)
class Claim:
    """A run directory as a training finds it.

    Attributes:
        record: what the run is from now on.
        writes: whether that has to be written.
        fresh: nothing there is a step of this run.
        lines: what should be said.
    """

    record: Record
    writes: bool
    fresh: bool
    lines: tuple[str, ...] = ()

    @property
    def owner(self) -> Owner:
        """Whose steps may be gone on from."""
        return owner_of(self.record)


def fitted(experiment: Experiment, run: pathlib.Path, trust: Sequence[str] = ()) -> Experiment:
    """The experiment with its data fitted before the first step, such as a vocabulary: from the
    record in `run` where an earlier start fitted it and finished a step.

    Raises:
        DataError: the data cannot be read.
    """
    if not hasattr(experiment.data, "fitted"):
        return experiment
    before = None
    if seal.kind_of(run / RECORD) != 0 and is_begun(run):
        with contextlib.suppress(VqjaxError):  # a class that was edited since: `claim` says so
            before = config.decode(read_content(run)["experiment"].get("data"), trust)
    return dataclasses.replace(experiment, data=experiment.data.fitted(before))


def check_writable(run: pathlib.Path) -> None:
    """Refuses, with UsageError, a run directory that cannot be made or used; makes nothing."""
    if not is_text(run):
        raise UsageError(f"cannot keep checkpoints in {run}: it is not UTF-8: another --workdir")
    odd = sorted(set(GLOB) & set(str(run)))
    if odd:
        raise UsageError(
            f"cannot keep checkpoints in {run}: a run's path must not have {' '.join(odd)} in it, "
            "give another --workdir"
        )
    place = next(p for p in (run, *run.parents) if p.exists())
    if not place.is_dir():
        raise UsageError(f"cannot write to {run}: {place} is not a directory")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write to {run}: no permission to write in {place}")


def claim(
    run: pathlib.Path, record: Record, allow_change: bool, trust: Sequence[str] = ()
) -> Claim:
    """Compares `record` with what lies in a run directory; writes nothing.

    Where another experiment lies there of which no step was ever finished, as after a first command
    that failed, `record` takes its place.

    Args:
        record: its frozen runs and files say what is in `PINS` only where the user does.
        allow_change: whether another experiment may take the run over.
        trust: modules and files whose classes may be built from the old record.

    Returns:
        `record` with the run's id, all `PINS`, and what it replaces.

    Raises:
        UsageError: another experiment lies there and `allow_change` is not set.
        DataError: what lies there cannot be read, or has steps without a record that explains them;
            as `pin`.
    """
    if seal.kind_of(run / RECORD) == 0:
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
    before, lines = content.get("digest"), ()
    if edited and before == record.digest:
        lines = (f"{run / RECORD} was changed by hand: written anew, as it was",)
    elif edited and not allow_change:
        raise DataError(f"{run / RECORD} {BY_HAND}, or --allow-change to go on all the same")
    replaced = replaced_in(content)
    if before not in (None, record.digest):
        replaced += (Replaced(before, (UNKNOWN,) if edited else tuple(changes)),)
    record = dataclasses.replace(record, id=content.get("id") or new_id(), replaced=replaced)
    there = content.get("id"), before, old
    writes = there != (record.id, record.digest, config.encode(record.experiment))
    return Claim(record, writes, False, lines)


def _is_edited(content: Mapping[str, Any], path: pathlib.Path, trust: Sequence[str]) -> bool:
    """Whether a record is another than vqjax wrote; False where that cannot be told, as where its
    classes cannot be built any more.
    """
    try:
        return content.get("digest") not in (None, as_record(content, path, trust).digest)
    except VqjaxError:
        return False


def _changed_inputs(old: Any, new: Mapping[str, ArraySpec]) -> list[str]:
    """How the arrays of one example differ from those that a record tells of."""
    now = {name: spec.as_json() for name, spec in new.items()}
    for name, said in now.items():
        before = old.get(name) if isinstance(old, Mapping) else None
        for later in ("medium", "rate"):  # which earlier records do not say
            if isinstance(before, Mapping) and later not in before:
                said.pop(later, None)
    return config.difference({"inputs": old}, {"inputs": now})


def _pinned(record: Record) -> Record:
    return dataclasses.replace(record, experiment=pin(record.experiment))


def _without_record(run: pathlib.Path, record: Record, allow_change: bool) -> Claim:
    """Of a directory whose record is missing: only its seals tell what was trained."""
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
        why = "are others than its steps were trained with" if digest else "cannot be compared"
        raise DataError(
            f"{run} has finished steps but no {RECORD}, and these settings {why}: put it back, "
            "give another --workdir, or --allow-change to go on all the same"
        )
    record = dataclasses.replace(record, id=sealed.get("run") or new_id(), replaced=replaced)
    return Claim(record, True, False, (line,))


def is_begun(run: pathlib.Path) -> bool:
    """Whether a step above 0 was ever finished, saved, or half saved."""
    folder = run / "checkpoints"
    try:
        names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from error
    if any(name.split(".")[0].isdecimal() and int(name.split(".")[0][:18]) for name in names):
        return True
    return any(line["step"] > 0 for line in read_metrics(run))


def _comparable(old: Any, experiment: Experiment) -> Any:
    """The encoded old experiment with what a run may change as `experiment` has it."""
    compared = copy.deepcopy(old)
    moved = _pinnable(experiment)
    for path, node in _recorded_pins(compared, ""):
        if path in moved and node[PINS[node["class"]][-1]] is not None:
            # Where a run lies and how it went on does not matter: its seal does. So with files.
            node["path"] = moved[path].path
            if "command" in node:
                node["command"] = moved[path].command
            if isinstance(moved[path], config.FrozenRun) and "experiment" in node:
                node["experiment"] = config.encode(moved[path])["experiment"]
                node["inputs"] = config.encode(moved[path])["inputs"]
    compared["mesh"] = config.encode(experiment.mesh)  # a run goes on in any layout
    return compared


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
