"""How good a run's samples, or reconstructions, are to a judge: a classifier of the same data."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vqjax import arguments
from vqjax.config.tree import show
from vqjax.metrics import FeatureMoments, frechet_distance, precision_recall
from vqjax.metrics.precision_recall import NEIGHBOURS
from vqjax.runs.base import Run, keywords_of, require, with_article
from vqjax.runs.classifier import ClassifierRun
from vqjax.runs.clips import source_inputs
from vqjax.runs.denoising import ALWAYS
from vqjax.runs.editing import PLAIN, UNGUIDED
from vqjax.runs.judgeable import JudgedClasses, check_examples, check_judge, judged_classes
from vqjax.runs.rejection import Rejection, sample_kept
from vqjax.runs.sound import SoundRun
from vqjax.sampling import Guidance, TokenSampling
from vqjax.sampling.solvers import Solver
from vqjax.training.bounds import within_bounds
from vqjax.types import DataError, UsageError, check_offers

READ_BATCH = 100  # real examples read at a time
CLIPS = 64  # read at a time
ACCURACY = "judged_accuracy"
SHOWN = 10  # samples to look at
BLOCK = 20  # training examples read in a row, so that classes in order do not matter


@dataclasses.dataclass(frozen=True)
class Judgement:
    """`numbers` by name; `protocol`: one line that says how to reproduce them; `shown`: the first
    `SHOWN` samples.
    """

    numbers: dict[str, float]
    protocol: str
    shown: Sequence[np.ndarray] = ()


def judge_samples(
    run: Run,
    judge: ClassifierRun,
    n: int = 1_000,
    seed: int = 0,
    *,
    classes: Sequence[int | str] | None = None,
    sampling: TokenSampling = PLAIN,
    guidance: Guidance = UNGUIDED,
    solver: Solver | None = None,
    guidance_interval: Sequence[float] = ALWAYS,
    rejection: Rejection | None = None,
) -> Judgement:
    """Judges the samples that `run.sample(n, seed, ...)` draws; with a `rejection`, those that it
    keeps of more.

    `class_accuracy`: the share whose likeliest class, to the judge, is their condition by the array
    `judge.task.label`, its classes in turn; left out where the run has no such condition. Where
    that is not the run's first one, it changes when all classes of the first one have been; with
    `classes`, numbers or names, only these are in turn. `frechet_distance`: between the judge's
    features of the samples and of the whole eval split; `frechet_real`: that of `n` training
    examples instead, as `n` perfect samples would have; `frechet_training`: between the samples and
    these, to choose settings by. `precision` and `recall` (k = 3): of the samples against as many
    examples of the eval split. `network_evaluations` and `sample_seconds`: what samples cost, the
    latter here and now.

    The real examples are those that the judge was trained on, without random augmentation.

    Raises:
        UsageError: the judge does not fit, there are too few samples, or `classes` or a way to draw
            is not for this run.
        DataError: the judge's data is not at hand.
    """
    check_judge(run, judge)
    if rejection is not None:
        rejection.check_beside(judge)
    n = arguments.whole("n", n, most=arguments.MOST_COUNT)
    if n <= NEIGHBOURS:
        raise UsageError(f"{n} samples to judge: wanted at least {NEIGHBOURS + 1}")
    judge.experiment.data.check()
    how = {"solver": solver, "guidance_interval": guidance_interval}
    options = sample_options(run, seed=seed, sampling=sampling, guidance=guidance, **how)
    conditions = judged_classes(run, judge, n, classes)
    samples, cost = _drawn(run, n, options, classes, conditions, rejection)
    features, logits = judge.outputs(samples)
    real, accuracy = _eval_features(judge)
    training = _training_features(judge, n)
    numbers = {}
    if conditions is not None:
        numbers["class_accuracy"] = float((logits.argmax(axis=1) == conditions.labels).mean())
    numbers |= _compared(features, real, training) | cost
    how = "unconditional" if conditions is None else conditions.in_words
    line = (
        f"{n:,} samples, {how}, {options_text(options, rejection)}, of {run_text(run)}; "
        f"judge {run_text(judge)}, accuracy {accuracy:.4f}, {judge.feature_dim} features; "
        f"reference {show(judge.experiment.data, 100)}: {len(real):,} examples of the eval split, "
        f"{len(training):,} of the training split for frechet_real, {min(n, len(real)):,} of each "
        f"for precision and recall with k={NEIGHBOURS}"
    )
    return Judgement(numbers, line, samples[:SHOWN])


def first_of_classes(judge: ClassifierRun, count: int = SHOWN) -> list[np.ndarray]:
    """The first `count` held-out examples whose classes are in turn, as those of samples are.

    Raises:
        DataError: the eval split has no example of a class.
    """
    data, task = judge.experiment.data, judge.experiment.task
    wanted = (np.arange(count) % judge.classes).tolist()
    found: dict[int, list[np.ndarray]] = {label: [] for label in wanted}
    for batch in data.eval(READ_BATCH, np.arange(READ_BATCH)):
        examples, labels = source_inputs(batch, task.inputs), batch[task.label].tolist()
        for example, label, there in zip(examples, labels, batch["mask"], strict=True):
            if there and len(found.get(label, wanted)) < wanted.count(label):
                found[label].append(example)
        if sum(map(len, found.values())) == count:
            return [found[label].pop(0) for label in wanted]
    raise DataError(f"the eval split has no {count} examples with classes in turn")


def _drawn(
    run: Run,
    n: int,
    options: Mapping[str, Any],
    classes: Sequence[int | str] | None,
    conditions: JudgedClasses | None,
    rejection: Rejection | None,
) -> tuple[np.ndarray, dict[str, float]]:
    """n samples, and what they cost, candidates included."""
    keywords = {} if conditions is None else conditions.keywords

    def draw(count: int) -> tuple[np.ndarray, int]:
        if rejection is None:
            return run.sample(count, **options, **keywords), count
        kept = sample_kept(run, rejection, count, classes=classes, options=options)
        return kept.samples, kept.numbers["candidates"]

    draw(1)  # compiles
    began = time.perf_counter()
    samples, candidates = draw(n)
    cost = {"sample_seconds": (time.perf_counter() - began) / n * 1_000}
    evaluations = run.network_evaluations(options)
    if evaluations is None:
        return samples, cost
    more = 1 if rejection is None else candidates / n
    return samples, {"network_evaluations": evaluations * more} | cost


def _compared(features: np.ndarray, real: np.ndarray, training: np.ndarray) -> dict[str, float]:
    """Numbers of samples by the features, [n, D], of them, of held-out and of training examples."""
    pairs, reference = min(len(features), len(real)), FeatureMoments.of(real)
    if pairs <= NEIGHBOURS:
        raise UsageError(f"{pairs} examples in the eval split: wanted at least {NEIGHBOURS + 1}")
    return {
        "frechet_distance": frechet_distance(FeatureMoments.of(features), reference),
        "frechet_real": frechet_distance(FeatureMoments.of(training), reference),
        "frechet_training": frechet_distance(
            FeatureMoments.of(features), FeatureMoments.of(training)
        ),
        **precision_recall(features[:pairs], real[_evenly_spaced(len(real), pairs)]),
    }


def judge_reconstructions(
    run: SoundRun, judge: ClassifierRun, data: Any | None = None
) -> Judgement:
    """Judges every clip of the eval split, whole, and what its tokens make of it.

    `judged_accuracy`: the share of clips that, reconstructed, the judge takes for their own class;
    "/first_n" of these from the first n codebooks alone, "/originals" of the clips themselves.

    Args:
        run: a codec.
        judge: a classifier of sound at its rate, whose `task.label` the data has.
        data: another source than that of `run`, such as of other speakers, whose eval split is
            read.

    Raises:
        UsageError: the judge does not fit.
        DataError: the data is not at hand, or its eval split empty.
    """
    _check_reconstructions(run, judge)
    task, data = run.task, run.experiment.data if data is None else data
    data.check()
    if judge.task.label not in data.example_spec():
        has = ", ".join(data.example_spec())
        raise UsageError(f"{judge.path} judges {judge.task.label!r}: the data has {has}")
    levels = len(task.tokenizer.level_names)
    counts = tuple(range(1, levels + 1)) or (0,)  # codebooks decoded; 0: latents
    names = {c: ACCURACY if c == counts[-1] else f"{ACCURACY}/first_{c}" for c in counts}
    hits = dict.fromkeys((f"{ACCURACY}/originals", *names.values()), 0)
    lengths = data.clip_lengths("eval")
    for first in range(0, len(lengths), CLIPS):
        indices = np.arange(first, min(first + CLIPS, len(lengths)))
        batch = data.clips("eval", indices, int(lengths[indices].max()))
        labels, audio = batch[judge.task.label], batch[task.inputs]
        clips = [clip[: max(1, n)] for clip, n in zip(audio, lengths[indices], strict=True)]
        hits[f"{ACCURACY}/originals"] += _hits(judge, clips, labels)
        coded = [run.encode(clip[None], return_gain=True) for clip in clips]
        for count, name in names.items():
            made = []
            for clip, (tokens, gain) in zip(clips, coded, strict=True):
                some = run.first(tokens, count) if count else tokens
                made.append(run.decode(some, gain=gain, length=len(clip))[0])
            hits[name] += _hits(judge, made, labels)
    if not len(lengths):
        raise DataError(f"the eval split of {type(data).__name__} is empty")
    numbers = {name: count / len(lengths) for name, count in hits.items()}
    line = (
        f"{len(lengths):,} clips of the eval split of {show(data, 100)}, whole, and their "
        f"reconstructions by {run_text(run)}; judge of {judge.task.label!r} {run_text(judge)}"
    )
    return Judgement(numbers, line)


def reconstructs_sound(run: Run) -> bool:
    """Whether `judge_reconstructions` takes it."""
    return isinstance(run, SoundRun)


def _check_reconstructions(run: SoundRun, judge: ClassifierRun) -> None:
    """Refuses, with UsageError, a judge that cannot judge the reconstructions of `run`."""
    require(run, "reconstruct")
    require(judge, "classify")
    if not reconstructs_sound(run):
        raise UsageError(f"{run.path} is {with_article(run.kind)}, not of sound: wanted a codec's")
    check_offers(judge.path, judge, ("classes", "outputs"))
    check_examples(run, judge, "reconstructions")


def _hits(judge: ClassifierRun, clips: list[np.ndarray], labels: np.ndarray) -> int:
    """How many of some clips, int16[T, C] each, the judge takes for their own class."""
    longest = max(len(clip) for clip in clips)
    padded = [np.pad(clip, ((0, longest - len(clip)), (0, 0))) for clip in clips]
    logits = judge.outputs(np.stack(padded))[1]
    return int((logits.argmax(axis=1) == labels).sum())


def sample_options(run: Run, **keywords: Any) -> dict[str, Any]:
    """Those of `keywords` that `run.sample` takes; UsageError for others that are no defaults."""
    takes, defaults = keywords_of(run.sample), {"seed": 0, "sampling": PLAIN, "guidance": UNGUIDED}
    defaults |= {"solver": None, "guidance_interval": ALWAYS}
    for name, value in keywords.items():
        if name not in takes and value != defaults.get(name):
            kind = with_article(run.kind)
            raise UsageError(f"{run.path} is {kind} whose samples take no {name}={value}")
    return {name: value for name, value in keywords.items() if name in takes}


def options_text(options: Mapping[str, Any], rejection: Rejection | None = None) -> str:
    """`sample_options` for a line that says how samples were drawn, and which were kept."""
    texts = {"seed": f"seed {options.get('seed')}", "solver": "", "guidance_interval": ""}
    if options.get("solver") is not None:
        texts["solver"] = str(options["solver"])
    if tuple(options.get("guidance_interval", ALWAYS)) != ALWAYS:
        low, high = options["guidance_interval"]
        texts["guidance_interval"] = f"at times in ({low:g}, {high:g}]"
    words = [texts.get(name, str(v)) for name, v in options.items()]
    return ", ".join(filter(None, [*words, "" if rejection is None else str(rejection)]))


def run_text(run: Run) -> str:
    """A run for such a line."""
    return f"{run.path} (step {run.step}, {run.params_kind})"


def _evenly_spaced(count: int, n: int) -> np.ndarray:
    """`n` different indices below `count`, evenly spaced: int64[n]."""
    return np.arange(n) * count // n


def _eval_features(judge: ClassifierRun) -> tuple[np.ndarray, float]:
    """Features float32[N, D] of the whole eval split, and the judge's accuracy on it."""
    task, data, parts, hits = judge.experiment.task, judge.experiment.data, [], []
    for batch in within_bounds(task, data, "eval", data.eval(READ_BATCH, np.arange(READ_BATCH))):
        mask = batch["mask"]
        features, logits = judge.outputs_of_source(source_inputs(batch, task.inputs))
        parts.append(features[mask])
        hits.append((logits.argmax(axis=1) == batch[task.label])[mask])
    return np.concatenate(parts), float(np.concatenate(hits).mean())


def _training_features(judge: ClassifierRun, n: int) -> np.ndarray:
    """Features of `n` training examples, or of all, in blocks evenly spaced: float32[n, D]."""
    data, inputs = judge.experiment.data, judge.experiment.task.inputs
    blocks = -(-data.num_train() // BLOCK)
    chosen = _evenly_spaced(blocks, min(blocks, -(-n // BLOCK)))
    parts = []
    for block in chosen.tolist():
        batch = next(iter(data.in_order("train", BLOCK, block)))
        parts.append(source_inputs(batch, inputs)[batch["mask"]])
    return judge.outputs_of_source(np.concatenate(parts)[:n])[0]
