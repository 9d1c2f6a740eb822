"""`vqjax.load(RUN)`: a trained run from Python. The one table of which class opens what."""

import dataclasses
import os
import types
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from vqjax import arguments, config
from vqjax.format import printable
from vqjax.hub import run_path
from vqjax.runs.base import Opening, Run, begin_process, keywords_of, with_article
from vqjax.runs.classifier import ClassifierRun
from vqjax.runs.diffusion import DiffusionRun
from vqjax.runs.footprint import Footprint
from vqjax.runs.generator import GeneratorRun
from vqjax.runs.joint import JointRun
from vqjax.runs.prior import PriorRun
from vqjax.runs.shared_codes import SharedCodesRun
from vqjax.runs.sound import SoundRun
from vqjax.runs.text import TextRun
from vqjax.runs.tokenizer import TokenizerRun
from vqjax.tasks import (
    ClassifierTask,
    DiffusionTask,
    GANTask,
    JointTask,
    PriorTask,
    SharedCodesTask,
    SoundTokenizerTask,
    TextTask,
    TokenizerTask,
)
from vqjax.training.experiment import DATA_NEEDS, Experiment
from vqjax.training.frozen import load_frozen
from vqjax.training.mesh import make_mesh
from vqjax.training.platform import devices_at_hand
from vqjax.training.restore import PARAMS, OpenedRun, open_run
from vqjax.training.state import settings_named
from vqjax.types import ArraySpec, DataError, Tree, UsageError, check_offers, fit_method

RUNS: dict[type, type[Run]] = {
    TokenizerTask: TokenizerRun,
    SoundTokenizerTask: SoundRun,
    JointTask: JointRun,
    PriorTask: PriorRun,
    TextTask: TextRun,
    ClassifierTask: ClassifierRun,
    DiffusionTask: DiffusionRun,
    GANTask: GeneratorRun,
    SharedCodesTask: SharedCodesRun,
}

NO_OPTIONS: Mapping[str, Any] = types.MappingProxyType({})
TASK_NEEDS = ("inputs", "show", "parts")  # beside what training needs


def run_class(task: Any) -> type[Run]:
    """The class that opens the runs of a task: that of the first class in its MRO that has a class
    attribute `run_class` or is in `RUNS`.

    Raises:
        UsageError: there is none, or the task lacks what runs need of it.
    """
    for kind in type(task).__mro__:
        cls = vars(kind).get("run_class", RUNS.get(kind))
        if cls is None:
            continue
        if not (isinstance(cls, type) and issubclass(cls, Run)):
            raise UsageError(
                f"{kind.__name__}.run_class={arguments.got(cls)}: wanted a subclass of "
                "vqjax.runs.Run"
            )
        check_offers("task", task, TASK_NEEDS)
        return cls
    raise UsageError(
        f"{type(task).__name__} has no run class: give it a class attribute run_class, a class "
        "made from vqjax.runs.Run"
    )


def make_evaluator(
    experiment: Experiment, mesh: Mesh, frozen: Tree, options: Mapping[str, Any] = NO_OPTIONS
) -> Any:
    """What evaluates this experiment's parameters: (params, collections) -> `Evaluation`.

    Raises:
        UsageError: its evaluator takes no such `options`.
    """
    cls = run_class(experiment.task)
    for name in options:
        if name not in keywords_of(cls.evaluator):
            raise UsageError(f"{name}: the evaluation of {with_article(cls.kind)} takes none")
    evaluator = cls.evaluator(experiment, mesh, frozen, **options)
    if not cls.numbers:  # it has no metrics beside those of `vqjax.numbers`
        return evaluator
    return lambda *state: dataclasses.replace(evaluator(*state), described=cls.numbers)


def footprint_of(experiment: Experiment, inputs: Mapping[str, ArraySpec]) -> Footprint:
    """Parameter counts and sizes for examples of `inputs`, by shapes alone; reads no data.

    Raises:
        UsageError: the networks do not take examples of this shape, or cannot be built from the
            settings.
    """
    with settings_named():
        return run_class(experiment.task).footprint(experiment, inputs)


def load(
    run: str | os.PathLike,
    *,
    params: str = "auto",
    step: int | None = None,
    trust: Sequence[str] = (),
    frozen: Sequence[str] = (),
    data: Any = None,
) -> Run:
    """Opens a run directory for use: a tokenizer's as a `TokenizerRun`, a prior's as a `PriorRun`,
    a classifier's as a `ClassifierRun`, that of a task of your own as its `run_class`.

    Args:
        run: RUN, as `vqjax train` wrote it; a pack of `vqjax pack`; or one on the Hub, as
            "hf://ORG/NAME@REVISION".
        params: "ema" or "raw" parameters; "auto": the averaged ones where the run keeps them.
        step: the sealed step to read; None: the newest undamaged one.
        trust: modules or files whose classes may be imported for it, beside vqjax's own.
        frozen: "NAME=PATH" where a run or a file that this one builds on has moved.
        data: a source to replace the run's own, such as `Arrays`, which is not recorded; its
            array `task.inputs` must have the shape and dtype of training.

    Raises:
        DataError: no such run, no undamaged step in it, or not the tokenizer that a prior was
            trained on.
        UsageError: an argument is of the wrong kind, the run names a class that is not trusted,
            or keeps no such `params`; its task has no run class; `data` has other examples; or
            this process is a fork of one where a run was opened.
    """
    path = _checked_path(run)
    arguments.one_of("params", params, PARAMS)
    step = None if step is None else arguments.whole("step", step, 0, arguments.MOST_COUNT)
    trust = tuple(arguments.texts("trust", trust, 'trust=["my_networks.py"]'))
    frozen = tuple(arguments.texts("frozen", frozen, 'frozen=["tokenizer=runs/moved"]'))
    begin_process()  # refuses a fork of a process where a run was opened
    devices_at_hand()  # refuses, in one line, a machine without any
    mesh = make_mesh(jax.local_devices()[:1])  # copies on every device would all do the same work
    opened = open_run(path, params=params, step=step, trust=trust, frozen=frozen, mesh=mesh)
    if data is not None:
        opened = with_data(opened, data)
    cls = run_class(opened.experiment.task)
    has_frozen = bool(config.find_frozen(opened.experiment))
    networks = load_frozen(opened.experiment, mesh, trust) if has_frozen else {}
    return cls(Opening(opened, mesh, networks, trust, load))


def _checked_path(run: str | os.PathLike) -> str:
    """The directory that `run` names, "~" being the user's home."""
    path = str(run_path(arguments.path("run", run, "a run directory"), "run"))
    if not os.path.isdir(path):
        raise DataError(f"{printable(path, 200)} is not a run: there is no such directory")
    return path


def with_data(opened: OpenedRun, data: Any) -> OpenedRun:
    """A run with another source; UsageError where its examples are not as those of training."""
    check_offers("data", data, DATA_NEEDS)
    if fit := fit_method(data):
        data = fit(opened.experiment.data)
    experiment = dataclasses.replace(opened.experiment, data=data)
    name = experiment.task.inputs
    spec, trained = data.example_spec().get(name), opened.inputs.get(name)
    if trained is not None and not trained.is_like(spec):
        raise UsageError(f"data: {name!r} is {spec or 'missing'}, the run was trained on {trained}")
    return dataclasses.replace(
        opened, record=dataclasses.replace(opened.record, experiment=experiment)
    )
