"""All twelve conditionals of a joint prior of digits, judged.

    python -m tests.any_to_any.directions RUN IMAGE_JUDGE AUDIO_JUDGE [--choose] [-n 1000]

Words are written at temperature 0 and right if they are a name of the digit. Pictures and speech
are drawn at temperature and guidance 1, and at those of CHOSEN, which --choose settles on held-back
rows (takes 5 to 9 of the training voices, the last 5,000 training pictures), and judged by
classifiers. Conditions are test rows: takes 0 to 4, each with four pictures and words. Intervals of
95 % are by a bootstrap of clips.
"""

import argparse
import itertools

import numpy as np
import scipy.sparse
from sklearn.linear_model import LogisticRegression

import vqjax
from tests.any_to_any.rows import (
    Judges,
    Reader,
    interval,
    pick,
    rows_of,
    share,
    training_rows,
)
from vqjax.metrics import precision_recall
from vqjax.sampling import Guidance, TokenSampling

BEST = TokenSampling(temperature=0.0)
PLAIN = (1.0, 1.0)  # temperature and guidance
CHOSEN = {"image": (0.7, 3.0), "audio": (0.7, 3.0)}
TRIED = tuple(itertools.product((0.7, 0.85, 1.0), (1.0, 2.0, 3.0, 4.0)))
PROBED = 6_000  # rows of training for the probes
PARTNERS = 4  # pictures and words of each clip
DRAWN = (
    (("text",), "image"), (("audio",), "image"), (("text", "audio"), "image"),
    (("text",), "audio"), (("image",), "audio"), (("text", "image"), "audio"),
)  # fmt: skip


def draw(run, rows, conditions, targets, n, setting):
    examples, (temperature, guidance) = rows.first(n), setting
    return run.sample(
        n,
        conditions={name: examples[name] for name in conditions},
        targets=targets,
        sampling=TokenSampling(temperature=temperature),
        guidance=Guidance(guidance if conditions or len(targets) > 1 else 1.0),
    )


def choose(run, judges, rows):
    """{stream: the setting whose samples, from each other stream, are right most}."""
    best, n = {}, len(rows)
    for target in ("image", "audio"):
        sources = [c for c, t in DRAWN if t == target and len(c) == 1]
        found = {}
        for setting in TRIED:
            rights = [
                judges.digits(target, draw(run, rows, c, [target], n, setting)[target])
                == rows.labels
                for c in sources
            ]
            found[setting] = np.mean(rights)
        best[target] = max(found, key=found.get)
        listed = ", ".join(f"{t:g} {g:g}: {100 * v:.1f} %" for (t, g), v in found.items())
        print(f"temperature and guidance of {target}, held-back rows: {listed}", flush=True)
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


def drawn(run, judges, rows, n, chosen):
    """Pictures and speech from each other stream and both."""
    turns = np.arange(n) % len(rows)
    wanted, clips = rows.labels[turns], rows.clips[turns]
    apart = np.unique(clips, return_index=True)[1]  # each clip once
    rights = {}
    for conditions, target in DRAWN:
        some = np.sort(apart) if target == "audio" else np.arange(min(n, len(rows)))
        real = judges.features(target, pick(rows.examples[target], some))
        for setting in (PLAIN, chosen[target]):
            made = draw(run, rows, conditions, [target], n, setting)[target]
            right = judges.digits(target, made) == wanted
            rights[conditions, target, setting] = right
            quality = precision_recall(judges.features(target, pick(made, some)), real)
            print(
                f"{'+'.join(conditions)} -> {target}, {words(setting)}: {share(right, clips)}, "
                f"precision {quality['precision']:.3f}, recall {quality['recall']:.3f}",
                flush=True,
            )
    for both, target in ((c, t) for c, t in DRAWN if len(c) == 2):
        for setting in (PLAIN, chosen[target]):
            better = max(both, key=lambda c: rights[(c,), target, setting].mean())
            gain = rights[both, target, setting].astype(float) - rights[(better,), target, setting]
            mean, low, high = interval(gain, clips)
            print(
                f"  {'+'.join(both)} less {better} -> {target}, {words(setting)}: "
                f"{100 * mean:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
            )


def words(setting):
    return "temperature {:g}, guidance {:g}".format(*setting)


def several(run, judges, rows, n, chosen):
    """Two streams from one, and all from nothing; words first, where they are drawn."""
    turns = np.arange(n) % len(rows)
    clips = rows.clips[turns]
    for setting in (PLAIN, chosen["image"]):
        for condition in run.streams:
            targets = [name for name in ("text", "image", "audio") if name != condition]
            made = draw(run, rows, (condition,), targets, n, setting)
            found = [judges.digits(name, made[name]) == rows.labels[turns] for name in targets]
            print(
                f"{condition} -> {'+'.join(targets)}, {words(setting)}: both right "
                f"{share(np.all(found, axis=0), clips)}",
                flush=True,
            )
        for targets in (["text", "image", "audio"], ["audio", "image", "text"]):
            made = draw(run, rows, (), targets, n, setting)
            found = [judges.digits(name, made[name]) for name in targets]
            same = np.all([digits == found[0] for digits in found], axis=0)
            print(
                f"{', '.join(targets)} from nothing, {words(setting)}: of one digit "
                f"{share(same, np.arange(n))}",
                flush=True,
            )


def probes(run, rows):
    """Logistic regression on the prior's own tokens: of a picture which code is where, of speech
    how often each code of each codebook occurs in each quarter.
    """
    reader, known = Reader(run), training_rows(run, PROBED)
    train, test = reader.ids(known), reader.ids(rows)
    for name, features in (("image", places), ("audio", quarters)):
        order = run.module.order(name)
        model = LogisticRegression(max_iter=500)
        model.fit(features(train[name], order), known.labels)
        right = model.predict(features(test[name], order)) == rows.labels
        print(f"linear probe of {name} tokens: {share(right, rows.clips)}", flush=True)


def places(ids, order):
    """One 1 for each token: sparse [n, T V]."""
    n, length = ids.shape
    columns = np.arange(length) * order.vocabulary + ids
    rows = np.repeat(np.arange(n), length)
    shape = (n, length * order.vocabulary)
    return scipy.sparse.csr_matrix((np.ones(n * length), (rows, columns.ravel())), shape)


def quarters(ids, order):
    """The square roots of shares of codes in each quarter: [n, 4 V]."""
    found = []
    for row in ids:
        own = row[row != order.ended]
        counts = [np.bincount(part, minlength=order.vocabulary) for part in np.array_split(own, 4)]
        found.append(np.sqrt(np.concatenate(counts) / max(1, len(own))))
    return np.array(found)


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
    chosen = choose(opened, both, rows_of(opened, "held back")) if args.choose else CHOSEN
    for split in ("test", "theo"):
        own = rows_of(opened, split)
        print(f"-- {split}: {len(own)} rows, step {opened.step}")
        ceilings(opened, both, own)
        recognised(opened, both, own)
        probes(opened, own)
    own = rows_of(opened, "test", PARTNERS)
    drawn(opened, both, own, args.n, chosen)
    several(opened, both, own, args.n, chosen)
