"""Which runs a judge can judge, and under which conditions their samples are drawn for it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from vqjax import arguments
from vqjax.format import times
from vqjax.priors import ClassLabel
from vqjax.priors.conditions import LABEL, parts_of
from vqjax.runs.base import Run, keywords_of, require
from vqjax.runs.classifier import ClassifierRun
from vqjax.types import UsageError, check_offers


def check_judge(run: Run, judge: Run) -> None:
    """Refuses, with UsageError, a judge that cannot judge the samples of `run`."""
    require(run, "sample")
    require(judge, "classify")
    check_offers(judge.path, judge, ("classes", "outputs", "outputs_of_source", "feature_dim"))
    check_examples(run, judge, "samples")
    classes = conditions_of(run).get(judge.task.label)
    if classes is not None and classes != judge.classes:
        raise UsageError(
            f"{judge.path} knows {judge.classes} classes: {run.path} is conditioned on {classes}"
        )
    if not hasattr(judge.experiment.data, "in_order"):
        kind = type(judge.experiment.data).__name__
        raise UsageError(f"{kind} cannot be read in order: it has no in_order()")


def check_examples(run: Run, judge: ClassifierRun, what: str) -> None:
    """Refuses, with UsageError, a judge of other examples than `run` makes, its `what`; clips of
    sound may be of any length.
    """
    made, judged = run.shape, judge.shape
    if judge.dtype == "int16" and len(made) == 2:
        made, judged = made[1:], judged[1:]
        rate = getattr(run, "rate", judge.rate)
        if rate != judge.rate:
            raise UsageError(
                f"{judge.path} judges sound at {judge.rate} Hz: the {what} of {run.path} are at "
                f"{rate} Hz"
            )
    if made != judged:
        raise UsageError(
            f"{judge.path} judges examples of {times(judge.shape)}: "
            f"the {what} of {run.path} are {times(run.shape)}"
        )


def conditions_of(run: Run) -> dict[str, int]:
    """{array: classes} of the conditions by classes of its samples, that of `classes` first."""
    takes, classes = keywords_of(run.sample), getattr(run, "classes", None)
    if "classes" not in takes or classes is None:
        return {}
    task = getattr(run, "task", None)
    networks = (getattr(task, name, None) for name in ("prior", "denoiser", "generator"))
    network = next(filter(None, networks), None)
    condition = getattr(network, "condition", None)
    parts = {p.batch_key: p.classes for p in parts_of(condition) if isinstance(p, ClassLabel)}
    main = LABEL if LABEL in parts or not parts else next(iter(parts))
    return {main: classes} | parts


@dataclasses.dataclass(frozen=True)
class JudgedClasses:
    """Classes of samples: int32[n] `labels`, and what `run.sample` is asked for them."""

    labels: np.ndarray
    keywords: dict[str, Any]
    in_words: str


def judged_classes(
    run: Run, judge: ClassifierRun, n: int, classes: Sequence[int | str] | None
) -> JudgedClasses | None:
    """The classes of `n` samples that the judge is to find; None: they have none of its kind."""
    known, name = conditions_of(run), judge.task.label
    if name not in known:
        if classes is not None:
            raise UsageError(f"classes: the samples of {run.path} are not conditioned on {name!r}")
        return None
    chosen = np.arange(judge.classes) if classes is None else _numbers_of(judge, classes)
    main = next(iter(known))
    what = "classes" if name == LABEL else f"classes of {name!r}"
    words = f"{len(chosen)} {what} in turn"
    turns = np.arange(n) if name == main else np.arange(n) // known[main]
    labels = chosen[turns % len(chosen)]
    if name != main:
        return JudgedClasses(labels, {"conditions": {name: labels.tolist()}} if n else {}, words)
    return JudgedClasses(labels, {} if classes is None else {"classes": chosen.tolist()}, words)


def _numbers_of(judge: ClassifierRun, classes: Sequence[int | str]) -> np.ndarray:
    """Classes by number or name, int[..]."""
    numbers = []
    for i, item in enumerate(arguments.items("classes", classes, "[0, 2]")):
        if isinstance(item, str):
            names = judge.experiment.data.class_names(judge.task.label)
            item = names.index(arguments.one_of(f"classes[{i}]", item, names))
        numbers.append(arguments.whole(f"classes[{i}]", item, 0, judge.classes - 1))
    if not numbers:
        raise UsageError("classes are empty: name at least one class")
    return np.array(numbers)
