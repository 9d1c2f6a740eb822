"""What a denoiser of pictures makes of recorded digits, judged.

    python -m tests.any_to_any.hearing RUN IMAGE_JUDGE [-n 1000]

Pictures are drawn of test recordings (takes 0 to 4), each in turn, without guidance and at that
scale of 1.5, 2 and 3 whose pictures of held-back recordings (takes 5 to 9) are nearest to 1,000
training pictures in the judge's features. Fréchet distances are to the 10,000 test pictures,
precision and recall to as many of them. Intervals of 95 % are by a bootstrap of clips.
"""

import argparse

import numpy as np

import vqjax
from tests.any_to_any.rows import rows_of, share
from vqjax.metrics import FeatureMoments, frechet_distance, precision_recall
from vqjax.sampling import Guidance

SCALES = (1.5, 2.0, 3.0)


def pictures(run, rows, n, scale):
    turns = np.arange(n) % len(rows)
    clips = [rows.examples["audio"][i] for i in turns]
    return run.sample(n, source=clips, guidance=Guidance(scale)), turns


def hear(run, judge, n):
    source = run.experiment.data.sources["image"]
    real = np.concatenate(
        [batch["image"][batch["mask"]] for batch in source.eval(500, np.arange(500))]
    )
    training = next(iter(source.in_order("train", n, 0)))["image"]
    real, training = judge.outputs(real)[0], judge.outputs(training)[0]
    held_back, distances = rows_of(run, "held back"), {}
    for scale in SCALES:
        features = judge.outputs(pictures(run, held_back, n, scale)[0])[0]
        moments = FeatureMoments.of(features), FeatureMoments.of(training)
        distances[scale] = frechet_distance(*moments)
        print(f"guidance {scale:g}: {distances[scale]:.3f} to training pictures", flush=True)
    for split in ("test", "theo"):
        rows = rows_of(run, split)
        for scale in (1.0, min(distances, key=distances.get)):
            made, turns = pictures(run, rows, n, scale)
            features, logits = judge.outputs(made)
            right = logits.argmax(axis=1) == rows.labels[turns]
            distance = frechet_distance(FeatureMoments.of(features), FeatureMoments.of(real))
            close = precision_recall(features, real[np.arange(n) * len(real) // n])
            print(
                f"{split}, guidance {scale:g}: {share(right, rows.clips[turns])}, distance "
                f"{distance:.3f}, precision {close['precision']:.3f}, recall {close['recall']:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("judge")
    parser.add_argument("-n", type=int, default=1_000)
    args = parser.parse_args()
    hear(vqjax.load(args.run), vqjax.load(args.judge), args.n)
