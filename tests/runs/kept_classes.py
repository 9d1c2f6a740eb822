"""How many half-masked pictures keep their class when a prior paints the other half.

    python -m tests.runs.kept_classes runs/mnist_maskgit runs/mnist_classifier

Pictures are the first 500 of the eval split, masked below; the judge's class of each result is
compared with the label. One line with the class as condition, and one unconditional; the
originals beside them.
"""

import sys

import numpy as np

import vqjax
from vqjax.sampling import Guidance

COUNT = 500
GUIDANCE = 1.5


def main(prior_run: str, judge_run: str) -> None:
    prior, judge = vqjax.load(prior_run), vqjax.load(judge_run)
    batch = next(prior.experiment.data.eval(COUNT, np.arange(COUNT)))
    images, labels = batch["image"], batch["label"]
    masks = np.zeros(images.shape[:-1], bool)
    masks[:, images.shape[1] // 2 :] = True
    conditional = {"classes": labels, "guidance": Guidance(GUIDANCE)}
    results = {
        "originals": images,
        f"class-conditional, guidance {GUIDANCE}": prior.inpaint(images, masks, **conditional),
        "unconditional": prior.inpaint(images, masks),
    }
    for name, result in results.items():
        assert np.array_equal(result[~masks], images[~masks])
        agrees = judge.classify(result)[0] == labels
        print(f"{name}: {100 * agrees.mean():.1f} % of {COUNT} have their label's class")


if __name__ == "__main__":
    main(*sys.argv[1:])
