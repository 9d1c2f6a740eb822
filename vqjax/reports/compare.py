"""`vqjax compare`: the runs' numbers, from what training wrote down or, where needed, anew."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from vqjax import arguments, config
from vqjax.data.augment import RandomFlip
from vqjax.format import shorten
from vqjax.reports.compare_table import Row, names_of
from vqjax.reports.history import is_number, read_record
from vqjax.runs.evaluate import evaluate_run
from vqjax.training.packed import sealed_steps
from vqjax.training.restore import PARAMS
from vqjax.types import DataError, UsageError, VqjaxError

DIFFERENCE_TEXT = 120  # characters of what differs between two data sources
STORAGE = ("data_dir", "cache_bytes")  # fields of sources: where data are, not what they are
READING = {"reading", "formats"}  # fields of a folder: what is taken from it


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        rows: one per run, in the order of `runs`.
        notes: lines that a reader of the table must know, such as runs on other data.
        same_data: whether all runs are known to be evaluated on the data of the first.
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    same_data: bool


def compare_runs(
    runs: Sequence[str | os.PathLike],
    *,
    params: str = "auto",
    trust: Sequence[str] = (),
    evaluate: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Gathers what is known of each run.

    The newest evaluation in metrics.jsonl is taken where it is not older than the newest sealed
    checkpoint, has the numbers that the table needs, and is one of the parameters asked for;
    otherwise that checkpoint is evaluated. Where it cannot be, as without the data, what was
    written down stands, with a note. Nothing is written to the runs.

    Args:
        runs: run directories, at least one.
        params: "ema" or "raw"; "auto": averaged where a run keeps them.
        trust: modules and files whose classes may be built.
        evaluate: evaluate every run anew.
        say: takes lines on what takes time or went wrong.

    Raises:
        DataError: no run, or one that has neither an evaluation nor a checkpoint.
        UsageError: classes that are not trusted, or no such `params`.
    """
    runs = arguments.texts("runs", runs, '["runs/a", "runs/b"]')
    if not runs:
        raise UsageError("no runs to compare: name at least one")
    arguments.one_of("params", params, PARAMS)
    trust = tuple(arguments.texts("trust", trust, '["my_networks.py"]'))
    records = [read_record(run, trust) for run in runs]
    rows, stale = [], []
    for record, name in zip(records, names_of(records), strict=True):
        row = Row.of(record, name)
        if evaluate or not _suffices(row, params):
            try:
                row = _evaluated(row, params, trust, say)
            except DataError as error:
                if evaluate or not row.numbers or params not in ("auto", row.params):
                    raise
                stale.append(f"{name}: the numbers of step {row.step:,}, for now: {error}")
        rows.append(row)
    others = notes_on_data(rows)
    notes = [*others, *stale, *_unfinished(rows), *_kinds(rows)]
    return Comparison(tuple(rows), tuple(notes), same_data=not others)


def _suffices(row: Row, params: str) -> bool:
    """Whether what training wrote down is what an evaluation now would find.

    Raises:
        DataError: there is neither an evaluation nor a checkpoint to be evaluated.
    """
    sealed = sealed_steps(row.record.path)
    if not sealed:
        if not row.numbers:
            path = row.record.path
            raise DataError(f"{path} has no evaluation and no sealed checkpoint yet: train longer")
        return params in ("auto", row.params)
    if not row.numbers or row.step < sealed[-1] or params not in ("auto", row.params):
        return False
    kind, sizes = row.record.kind, row.sizes
    needed = kind.evaluated(row.record.experiment, sizes) if kind and sizes else ()
    return all(is_number(row.numbers, name) for name in needed)


def _evaluated(row: Row, params: str, trust: Sequence[str], say: Callable[[str], None]) -> Row:
    say(f"{row.name}: evaluating")
    try:
        opened, result = evaluate_run(
            row.record.path, params=params, trust=trust, say=lambda line: say(f"{row.name}: {line}")
        )
    except VqjaxError as error:
        raise type(error)(_with_name(row.record.path, error)) from error
    return dataclasses.replace(
        row,
        numbers=result.numbers,
        step=opened.step,
        params=opened.params_kind,
        sheet=None if result.gallery is None else result.gallery.sheet(),
    )


def _with_name(path: pathlib.Path, error: VqjaxError) -> str:
    """The error's line, which among several runs must say of which one it is."""
    return str(error) if str(path) in str(error) else f"{path}: {error}"


def notes_on_data(rows: Sequence[Row]) -> list[str]:
    """A line per run that is not known to be evaluated on the data of the first; none: all are."""
    known = [row for row in rows if row.record.experiment is not None]
    notes = []
    for row in known[1:]:
        changes = config.difference(_eval_data(known[0]), _eval_data(row))
        if changes:
            text = shorten("; ".join(changes), DIFFERENCE_TEXT).removeprefix("experiment: ")
            other = "is evaluated on other data than {}"
            if all(READING.intersection(_path(change)) for change in changes):
                other = "reads its folder in another way than {}, perhaps other pictures"
            notes.append(f"{row.name} {other.format(known[0].name)}: {text}")
    unreadable = [row for row in rows if row.record.experiment is None]
    return notes + [
        f"{row.name}: its experiment cannot be read: {row.record.unreadable}" for row in unreadable
    ]


def _path(change: str) -> list[str]:
    """The names in a line of `config.difference` up to what has changed."""
    return change.partition(":")[0].split(".")


def _eval_data(row: Row) -> Any:
    """A run's data source without what its eval split does not depend on."""
    data = row.record.experiment.data
    if not dataclasses.is_dataclass(data):
        return data
    fields = {field.name: field for field in dataclasses.fields(data)}
    changes = {name: fields[name].default for name in STORAGE if name in fields}
    if "augment" in fields:
        changes["augment"] = tuple(t for t in data.augment if not isinstance(t, RandomFlip))
    return dataclasses.replace(data, **changes)


def _unfinished(rows: Sequence[Row]) -> list[str]:
    return [
        f"{row.name} is at step {row.step:,} of {row.record.total_steps:,}"
        for row in rows
        if row.record.total_steps is not None and row.step < row.record.total_steps
    ]


def _kinds(rows: Sequence[Row]) -> list[str]:
    """Which parameters were evaluated, where any are averaged."""
    averaged = [row.name for row in rows if row.params == "ema"]
    if not averaged:
        return []
    names = "all runs" if len(averaged) == len(rows) else ", ".join(averaged)
    return [f"averaged parameters (ema) of {names}"]
