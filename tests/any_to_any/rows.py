"""Rows of digits that a joint prior did not train on, judges of them, and intervals."""

import dataclasses
from typing import NamedTuple

import jax
import numpy as np

import vqjax

SPEAKER = {"speaker": r"^\d_([a-z]+)_"}
# {name: (the clips, those that count as training, the pictures)}
SPLITS = {
    "test": (r"_[0-4]\.wav$", r"theo|_[5-9]\.wav$", "test"),
    "held back": (r"_[5-9]\.wav$", r"theo|_[0-4]\.wav$", "train[55000:]"),
    "theo": ("theo", None, "test"),
}
REDRAWS = 2_000


class Rows(NamedTuple):
    """Rows of one split: {stream: examples}, the batches that they came in, the digit int[n], which
    clip int[n] and whose voice [n] of each.
    """

    examples: dict
    batches: list
    labels: np.ndarray
    clips: np.ndarray
    speakers: np.ndarray

    def __len__(self):
        return len(self.labels)

    def first(self, n):
        """The examples of rows 0, ..., n - 1, from the start again where there are fewer."""
        turns = np.arange(n) % len(self)
        return {name: pick(examples, turns) for name, examples in self.examples.items()}


def pick(examples, turns):
    return examples[turns] if isinstance(examples, np.ndarray) else [examples[i] for i in turns]


def rows_of(run, name, partners=1):
    """All rows of a split, each clip with so many pictures and names."""
    clips, left_out, pictures = SPLITS[name]
    data = run.experiment.data
    sources = dict(data.sources)
    sources["audio"] = dataclasses.replace(
        sources["audio"], hold_out=clips, leave_out=left_out, classes=SPEAKER
    )
    sources["image"] = dataclasses.replace(sources["image"], eval_split=pictures)
    data = dataclasses.replace(data, sources=sources, eval_partners=partners)
    voices = np.array(data.class_names("audio.speaker"))
    found = {"image": [], "audio": [], "text": [], "label": [], "clip": [], "speaker": []}
    batches = []
    for batch in data.eval(50, np.arange(50)):
        mask = batch.pop("mask")
        batch = {key: array[mask] for key, array in batch.items()}
        batches.append(batch)
        found["label"].append(batch["label"])
        found["clip"].append(batch["audio.example_id"])
        found["speaker"].append(voices[batch["audio.speaker"]])
        found["image"].append(batch["image.image"])
        lengths = batch["audio.length"]
        found["audio"] += [c[:n, 0] for c, n in zip(batch["audio.audio"], lengths, strict=True)]
        if "text" in data.sources:
            found["text"] += data.sources["text"].decode(batch["text.caption"])
    joined = {k: np.concatenate(v) if k not in ("audio", "text") else v for k, v in found.items()}
    examples = {key: joined[key] for key in ("image", "audio", "text")}
    return Rows(examples, batches, joined["label"], joined["clip"], joined["speaker"])


def training_rows(run, n):
    """The first n visits of training: their batches and labels."""
    data, batches = run.experiment.data, []
    for batch in data.train(50, 0, 0, np.arange(50)):
        batches.append(batch)
        if 50 * len(batches) >= n:
            break
    labels = np.concatenate([batch["label"] for batch in batches])
    return Rows({}, batches, labels, labels, labels)


class Judges:
    """Which digit an example is of, whatever its stream."""

    def __init__(self, run, image_judge, audio_judge):
        texts = run.experiment.data.sources["text"].source.texts
        self.names = {text: label for label, own in enumerate(texts) for text in own}
        self._runs = {"image": vqjax.load(image_judge), "audio": vqjax.load(audio_judge)}

    def digits(self, name, examples):
        """int[n]; -1: no name of a digit."""
        if name == "text":
            return np.array([self.names.get(text, -1) for text in examples])
        return self._outputs(name, examples)[1].argmax(axis=1)

    def features(self, name, examples):
        return self._outputs(name, examples)[0]

    def _outputs(self, name, examples):
        if name == "audio":
            longest = max(map(len, examples))
            padded = [np.pad(clip, (0, max(1, longest) - len(clip))) for clip in examples]
            examples = np.stack(padded)[..., None]
        return self._runs[name].outputs(examples)


def interval(values, clips):
    """The mean of `values` [n] and its 95 % interval, by a bootstrap of clips."""
    _, clip = np.unique(clips, return_inverse=True)
    sums = np.bincount(clip, weights=np.asarray(values, float))
    counts = np.bincount(clip)
    drawn = np.random.default_rng(0).integers(0, len(sums), (REDRAWS, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(np.mean(values)), float(low), float(high)


def share(right, clips):
    """A mean of truths in words, with its interval."""
    mean, low, high = interval(right, clips)
    return f"{100 * mean:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


class Reader:
    """The tokens of rows, with noise, and what the prior makes of them."""

    def __init__(self, run):
        self.run, self.task, self.network = run, run.task, run.module
        self._frozen = run._opening.frozen
        self._tokens = jax.jit(
            lambda frozen, batch, levels, key: self.task.ids(
                self.network, frozen, batch, levels, key
            )
        )

    def ids(self, rows, noise=(), seed=0):
        """{stream: int32[n, T]} with noise {stream: level}."""
        noise, found = dict(noise), []
        levels = np.array([noise.get(name, 0.0) for name in self.task.names], np.float32)
        for number, batch in enumerate(rows.batches):
            own = {k: a for k, a in batch.items() if not k.endswith("example_id")}
            key = jax.random.fold_in(jax.random.key(seed), number)
            wanted = np.tile(levels, (len(batch["label"]), 1))
            found.append(jax.device_get(self._tokens(self._frozen, own, wanted, key)))
        return {n: np.concatenate([ids[n] for ids in found]) for n in self.task.names}
