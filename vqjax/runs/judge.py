"""How good a run's samples are to a judge: a classifier trained on the same data."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from vqjax import arguments
from vqjax.config.tree import show
from vqjax.format import times
from vqjax.metrics import FeatureMoments, frechet_distance, precision_recall
from vqjax.metrics.precision_recall import NEIGHBOURS
from vqjax.runs.base import Run, keywords_of, require, with_article
from vqjax.runs.classifier import ClassifierRun
from vqjax.runs.editing import PLAIN, UNGUIDED
from vqjax.sampling import Guidance, TokenSampling
from vqjax.tasks.classifier import LABEL
from vqjax.training.bounds import within_bounds
from vqjax.types import UsageError, check_offers

READ_BATCH = 100  # real examples read at a time
BLOCK = 20  # training examples read in a row, so that classes in order do not matter


@dataclasses.dataclass(frozen=True)
class Judgement:
    """`numbers` by name; `protocol`: one line that says how to reproduce them."""

    numbers: dict[str, float]
    protocol: str


def check_judge(run: Run, judge: Run) -> None:
    """Refuses, with UsageError, a judge that cannot judge the samples of `run`."""
    require(run, "sample")
    require(judge, "classify")
    check_offers(judge.path, judge, ("classes", "outputs", "outputs_of_source", "feature_dim"))
    if judge.shape != run.shape:
        raise UsageError(
            f"{judge.path} judges examples of {times(judge.shape)}: "
            f"the samples of {run.path} are {times(run.shape)}"
        )
    classes = _classes(run)
    if classes is not None and classes != judge.classes:
        raise UsageError(
            f"{judge.path} knows {judge.classes} classes: {run.path} is conditioned on {classes}"
        )
    if not hasattr(judge.experiment.data, "in_order"):
        kind = type(judge.experiment.data).__name__
        raise UsageError(f"{kind} cannot be read in order: it has no in_order()")


def _classes(run: Run) -> int | None:
    """The number of classes that its samples take in turn; None: it is not class-conditional."""
    return getattr(run, "classes", None) if "classes" in keywords_of(run.sample) else None


def judge_samples(
    run: Run,
    judge: ClassifierRun,
    n: int = 1_000,
    seed: int = 0,
    *,
    sampling: TokenSampling = PLAIN,
    guidance: Guidance = UNGUIDED,
) -> Judgement:
    """Judges the samples that `run.sample(n, seed, ...)` draws.

    `class_accuracy`: the share whose likeliest class, to the judge, is their condition, classes in
    turn; left out where the run is not class-conditional. `frechet_distance`: between the judge's
    features of the samples and of the whole eval split; `frechet_real`: that of `n` training
    examples instead, as `n` perfect samples would have. `precision` and `recall` (k = 3): of the
    samples against as many examples of the eval split.

    The real examples are those that the judge was trained on, without random augmentation.

    Raises:
        UsageError: the judge does not fit, there are too few samples, or `sampling` or `guidance`
            is not for this run.
        DataError: the judge's data is not at hand.
    """
    check_judge(run, judge)
    n = arguments.whole("n", n, most=arguments.MOST_COUNT)
    if n <= NEIGHBOURS:
        raise UsageError(f"{n} samples to judge: wanted at least {NEIGHBOURS + 1}")
    judge.experiment.data.check()
    options = sample_options(run, seed=seed, sampling=sampling, guidance=guidance)
    samples = run.sample(n, **options)
    features, logits = judge.outputs(samples)
    real, accuracy = _eval_features(judge)
    training = _training_features(judge, n)
    reference = FeatureMoments.of(real)
    pairs = min(n, len(real))
    if pairs <= NEIGHBOURS:
        raise UsageError(f"{pairs} examples in the eval split: wanted at least {NEIGHBOURS + 1}")
    numbers = {}
    if (classes := _classes(run)) is not None:
        hits = logits.argmax(axis=1) == np.arange(n) % classes
        numbers["class_accuracy"] = float(hits.mean())
    numbers["frechet_distance"] = frechet_distance(FeatureMoments.of(features), reference)
    numbers["frechet_real"] = frechet_distance(FeatureMoments.of(training), reference)
    numbers |= precision_recall(features[:pairs], real[_evenly_spaced(len(real), pairs)])
    conditions = "unconditional" if classes is None else f"{classes} classes in turn"
    line = (
        f"{n:,} samples, {conditions}, {options_text(options)}, of {_run_text(run)}; "
        f"judge {_run_text(judge)}, accuracy {accuracy:.4f}, {judge.feature_dim} features; "
        f"reference {show(judge.experiment.data, 100)}: {len(real):,} examples of the eval split, "
        f"{len(training):,} of the training split for frechet_real, {pairs:,} and {pairs:,} for "
        f"precision and recall with k={NEIGHBOURS}"
    )
    return Judgement(numbers, line)


def sample_options(run: Run, **keywords: Any) -> dict[str, Any]:
    """Those of `keywords` that `run.sample` takes; UsageError for others that are no defaults."""
    takes, defaults = keywords_of(run.sample), {"seed": 0, "sampling": PLAIN, "guidance": UNGUIDED}
    for name, value in keywords.items():
        if name not in takes and value != defaults.get(name):
            kind = with_article(run.kind)
            raise UsageError(f"{run.path} is {kind} whose samples take no {name}={value}")
    return {name: value for name, value in keywords.items() if name in takes}


def options_text(options: Mapping[str, Any]) -> str:
    """`sample_options` for a line that says how samples were drawn."""
    return ", ".join(f"seed {v}" if name == "seed" else str(v) for name, v in options.items())


def _run_text(run: Run) -> str:
    return f"{run.path} (step {run.step}, {run.params_kind})"


def _evenly_spaced(count: int, n: int) -> np.ndarray:
    """`n` different indices below `count`, evenly spaced: int64[n]."""
    return np.arange(n) * count // n


def _eval_features(judge: ClassifierRun) -> tuple[np.ndarray, float]:
    """Features float32[N, D] of the whole eval split, and the judge's accuracy on it."""
    task, data, parts, hits = judge.experiment.task, judge.experiment.data, [], []
    for batch in within_bounds(task, data, "eval", data.eval(READ_BATCH, np.arange(READ_BATCH))):
        mask = batch["mask"]
        features, logits = judge.outputs_of_source(batch[task.inputs])
        parts.append(features[mask])
        hits.append((logits.argmax(axis=1) == batch[LABEL])[mask])
    return np.concatenate(parts), float(np.concatenate(hits).mean())


def _training_features(judge: ClassifierRun, n: int) -> np.ndarray:
    """Features of `n` training examples, or of all, in blocks evenly spaced: float32[n, D]."""
    data, inputs = judge.experiment.data, judge.experiment.task.inputs
    blocks = -(-data.num_train() // BLOCK)
    chosen = _evenly_spaced(blocks, min(blocks, -(-n // BLOCK)))
    parts = []
    for block in chosen.tolist():
        batch = next(iter(data.in_order("train", BLOCK, block)))
        parts.append(batch[inputs][batch["mask"]])
    return judge.outputs_of_source(np.concatenate(parts)[:n])[0]
