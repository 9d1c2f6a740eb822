"""What `make demo` leaves behind: reconstructed digits are still the digits they were.

The suite looks at VQJAX_DEMO_RUN and skips where it is not set. The figures alone:
python -m tests.demo_test [RUN], of runs/demo/tokenizer where none is named.
"""

import os
import pathlib
import sys

import numpy as np
import pytest

import vqjax
from vqjax.data import Digits, Resize

DEFAULT = pathlib.Path(__file__).parent.parent / "runs" / "demo" / "tokenizer"
SIZE = 16  # pixels, the demo's
WANTED = 0.95


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
    for name, value in accuracies(sys.argv[1] if len(sys.argv) > 1 else DEFAULT).items():
        print(f"{name:<16} {value:.4f}")
