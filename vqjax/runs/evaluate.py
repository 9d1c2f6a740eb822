"""`vqjax evaluate`: a run's newest checkpoint over its eval split, on all devices."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jax.sharding import Mesh

from vqjax import arguments, config
from vqjax.evaluation.base import Evaluation
from vqjax.evaluation.codecs import CodecEvaluator
from vqjax.evaluation.flow import FlowEvaluator
from vqjax.evaluation.fusion import fusion_evaluator
from vqjax.evaluation.likelihood import ImportanceEvaluator
from vqjax.runs.base import check_can
from vqjax.runs.load import make_evaluator, run_class, with_data
from vqjax.training.experiment import Experiment
from vqjax.training.frozen import load_frozen
from vqjax.training.mesh import make_mesh
from vqjax.training.platform import jax_defaults
from vqjax.training.restore import OpenedRun, open_run
from vqjax.types import DataError, Tree


def evaluate_run(
    run: str | os.PathLike,
    *,
    params: str = "auto",
    step: int | None = None,
    trust: Sequence[str] = (),
    frozen: Sequence[str] = (),
    importance_samples: int | None = None,
    by: str | None = None,
    codecs: bool = False,
    noise: Mapping[str, float] | None = None,
    flow_nats: int | None = None,
    data: Any = None,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[OpenedRun, Evaluation]:
    """Evaluates a run's newest sound checkpoint, or that of `step`, on all devices.

    Args:
        run: the run directory; `params`, `step`, `trust`, `frozen`: see `open_run`.
        importance_samples: per example, for the bound of `ImportanceEvaluator` beside the others.
        by: an array of classes; the numbers of each class, too, of sound.
        codecs: whether other codecs are measured on the same sound (`CodecEvaluator`).
        noise: of a joint prior, {stream: level} of two streams, see `FusionEvaluator`, which adds
            its numbers where streams share a value.
        flow_nats: of a denoiser, of how many held-out examples (`FlowEvaluator`).
        data: a source to replace the run's own, see `vqjax.load`; or one of the same class with
            other fields: `dataclasses.replace(record.experiment.data, hold_out="theo")`.
        say: is called with each message from opening the run.

    Raises:
        DataError: no run, no sound checkpoint, or its data is not at hand.
        UsageError: classes that are not trusted, no such `params`, `trust` or `frozen` that are no
            sequences of texts, importance samples of a run whose latents have no prior, `by` or
            `codecs` of what is no sound, `noise` of what is no joint prior or that was not trained,
            `flow_nats` of what is no denoiser, or `data` that does not fit.
    """
    trust = tuple(arguments.texts("trust", trust, 'trust=["my_networks.py"]'))
    frozen = tuple(arguments.texts("frozen", frozen, 'frozen=["tokenizer=runs/moved"]'))
    mesh = make_mesh()
    opened = open_run(run, params=params, step=step, trust=trust, frozen=frozen, mesh=mesh)
    for line in opened.lines:
        say(line)
    if data is not None:
        opened = with_data(opened, data)
    experiment = opened.experiment
    importance, flow = _likelihoods(experiment, mesh, importance_samples, flow_nats)
    others = None
    check_can(run_class(experiment.task), experiment, run, "evaluate")
    experiment.data.check()
    if codecs:
        others = CodecEvaluator(experiment, mesh)
    arrays = _frozen_arrays(opened, mesh, trust, say)
    fusion = fusion_evaluator(experiment, mesh, arrays, noise)
    evaluator = make_evaluator(experiment, mesh, arrays, {} if by is None else {"by": by})
    with jax_defaults(experiment.compute_dtype):
        evaluation = _evaluation(opened, evaluator, importance, others, fusion)
        if flow is not None:
            numbers = flow(opened.params, opened.collections, arrays)
            evaluation = dataclasses.replace(evaluation, numbers=evaluation.numbers | numbers)
        return opened, evaluation


def _likelihoods(
    experiment: Experiment, mesh: Mesh, samples: int | None, count: int | None
) -> tuple[ImportanceEvaluator | None, FlowEvaluator | None]:
    """Evaluators of likelihoods, made before anything is read; they may refuse."""
    importance = flow = None
    if samples is not None:
        importance = ImportanceEvaluator(experiment, mesh, samples)
    if count is not None:
        flow = FlowEvaluator(experiment, mesh, count)
    return importance, flow


def _frozen_arrays(
    opened: OpenedRun, mesh: Mesh, trust: Sequence[str], say: Callable[[str], None]
) -> Tree:
    """Of the frozen networks; none, with a line, where only some numbers need them."""
    try:
        return load_frozen(opened.experiment, mesh, trust)
    except DataError as error:
        if config.find_frozen(opened.experiment):
            raise
        say(f"note: numbers that need it are left out: {error}")
        return {}


def _evaluation(
    opened: OpenedRun, evaluator: Any, importance: Any, others: Any, fusion: Any
) -> Evaluation:
    """All numbers; `importance`, `others` and `fusion` may be None."""
    variables = (opened.params, opened.collections)
    evaluation = evaluator(*variables)
    if importance is not None:
        # Beside the bound that it tightens, before the numbers of the reconstructions.
        bound = {k: v for k, v in evaluation.numbers.items() if k == "nll_bound"}
        numbers = bound | importance(*variables) | evaluation.numbers
        evaluation = dataclasses.replace(evaluation, numbers=numbers)
    if others is not None:
        found = others()
        numbers = evaluation.numbers | found.numbers
        protocol = (*evaluation.protocol, *found.protocol)
        evaluation = dataclasses.replace(evaluation, numbers=numbers, protocol=protocol)
    if fusion is not None:
        numbers = evaluation.numbers | fusion(*variables).numbers
        evaluation = dataclasses.replace(evaluation, numbers=numbers)
    return evaluation
