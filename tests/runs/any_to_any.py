"""What a joint prior of written digits, spoken digits and their names can do, in every direction.

    python -m tests.runs.any_to_any RUN IMAGE_JUDGE AUDIO_JUDGE

Conditions are test examples, each clip with its partners; what is drawn is judged by classifiers of
pictures and of sound, and words by whether they are a name of the digit. Recognition is at
temperature 0, everything else at temperature 1; guidance 1 unless said.
"""

import sys

import numpy as np

import vqjax
from vqjax.sampling import Guidance, TokenSampling

COUNT = 1_000
BEST = TokenSampling(temperature=0.0)
GUIDANCE = 2.0


def eval_rows(run, count):
    """{stream: examples} of the first `count` rows of the eval split, and their labels."""
    rows, labels = {name: [] for name in run.streams}, []
    data = run.experiment.data
    for batch in data.eval(50, np.arange(50)):
        labels.append(batch["label"])
        rows["image"].append(batch["image.image"])
        lengths = batch["audio.length"]
        rows["audio"] += [c[:n, 0] for c, n in zip(batch["audio.audio"], lengths, strict=True)]
        rows["text"] += data.sources["text"].decode(batch["text.caption"])
        if 50 * len(labels) >= count:
            break
    labels = np.concatenate(labels)[:count]
    rows["image"] = np.concatenate(rows["image"])
    return {name: examples[:count] for name, examples in rows.items()}, labels


class Judges:
    """Which digit an example is of, whatever its stream."""

    def __init__(self, run, image_judge, audio_judge):
        texts = run.experiment.data.sources["text"].source.texts
        self.names = {text: label for label, own in enumerate(texts) for text in own}
        self._image, self._audio = vqjax.load(image_judge), vqjax.load(audio_judge)

    def digits(self, name, examples):
        """int[n]; -1: no name of a digit."""
        if name == "text":
            return np.array([self.names.get(text, -1) for text in examples])
        if name == "image":
            return self._image.classify(examples)[0]
        longest = max(map(len, examples))
        padded = [np.pad(clip, (0, max(1, longest) - len(clip))) for clip in examples]
        return self._audio.classify(np.stack(padded)[..., None])[0]


def main(path, image_judge, audio_judge):
    run = vqjax.load(path)
    judges = Judges(run, image_judge, audio_judge)
    rows, labels = eval_rows(run, run.experiment.data.num_eval())
    n = len(labels)
    print(f"{n} test rows, step {run.step}")
    for name, examples in rows.items():
        print(f"judge on test examples, {name}: {share(judges.digits(name, examples) == labels)}")
    captions = list(judges.names)
    for conditions in (("image",), ("audio",), ("audio", "image")):
        given = {name: rows[name] for name in conditions}
        written = run.sample(n, conditions=given, targets=["text"], sampling=BEST)["text"]
        right = judges.digits("text", written) == labels
        scores = np.stack(
            [run.log_likelihood({"text": [t]}, given)["text"] for t in captions], axis=1
        )
        posterior = by_label(scores, judges.names)
        likeliest = posterior.argmax(axis=1) == labels
        bound = np.log(10) + posterior[np.arange(n), labels].mean()
        print(
            f"{'+'.join(conditions)} -> text: written {share(right)}, likeliest label "
            f"{share(likeliest)}; information at least {bound:.3f} nats",
            flush=True,
        )
    turns = np.arange(COUNT) % n
    wanted = labels[turns]
    for conditions, target in (
        (("text",), "image"), (("audio",), "image"), (("audio", "text"), "image"),
        (("text",), "audio"), (("image",), "audio"), (("image", "text"), "audio"),
    ):  # fmt: skip
        given = {name: pick(rows[name], turns) for name in conditions}
        found = []
        for guidance in (1.0, GUIDANCE):
            how = {"conditions": given, "targets": [target], "guidance": Guidance(guidance)}
            drawn = run.sample(COUNT, **how)[target]
            found.append(share(judges.digits(target, drawn) == wanted))
        print(f"{'+'.join(conditions)} -> {target}: {found[0]}; guidance {GUIDANCE:g} {found[1]}",
              flush=True)  # fmt: skip
    for condition in run.streams:
        targets = [name for name in run.streams if name != condition]
        given = {condition: pick(rows[condition], turns)}
        drawn = run.sample(COUNT, conditions=given, targets=targets)
        found = [judges.digits(name, drawn[name]) for name in targets]
        both = np.all([digits == wanted for digits in found], axis=0)
        print(f"{condition} -> {'+'.join(targets)}: both right {share(both)}", flush=True)
    drawn = run.sample(COUNT)
    found = [judges.digits(name, drawn[name]) for name in run.streams]
    same = (found[0] == found[1]) & (found[1] == found[2])
    print(f"all from nothing: of one digit {share(same)}")


def by_label(scores, names):
    """log p(label | x) [n, 10], from log p(text | x) [n, texts], normalised over the texts."""
    top = scores.max(axis=1, keepdims=True)
    p = np.exp(scores - top)
    labels = np.array(list(names.values()))
    sums = np.stack([p[:, labels == label].sum(axis=1) for label in range(10)], axis=1)
    return np.log(sums / sums.sum(axis=1, keepdims=True))


def pick(examples, turns):
    return examples[turns] if isinstance(examples, np.ndarray) else [examples[i] for i in turns]


def share(right):
    return f"{100 * np.mean(right):.1f} %"


if __name__ == "__main__":
    main(*sys.argv[1:])
