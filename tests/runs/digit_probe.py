"""What the first codebook of a sound codec knows of what is said, without its neighbours.

    python -m tests.runs.digit_probe RUN [--codebook 0] [--apart theo]

Logistic regression on how often each code occurs in each quarter of a clip, fitted on the training
clips of the run's data and tested on the held-out ones, or on a speaker who is in neither.
"""

import argparse
import dataclasses

import numpy as np
from sklearn.linear_model import LogisticRegression

import vqjax

QUARTERS = 4


def histograms(run, data, part, codebook):
    """The square roots of shares of codes by quarter, [n, 4 K], and labels [n]."""
    size = run.task.tokenizer.quantizer.codebook_size
    features, labels = [], []
    for index, length in enumerate(data.clip_lengths(part).tolist()):
        clip = data.clips(part, np.array([index]), length)
        tokens = run.encode(clip["audio"][0, :, 0])
        tokens = tokens[f"tokens_{codebook}"] if isinstance(tokens, dict) else tokens
        quarters = np.array_split(tokens, QUARTERS)
        counts = [np.bincount(q, minlength=size) / max(len(q), 1) for q in quarters]
        features.append(np.sqrt(np.concatenate(counts)))
        labels.append(int(clip["label"][0]))
    return np.array(features), np.array(labels)


def probe(run, codebook=0, apart=None):
    """Accuracy on the eval split; with `apart` on the clips whose names match that alone."""
    data = run.experiment.data
    model = LogisticRegression(max_iter=2_000).fit(*histograms(run, data, "train", codebook))
    if apart is not None:
        data = dataclasses.replace(data, hold_out=apart, leave_out=None)
    return float(model.score(*histograms(run, data, "eval", codebook)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--codebook", type=int, default=0)
    parser.add_argument("--apart", help="pattern of the names of clips that were in neither split")
    args = parser.parse_args()
    opened = vqjax.load(args.run)
    print(f"{probe(opened, args.codebook, args.apart):.1%}")
