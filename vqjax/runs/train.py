"""`vqjax.train(experiment, workdir)`: what `vqjax train` does, and the resulting run."""

import os
from collections.abc import Sequence

from vqjax import arguments
from vqjax.paths import as_path
from vqjax.runs.base import Run
from vqjax.runs.load import load, make_evaluator, run_class
from vqjax.training import distributed, loop
from vqjax.training.experiment import Experiment
from vqjax.types import UsageError


def train(
    experiment: Experiment,
    workdir: str | os.PathLike,
    *,
    evaluate: bool = True,
    allow_change: bool = False,
    trust: Sequence[str] = (),
) -> Run:
    """Trains to `total_steps`, from the newest sound checkpoint where there is one, and opens the
    run.

        experiment = dataclasses.replace(mine, data=Arrays({"image": x}, {"image": y}))
        run = vqjax.train(experiment, "runs/mine")
        tokens = run.encode(y)

    Args:
        experiment: what to train; what an experiment file returns.
        workdir: the run directory, made where it is missing. Call it again to resume.
        evaluate: whether the held-out split is evaluated, every `eval_every` steps and at the end.
        allow_change: resume although the run was started with other settings.
        trust: modules and files whose classes the run may name beside vqjax's own.

    Returns:
        The run at its last step, as `vqjax.load` opens it.

    Raises:
        UsageError: settings that cannot work, a run that another process trains, or several
            processes; nothing was written then.
        DataError: data, a frozen run or a checkpoint is missing or damaged, or a save failed.
        NonFiniteError: too many steps in a row without finite gradients; the state is saved.
        Stopped: Ctrl-C or a signal came; the state is saved, where there was one yet, and the same
            call resumes.
    """
    arguments.instance("evaluate", evaluate, bool, "True")
    arguments.instance("allow_change", allow_change, bool, "True")
    path = as_path(arguments.path("workdir", workdir, "a run directory"), "workdir").absolute()
    if distributed.several():
        raise UsageError("vqjax.train is for one process: several train by `vqjax train FILE`")
    if isinstance(experiment, Experiment):
        run_class(experiment.task)
    loop.train(
        experiment,
        workdir,
        make_evaluator=make_evaluator if evaluate else None,
        name=path.name,
        allow_change=allow_change,
        trust=trust,
    )
    return load(workdir, trust=trust, data=experiment.data)
