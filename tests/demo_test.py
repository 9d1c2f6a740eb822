"""What `make demo` leaves behind: reconstructed digits are still the digits they were, and what the
joint model makes of pictures, melodies and words is of the same digit.

The suite looks at VQJAX_DEMO_RUN and VQJAX_DEMO_JOINT and skips where they are not set. The figures
alone: python -m tests.demo_test [RUN [JOINT]], of those in runs/demo where none is named.
"""

import os
import pathlib
import sys
from typing import Any

import numpy as np
import pytest

import vqjax
from tests.runs.tone_judge import ToneJudge, accuracy
from vqjax.data import Digits, Resize
from vqjax.sampling import Guidance, TokenSampling

DEFAULT = pathlib.Path(__file__).parent.parent / "runs" / "demo"
SIZE = 16  # pixels, the demo's
WANTED = 0.95
WANTED_ACROSS = 0.85  # of the joint model
BEST = TokenSampling(temperature=0.0)  # of recognition
HOW = {"sampling": TokenSampling(temperature=0.7), "guidance": Guidance(2.0)}  # of all else


def digits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{"train" or "eval": (uint8[n, 16, 16, 1], labels int32[n])}: every real digit once."""
    source = Digits(augment=(Resize(SIZE, method="nearest"),))
    count = source.num_train()
    train = next(source.train(count, 0, 0, np.arange(count)))  # one epoch: each exactly once
    held_out = next(source.eval(source.num_eval(), np.arange(source.num_eval())))
    assert held_out["mask"].all() and len(set(train["example_id"].tolist())) == count
    return {
        "train": (train["image"], train["label"]),
        "eval": (held_out["image"], held_out["label"]),
    }


def nearest_label(images: np.ndarray, known: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The label of the nearest known image (Euclidean) for each of `images`: int32[n]."""
    a, b = (x.reshape(len(x), -1).astype(np.float64) / 255.0 for x in (images, known))
    distances = np.sum(b**2, axis=1)[None] - 2.0 * a @ b.T  # [n, m], but for a term of its row
    return labels[np.argmin(distances, axis=1)]


def accuracies(run: str | os.PathLike) -> dict[str, float]:
    """Share of held-out digits given their label: untouched, and as the run reconstructs them."""
    data = digits()
    images, labels = data["eval"]
    seen = {"originals": images, "reconstructions": vqjax.load(run).reconstruct(images)}
    return {k: float(np.mean(nearest_label(x, *data["train"]) == labels)) for k, x in seen.items()}


def held_out_rows(run: Any) -> tuple[dict[str, list | np.ndarray], np.ndarray]:
    """{stream: examples} of the eval split of a joint model, and their labels int[n]."""
    data = run.experiment.data
    batch = next(iter(data.eval(data.num_eval(), np.arange(data.num_eval()))))
    lengths = batch["audio.length"]
    sounds = [clip[:n, 0] for clip, n in zip(batch["audio.audio"], lengths, strict=True)]
    texts = data.sources["text"].decode(batch["text.caption"])
    return {"image": batch["image.image"], "audio": sounds, "text": texts}, batch["label"]


class Judges:
    """Which digit an example is of: a word, or the nearest picture or melody of training."""

    def __init__(self, run: Any) -> None:
        texts = run.experiment.data.sources["text"].source.texts
        self._names = {text: label for label, own in enumerate(texts) for text in own}
        self._known, self._tones = digits()["train"], ToneJudge()

    def digits(self, name: str, examples: list | np.ndarray) -> np.ndarray:
        """int[n]; -1: no name of a digit."""
        if name == "text":
            return np.array([self._names.get(text, -1) for text in examples])
        return (
            nearest_label(examples, *self._known)
            if name == "image"
            else self._tones.digits(examples)
        )


def across(path: str | os.PathLike) -> dict[str, float]:
    """Share of held-out examples of one stream of which the joint model makes one of the same digit
    in another; pictures and melodies by way of the word. And of melodies that the codec alone
    leaves what they are.
    """
    run = vqjax.load(path)
    judges = Judges(run)
    rows, labels = held_out_rows(run)
    codec = vqjax.load(run.task.streams["audio"].tokenizer.path)
    heard = [codec.reconstruct(sound) for sound in rows["audio"]]
    found = {"audio, by the codec": np.mean(judges.digits("audio", heard) == labels)}

    def draw(condition: str, targets: list[str], **how: Any) -> list | np.ndarray:
        given = {condition: rows[condition]}
        return run.sample(len(labels), conditions=given, targets=targets, **how)[targets[-1]]

    for condition in ("image", "audio"):
        words = draw(condition, ["text"], sampling=BEST)
        found[f"{condition} -> text"] = np.mean(judges.digits("text", words) == labels)
    for path in (("audio", "text", "image"), ("text", "image"), ("image", "text", "audio"),
                 ("text", "audio")):  # fmt: skip
        drawn = draw(path[0], list(path[1:]), **HOW)
        found[" -> ".join(path)] = np.mean(judges.digits(path[-1], drawn) == labels)
    return {name: float(share) for name, share in found.items()}


def test_the_judge_of_melodies_knows_them():
    assert accuracy() >= WANTED


@pytest.mark.skipif("VQJAX_DEMO_JOINT" not in os.environ, reason="VQJAX_DEMO_JOINT names no run")
def test_each_stream_gives_the_digit_of_the_others():
    shares = across(os.environ["VQJAX_DEMO_JOINT"])
    assert min(shares["image -> text"], shares["audio -> text -> image"]) >= WANTED_ACROSS, shares


def test_the_classifier_knows_real_digits_and_not_noise():
    data = digits()
    images, labels = data["eval"]
    assert np.mean(nearest_label(images, *data["train"]) == labels) >= WANTED
    noise = np.random.default_rng(0).integers(0, 256, images.shape).astype(np.uint8)
    assert np.mean(nearest_label(noise, *data["train"]) == labels) < 0.3


@pytest.mark.skipif("VQJAX_DEMO_RUN" not in os.environ, reason="VQJAX_DEMO_RUN names no run")
def test_reconstructed_digits_keep_their_label():
    run = vqjax.load(os.environ["VQJAX_DEMO_RUN"])
    assert run.step == run.experiment.total_steps, "the run is not finished"
    assert accuracies(run.path)["reconstructions"] >= WANTED


if __name__ == "__main__":
    defaults = [DEFAULT / "tokenizer", DEFAULT / "joint"]
    tokenizer, joint = [*sys.argv[1:], *defaults[len(sys.argv) - 1 :]]
    for name, value in {**accuracies(tokenizer), **across(joint)}.items():
        print(f"{name:<22} {value:.4f}")
