"""`vqjax pack`: an opened run as a folder to give away."""

import pathlib
import shutil
from collections.abc import Mapping

from vqjax import config
from vqjax.files import json_text
from vqjax.runs.base import Run
from vqjax.runs.evaluate import evaluate_run
from vqjax.training.journal import unwritable, write_whole
from vqjax.training.logbook import METRICS, read_metrics
from vqjax.training.packed import Contents, contents_of, network_player, write_pack
from vqjax.training.record import load_record
from vqjax.training.restore import OpenedRun, open_run
from vqjax.types import Tree, UsageError

SAMPLES = "samples"


def pack(run: Run, folder: pathlib.Path, dtype: str = "float32", *, evaluate: bool = False) -> None:
    """Writes the networks of a run, and of the runs that it builds on, as a pack.

    Beside them come the numbers of an evaluation, and the sheet of examples that training drew at
    this step, so that `vqjax report` has something to show.

    Args:
        folder: empty, or not there.
        dtype: of floating-point numbers, "float32" or "bfloat16".
        evaluate: whether the pack is evaluated, or has the numbers that training found for these
            parameters, where it did.

    Raises:
        UsageError: the folder is not empty or cannot be written.
        DataError: a run that it builds on is missing; the disk is full; or there is no data to
            evaluate on.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty: name another")
    opened, trust = run._opening.opened, run._opening.trust
    write_pack(folder, _contents(opened, run.params, run.collections, trust), dtype)
    source = pathlib.Path(run.path)
    found = _evaluation(source, opened)
    if evaluate:
        found = dict(evaluate_run(folder, trust=trust)[1].numbers)
    try:
        if found:
            line = {"kind": "eval", "step": opened.step, **found}
            write_whole(folder / METRICS, json_text(line) + "\n")
        for sheet in (source / SAMPLES).glob(f"{opened.step:08d}*"):
            (folder / SAMPLES).mkdir(exist_ok=True)
            shutil.copyfile(sheet, folder / SAMPLES / sheet.name)
    except OSError as error:
        raise unwritable(folder, error) from error


def _contents(
    opened: OpenedRun, params: Tree, collections: Tree, trust: tuple[str, ...]
) -> Contents:
    """Of an opened run, with those of the runs that it builds on."""
    frozen = {}
    for path, below in config.find_frozen(opened.experiment).items():
        read = open_run(below.path, step=below.step, trust=trust)
        player = network_player(read.experiment)
        frozen[path] = _contents(read, read.params[player], read.collections[player], trust)
    record = load_record(opened.path, trust)
    return contents_of(record, params, collections, opened.step, opened.params_kind, frozen)


def _evaluation(run: pathlib.Path, opened: OpenedRun) -> Mapping[str, float]:
    """What training found for these parameters; {}: nothing."""
    averaged = opened.experiment.ema_decay is not None
    if averaged != (opened.params_kind == "ema"):
        return {}
    lines = [line for line in read_metrics(run) if line["kind"] == "eval"]
    found = next((line for line in reversed(lines) if line["step"] == opened.step), {})
    return {name: value for name, value in found.items() if name not in ("kind", "step")}
