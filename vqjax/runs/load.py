"""`vqjax.load(RUN)`: a trained run from Python."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import jax

from vqjax import arguments
from vqjax.format import printable
from vqjax.paths import as_path
from vqjax.runs.base import begin_process
from vqjax.runs.classifier import ClassifierRun
from vqjax.runs.kinds import is_classifier, is_prior
from vqjax.runs.prior import PriorRun
from vqjax.runs.tokenizer import Run
from vqjax.training.experiment import DATA_NEEDS
from vqjax.training.frozen import load_frozen
from vqjax.training.mesh import make_mesh
from vqjax.training.platform import devices_at_hand
from vqjax.training.restore import PARAMS, OpenedRun, open_run
from vqjax.types import DataError, UsageError, check_offers


def load(
    run: str | os.PathLike,
    *,
    params: str = "auto",
    step: int | None = None,
    trust: Sequence[str] = (),
    frozen: Sequence[str] = (),
    data: Any = None,
) -> Run | PriorRun | ClassifierRun:
    """Opens a run directory for use: a tokenizer's as a `Run`, a prior's as a `PriorRun`,
    a classifier's as a `ClassifierRun`.

    Args:
        run: RUN, as `vqjax train` wrote it.
        params: "ema" or "raw" parameters; "auto": the averaged ones where the run keeps them.
        step: the sealed step to read; None: the newest sound one.
        trust: modules or files whose classes the run may name beside vqjax's own.
        frozen: "NAME=PATH" where a run or a file that this one builds on has moved.
        data: a source to take the place of the run's own, as where that was `Arrays`, which no
            record keeps; its examples are as those of training.

    Raises:
        DataError: no such run, no sound step in it, or not the tokenizer that a prior is over.
        UsageError: an argument is not of its kind, the run names a class that is not trusted, or
            keeps no such `params`; `data` has other examples; or this process is a fork of one
            where a run was opened.
    """
    path = _checked_path(run)
    arguments.one_of("params", params, PARAMS)
    step = None if step is None else arguments.whole("step", step, 0, arguments.MOST_COUNT)
    trust = tuple(arguments.texts("trust", trust, 'trust=["my_networks.py"]'))
    frozen = tuple(arguments.texts("frozen", frozen, 'frozen=["tokenizer=runs/moved"]'))
    begin_process()
    devices_at_hand()  # or what comes first would fail for the lack of them
    one = make_mesh(jax.local_devices()[:1])  # copies on every device would all do the same work
    opened = open_run(path, params=params, step=step, trust=trust, frozen=frozen, mesh=one)
    if data is not None:
        opened = _with_data(opened, data)
    if is_prior(opened.experiment):
        return PriorRun(opened, one, load_frozen(opened.experiment, one, trust), trust, load)
    if is_classifier(opened.experiment):
        return ClassifierRun(opened, one)
    return Run(opened, one)


def _checked_path(run: str | os.PathLike) -> str:
    """The directory that `run` names, "~" being the user's home."""
    path = str(as_path(arguments.path("run", run, "a run directory"), "run"))
    if not os.path.isdir(path):
        raise DataError(f"{printable(path, 200)} is not a run: there is no such directory")
    return path


def _with_data(opened: OpenedRun, data: Any) -> OpenedRun:
    check_offers("data", data, DATA_NEEDS)
    if hasattr(data, "learned"):  # such as a vocabulary
        data = data.learned(opened.experiment.data)
    experiment = dataclasses.replace(opened.experiment, data=data)
    name = experiment.task.inputs
    found, trained = data.example_spec().get(name), opened.inputs.get(name)
    if trained is not None and found != trained:
        raise UsageError(
            f"data: {name!r} is {found or 'missing'}, the run was trained on {trained}"
        )
    return dataclasses.replace(
        opened, record=dataclasses.replace(opened.record, experiment=experiment)
    )
