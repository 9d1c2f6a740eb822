"""All twelve conditionals of a joint prior of digits, judged; on test rows, guidance as chosen.

    python -m tests.any_to_any.directions RUN IMAGE_JUDGE AUDIO_JUDGE [--choose] [-n 1000]

Words are written at temperature 0 and right if they are a name of the digit; everything else is
drawn at temperature 1 and judged by classifiers of pictures and of sound. With --choose the weights
of guidance are tried on held-back rows (takes 5 to 9 of the training voices, the last 5,000
training pictures), half as many samples each; otherwise they are those of GUIDANCE. Intervals of
95 % are by a bootstrap of clips.
"""

import argparse

import numpy as np

import vqjax
from tests.any_to_any.rows import Judges, interval, pick, rows_of, share
from vqjax.metrics import precision_recall
from vqjax.sampling import Guidance, TokenSampling

BEST = TokenSampling(temperature=0.0)
WEIGHTS = (1.0, 1.5, 2.0, 3.0)
GUIDANCE = {"image": 2.0, "audio": 2.0}
DRAWN = (
    (("text",), "image"), (("audio",), "image"), (("audio", "text"), "image"),
    (("text",), "audio"), (("image",), "audio"), (("image", "text"), "audio"),
)  # fmt: skip


def draw(run, rows, conditions, targets, n, guidance=1.0):
    examples = rows.first(n)
    return run.sample(
        n,
        conditions={name: examples[name] for name in conditions},
        targets=targets,
        guidance=Guidance(guidance),
    )


def choose(run, judges, rows, n):
    """{stream: the weight of guidance whose samples, from each other stream, are right most}."""
    turns = np.arange(n) % len(rows)
    best = {}
    for target in ("image", "audio"):
        sources = [c for c, t in DRAWN if t == target and len(c) == 1]
        found = {}
        for weight in WEIGHTS:
            rights = [
                judges.digits(target, draw(run, rows, c, [target], n, weight)[target])
                == rows.labels[turns]
                for c in sources
            ]
            found[weight] = np.mean(rights)
        best[target] = max(found, key=found.get)
        listed = ", ".join(f"{w:g}: {100 * v:.1f} %" for w, v in found.items())
        print(f"guidance of {target}, held-back rows: {listed}", flush=True)
    return best


def recognised(run, judges, rows):
    """Written words from each other stream and both, by voice too."""
    right = {}
    for conditions in (("image",), ("audio",), ("audio", "image")):
        given = {name: rows.examples[name] for name in conditions}
        written = run.sample(len(rows), conditions=given, targets=["text"], sampling=BEST)["text"]
        right[conditions] = judges.digits("text", written) == rows.labels
        voices = ", ".join(
            f"{voice} {100 * right[conditions][rows.speakers == voice].mean():.1f}"
            for voice in np.unique(rows.speakers)
        )
        name = "+".join(conditions)
        print(f"{name} -> text: {share(right[conditions], rows.clips)} ({voices})", flush=True)
    better = max((("image",), ("audio",)), key=lambda c: right[c].mean())
    gain = right["audio", "image"].astype(float) - right[better]
    mean, low, high = interval(gain, rows.clips)
    print(
        f"  both less {better[0]}: {100 * mean:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
    )


def drawn(run, judges, rows, n, weights):
    """Pictures and speech from each other stream and both."""
    turns = np.arange(n) % len(rows)
    wanted, clips = rows.labels[turns], rows.clips[turns]
    rights = {}
    for conditions, target in DRAWN:
        real = judges.features(target, pick(rows.examples[target], turns))
        for weight in dict.fromkeys((1.0, weights[target])):
            made = draw(run, rows, conditions, [target], n, weight)[target]
            right = judges.digits(target, made) == wanted
            rights[conditions, target, weight] = right
            quality = precision_recall(judges.features(target, made), real)
            print(
                f"{'+'.join(conditions)} -> {target}, guidance {weight:g}: {share(right, clips)}, "
                f"precision {quality['precision']:.3f}, recall {quality['recall']:.3f}",
                flush=True,
            )
    for both, target in ((c, t) for c, t in DRAWN if len(c) == 2):
        weight = weights[target]
        single = max(((c,) for c in both), key=lambda c: rights[c, target, weight].mean())
        gain = rights[both, target, weight].astype(float) - rights[single, target, weight]
        mean, low, high = interval(gain, clips)
        print(
            f"  {'+'.join(both)} less {single[0]} -> {target}: {100 * mean:+.1f} points "
            f"[{100 * low:+.1f}, {100 * high:+.1f}]"
        )


def several(run, judges, rows, n, weights):
    """Two streams from one, and all from nothing."""
    turns = np.arange(n) % len(rows)
    for condition in run.streams:
        targets = [name for name in run.streams if name != condition]
        for weight in dict.fromkeys((1.0, max(weights.values()))):
            made = draw(run, rows, (condition,), targets, n, weight)
            found = [judges.digits(name, made[name]) == rows.labels[turns] for name in targets]
            print(
                f"{condition} -> {'+'.join(targets)}, guidance {weight:g}: both right "
                f"{share(np.all(found, axis=0), rows.clips[turns])}",
                flush=True,
            )
    made = run.sample(n)
    found = [judges.digits(name, made[name]) for name in run.streams]
    same = np.all([digits == found[0] for digits in found], axis=0)
    print(f"all from nothing: of one digit {share(same, np.arange(n))}")


def ceilings(run, judges, rows):
    """The judges on test examples, and on what their tokens make of them."""
    for name in ("image", "audio"):
        examples = rows.examples[name]
        coded = run.coded(name, examples)
        for what, values in (("test examples", examples), ("reconstructions", coded)):
            right = judges.digits(name, values) == rows.labels
            print(f"judge of {name} on {what}: {share(right, rows.clips)}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("image_judge")
    parser.add_argument("audio_judge")
    parser.add_argument("-n", type=int, default=1_000)
    parser.add_argument("--choose", action="store_true")
    args = parser.parse_args()
    opened = vqjax.load(args.run)
    both = Judges(opened, args.image_judge, args.audio_judge)
    weights = GUIDANCE
    if args.choose:
        weights = choose(opened, both, rows_of(opened, "held back"), args.n // 2)
    for split in ("test", "theo"):
        own = rows_of(opened, split)
        print(f"-- {split}: {len(own)} rows, step {opened.step}, guidance {weights}")
        ceilings(opened, both, own)
        recognised(opened, both, own)
        if split == "test":
            drawn(opened, both, own, args.n, weights)
            several(opened, both, own, args.n, weights)
