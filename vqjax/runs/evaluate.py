"""`vqjax evaluate`: a run's newest checkpoint over its eval split, on all devices."""

import dataclasses
import os
from collections.abc import Callable, Sequence

from vqjax import arguments, config
from vqjax.evaluation.base import Evaluation
from vqjax.evaluation.likelihood import ImportanceEvaluator
from vqjax.runs.base import check_can
from vqjax.runs.load import make_evaluator, run_class
from vqjax.training.frozen import load_frozen
from vqjax.training.mesh import make_mesh
from vqjax.training.platform import jax_defaults
from vqjax.training.restore import OpenedRun, open_run
from vqjax.types import DataError


def evaluate_run(
    run: str | os.PathLike,
    *,
    params: str = "auto",
    step: int | None = None,
    trust: Sequence[str] = (),
    frozen: Sequence[str] = (),
    importance_samples: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[OpenedRun, Evaluation]:
    """Evaluates a run's newest sound checkpoint, or that of `step`, on all devices.

    Args:
        run: the run directory; `params`, `step`, `trust`, `frozen`: see `open_run`.
        importance_samples: per example, for the bound of `ImportanceEvaluator` beside the others.
        say: is called with each message from opening the run.

    Raises:
        DataError: no run, no sound checkpoint, or its data is not at hand.
        UsageError: classes that are not trusted, no such `params`, `trust` or `frozen` that are no
            sequences of texts, or importance samples of a run whose latents have no prior.
    """
    trust = tuple(arguments.texts("trust", trust, 'trust=["my_networks.py"]'))
    frozen = tuple(arguments.texts("frozen", frozen, 'frozen=["tokenizer=runs/moved"]'))
    mesh = make_mesh()
    opened = open_run(run, params=params, step=step, trust=trust, frozen=frozen, mesh=mesh)
    for line in opened.lines:
        say(line)
    variables = (opened.params, opened.collections)
    importance = None
    if importance_samples is not None:
        importance = ImportanceEvaluator(opened.experiment, mesh, importance_samples)
    check_can(run_class(opened.experiment.task), opened.experiment, run, "evaluate")
    opened.experiment.data.check()
    try:
        frozen_arrays = load_frozen(opened.experiment, mesh, trust)
    except DataError as error:
        if config.find_frozen(opened.experiment):
            raise
        say(f"note: numbers that need it are left out: {error}")
        frozen_arrays = {}
    with jax_defaults(opened.experiment.compute_dtype):
        evaluation = make_evaluator(opened.experiment, mesh, frozen_arrays)(*variables)
        if importance is not None:
            # Beside the bound that it tightens, before the numbers of the reconstructions.
            bound = {k: v for k, v in evaluation.numbers.items() if k == "nll_bound"}
            numbers = bound | importance(*variables) | evaluation.numbers
            evaluation = dataclasses.replace(evaluation, numbers=numbers)
    return opened, evaluation
