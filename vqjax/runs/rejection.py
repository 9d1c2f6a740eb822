"""Rejection: draw more samples than are wanted, keep those that a judge finds most like their
class.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vqjax import arguments
from vqjax.runs.base import Run
from vqjax.runs.classifier import ClassifierRun
from vqjax.runs.judgeable import check_judge, conditions_of, judged_classes
from vqjax.types import UsageError


def check_share(share: float) -> None:
    """Refuses, with UsageError, a share of samples that keeps none, or more than there are."""
    arguments.real("keep", share, above=0, most=1)


@dataclasses.dataclass(frozen=True)
class Rejection:
    """Keeps of each class the `share`, above 0 and at most 1, whose class is the most probable to
    `judge` (arXiv 1906.00446, section 3.3): less varied, and more often of their class.
    """

    judge: ClassifierRun
    share: float

    def __post_init__(self) -> None:
        check_share(self.share)

    def check_beside(self, judge: ClassifierRun) -> None:
        """Refuses, with UsageError, a judge of other classes than those that are kept."""
        if self.judge.task.label != judge.task.label:
            raise UsageError(
                f"{self.judge.path} judges {self.judge.task.label!r}, {judge.path} "
                f"{judge.task.label!r}: samples are kept by the classes that are judged"
            )

    def __str__(self) -> str:
        judge = self.judge
        return f"the best {self.share:g} of each class by {judge.path} (step {judge.step})"


@dataclasses.dataclass(frozen=True)
class Kept:
    """`samples` that were kept, with classes in turn; `numbers`: how many candidates there were,
    and how probable the judge finds their class (mean probability, share whose likeliest class it
    is) before and after.
    """

    samples: np.ndarray
    numbers: dict[str, float]

    def summary(self) -> str:
        """`numbers` in a line."""
        n, m = len(self.samples), self.numbers["candidates"]
        return (
            f"kept {n:,} of {m:,} candidates: mean probability of their class "
            f"{self.numbers['candidate_probability']:.3f} -> {self.numbers['kept_probability']:.3f}"
            f", taken for it {self.numbers['candidate_accuracy']:.1%} -> "
            f"{self.numbers['kept_accuracy']:.1%}"
        )


def sample_kept(
    run: Run,
    rejection: Rejection,
    n: int = 64,
    *,
    classes: Sequence[int | str] | None = None,
    options: Mapping[str, Any],
) -> Kept:
    """Draws `n` samples with classes in turn, each the best of 1 / share of its class.

    Args:
        run: class-conditional.
        rejection: who judges, and how much is kept.
        n: at least 1.
        classes: numbers or names; None: all in turn.
        options: other keywords of `run.sample`, such as its seed. The candidates are its samples,
            as many of each class that is wanted.

    Raises:
        UsageError: the judge knows other classes or other examples, or the run has no such classes.
    """
    judge = rejection.judge
    check_judge(run, judge)
    n = arguments.whole("n", n, 1, most=arguments.MOST_COUNT)
    _check_classes(run, judge, options)
    wanted = judged_classes(run, judge, n, classes).labels
    labels, slots = np.unique(wanted, return_counts=True)  # [k] each
    each = math.ceil(slots.max() / rejection.share)
    count = arguments.whole("n / keep", each * len(labels), most=arguments.MOST_COUNT)
    samples = run.sample(count, **options, classes=labels.tolist())
    logits = judge.outputs(samples)[1]  # [M, classes]
    turns = np.tile(labels, each)  # [M]
    right = logits.argmax(axis=1) == turns
    probable = _probabilities(logits)[np.arange(count), turns]  # [M]
    places = np.zeros(n, int)
    for label, some in zip(labels, slots, strict=True):
        candidates = np.flatnonzero(turns == label)
        best = candidates[np.argsort(-probable[candidates], kind="stable")[:some]]
        places[wanted == label] = np.sort(best)
    numbers = {
        "candidates": count,
        "candidate_probability": float(probable.mean()),
        "kept_probability": float(probable[places].mean()),
        "candidate_accuracy": float(right.mean()),
        "kept_accuracy": float(right[places].mean()),
    }
    return Kept(samples[places], numbers)


def _check_classes(run: Run, judge: ClassifierRun, options: Mapping[str, Any]) -> None:
    """Refuses, with UsageError, samples whose classes are none that the judge knows."""
    label = judge.task.label
    if label != next(iter(conditions_of(run)), None):
        raise UsageError(
            f"{judge.path} judges {label!r}: the classes of {run.path} are no such, nothing to "
            "keep samples by"
        )
    if label in (options.get("conditions") or {}):
        raise UsageError(f"conditions: {label!r}: name it by classes, for the judge to know")


def _probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax of logits [M, classes], in float64."""
    logits = logits.astype(np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
