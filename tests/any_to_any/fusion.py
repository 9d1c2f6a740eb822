"""Whether a joint prior of digits knows more from two noisy streams than from one, and than two
experts that know nothing of each other.

    python -m tests.any_to_any.fusion RUN [--apart IMAGE_TEXT AUDIO_TEXT] [--shared SHARED_CODES]
    python -m tests.any_to_any.fusion RUN --draw IMAGE_JUDGE [-n 1000] [--temperature 0.5]

Levels of noise are those at which each stream alone gives 70 % on held-back rows (takes 5 to 9 of
the training voices, the last 5,000 training pictures); temperatures of experts are fitted there,
too. Then words are recognised in test rows, each clip with a dozen pictures, and in those of a
voice that was in no training. --apart: two priors of two streams each, trained with the same noise,
are the experts of late fusion, and recognise words without noise, too. --shared: a run of
`digits_shared_codes`, with as much noise. --draw: pictures from a noisy clip, a noisy word, and
both.

Intervals of 95 % are by a bootstrap of clips.
"""

import argparse
import functools

import jax
import numpy as np
from scipy.optimize import minimize

import vqjax
from tests.any_to_any.rows import Judges, Reader, interval, rows_of, share
from vqjax.evaluation.posteriors import by_value, normalised, prior_of, product_of
from vqjax.priors.joint_drawing import candidate_log_likelihoods
from vqjax.sampling import Guidance, TokenSampling

WANTED = 0.70  # of one stream alone
LEVELS = 12  # that are tried, up to the most of training
PARTNERS = 12  # pictures of each test clip
BATCH = 12  # rows whose texts are scored at once
DIGITS = np.arange(10)


class Recogniser(Reader):
    """log p(digit | streams), float64[n, 10], by the names of digits."""

    def __init__(self, run):
        super().__init__(run)
        texts = run.experiment.data.sources["text"].source.texts
        pairs = [(text, label) for label, own in enumerate(texts) for text in own]
        self.values = np.array([label for _, label in pairs])
        texts = run._media["text"].ids([text for text, _ in pairs])
        self._scores = jax.jit(
            functools.partial(candidate_log_likelihoods, run.module, name="text", candidates=texts)
        )

    def posterior(self, ids):
        count, parts = len(next(iter(ids.values()))), []
        for start in range(0, count, BATCH):
            at = np.minimum(np.arange(start, start + BATCH), count - 1)
            own = {name: array[at] for name, array in sorted(ids.items())}
            parts.append(np.asarray(self._scores(params=self.run.params, conditions=own)))
        return by_value(np.concatenate(parts)[:count], self.values)


def level_of(most, accuracy_at):
    """The level, up to `most`, whose accuracy comes nearest to `WANTED`; accuracies fall."""
    low, high, tried = 0.0, most, {}
    for _ in range(7):
        level = (low + high) / 2
        tried[level] = accuracy_at(level)
        low, high = (level, high) if tried[level] > WANTED else (low, level)
    best = min(tried, key=lambda level: abs(tried[level] - WANTED))
    return best, tried[best]


def right(posterior, rows):
    return posterior.argmax(axis=1) == rows.labels


def surprise(posterior, rows):
    return -posterior[np.arange(len(rows)), rows.labels]


def tempered(posteriors, temperatures, log_prior):
    """The product of experts at a temperature each."""
    cooled = [normalised(p / t) for p, t in zip(posteriors, temperatures, strict=True)]
    return product_of(cooled, log_prior)


def fitted_temperatures(posteriors, rows):
    """Those of least surprise."""
    log_prior = prior_of(rows.labels, DIGITS)

    def loss(logs):
        return surprise(tempered(posteriors, np.exp(logs), log_prior), rows).mean()

    return np.exp(minimize(loss, np.zeros(len(posteriors)), method="Nelder-Mead").x)


def line(name, posterior, rows):
    nats, low, high = interval(surprise(posterior, rows), rows.clips)
    sure = np.exp(posterior.max(axis=1)).mean()
    voices = ", ".join(
        f"{voice} {100 * right(posterior, rows)[rows.speakers == voice].mean():.1f}"
        for voice in np.unique(rows.speakers)
    )
    print(
        f"  {name}: {share(right(posterior, rows), rows.clips)}, -log p(digit) {nats:.3f} "
        f"[{low:.3f}, {high:.3f}] nats, sure of {100 * sure:.1f} % ({voices})",
        flush=True,
    )


def less(name, fused, other, rows, what="both"):
    mean, low, high = interval(right(fused, rows).astype(float) - right(other, rows), rows.clips)
    nats, least, most = interval(surprise(fused, rows) - surprise(other, rows), rows.clips)
    print(
        f"  {what} less {name}: {100 * mean:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}], "
        f"{nats:+.3f} nats [{least:+.3f}, {most:+.3f}]"
    )


def by_shared_codes(run, rows, noise, names):
    """log p(digit | streams) of a tokenizer of several modalities."""
    texts = run.experiment.data.sources["text"].source.texts
    pairs = [(text, label) for label, own in enumerate(texts) for text in own]
    given = {name: rows.examples[name] for name in names}
    own = {name: noise[name] for name in names}
    scores = run.caption_scores(given, [text for text, _ in pairs], noise=own)
    return by_value(scores, np.array([label for _, label in pairs]))


def without_noise(joint, experts, rows):
    """Words from a stream where the other one is missing, by the joint prior and by an expert."""
    print(f"-- test, without noise: {len(rows):,} pairs of {len(np.unique(rows.clips))} clips")
    for name, expert in experts.items():
        own, other = (r.posterior({name: r.ids(rows, {})[name]}) for r in (joint, expert))
        line(f"{name} alone", own, rows)
        line(f"{name} alone, a prior of two streams", other, rows)
        less("that of two streams", own, other, rows, name)


def recognise(run, apart, shared):
    joint = Recogniser(run)
    experts = {}
    if apart:
        opened = (Recogniser(vqjax.load(path)) for path in apart)
        experts = dict(zip(("image", "audio"), opened, strict=True))
        without_noise(joint, experts, rows_of(run, "test", partners=4))
    held_back, noise = rows_of(run, "held back", partners=2), {}
    for name in ("image", "audio"):

        def accuracy(level, name=name):
            ids = joint.ids(held_back, {name: level})
            return right(joint.posterior({name: ids[name]}), held_back).mean()

        noise[name], found = level_of(run.task.streams[name].noise, accuracy)
        print(f"noise of {name} {noise[name]:.4g}: {100 * found:.1f} % of held-back rows")

    def posteriors(reader, rows, names):
        ids = reader.ids(rows, {n: v for n, v in noise.items() if n in reader.task.names})
        return [reader.posterior({n: ids[n] for n in own}) for own in names]

    names = (("image",), ("audio",))
    alone = posteriors(joint, held_back, names)
    heat = fitted_temperatures(alone, held_back)
    heat_apart = None
    if experts:
        separate = [posteriors(experts[n], held_back, ((n,),))[0] for n in experts]
        heat_apart = fitted_temperatures(separate, held_back)
    print(f"temperatures {heat.round(3)}, of separate experts {heat_apart}", flush=True)
    for split in ("test", "theo"):
        rows = rows_of(run, split, partners=PARTNERS if split == "test" else 2)
        print(f"-- {split}: {len(rows):,} pairs of {len(np.unique(rows.clips))} clips")
        log_prior = prior_of(rows.labels, DIGITS)
        *alone, both = posteriors(joint, rows, (*names, ("image", "audio")))
        found = {"picture alone": alone[0], "speech alone": alone[1]}
        better = max(found, key=lambda n: right(found[n], rows).mean())
        found |= {
            "product": product_of(alone, log_prior),
            "product, fitted temperatures": tempered(alone, heat, log_prior),
        }
        if experts:
            separate = [posteriors(experts[n], rows, ((n,),))[0] for n in experts]
            found |= {
                "late fusion": product_of(separate, log_prior),
                "late fusion, fitted temperatures": tempered(separate, heat_apart, log_prior),
            }
        if shared:
            for own in (*names, ("image", "audio")):
                name = f"shared codes, {'+'.join(own)}"
                found[name] = by_shared_codes(shared, rows, noise, own)
        for name, posterior in found.items():
            line(name, posterior, rows)
        line("both", both, rows)
        less(f"the better one ({better})", both, found[better], rows)
        for name in list(found)[2:]:
            less(name, both, found[name], rows)


def drawn_from_noise(run, judge, n, temperature):
    """Pictures at guidance 1 from a noisy clip, a noisy word and both."""
    how = {"guidance": Guidance(1.0), "sampling": TokenSampling(temperature=temperature)}
    reader = Reader(run)
    judges = Judges(run, judge, judge)  # of pictures alone

    def rights(rows, noise, names, count):
        ids, turns = reader.ids(rows, noise), np.arange(count) % len(rows)
        conditions = {name: ids[name][turns] for name in names}
        made = run.draw_ids(count, 0, conditions, ("image",), **how)
        pictures = run._media["image"].examples(made["image"])
        return judges.digits("image", pictures) == rows.labels[turns], rows.clips[turns]

    held_back, noise = rows_of(run, "held back", partners=2), {}
    for name in ("audio", "text"):
        most = run.task.streams[name].noise
        noise[name], found = level_of(
            most, lambda level, name=name: rights(held_back, {name: level}, (name,), 500)[0].mean()
        )
        print(f"noise of {name} {noise[name]:.4g}: pictures {100 * found:.1f} % right", flush=True)
    rows = rows_of(run, "test", partners=4)
    found = {
        names: rights(rows, noise, names, n) for names in (("audio",), ("text",), ("text", "audio"))
    }
    for names, (verdict, clips) in found.items():
        print(f"noisy {'+'.join(names)} -> image: {share(verdict, clips)}")
    both, clips = found["text", "audio"]
    for name in ("audio", "text"):
        mean, low, high = interval(both.astype(float) - found[(name,)][0], clips)
        print(f"  both less {name}: {100 * mean:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--apart", nargs=2, metavar=("IMAGE_TEXT", "AUDIO_TEXT"))
    parser.add_argument("--shared", metavar="SHARED_CODES")
    parser.add_argument("--draw", metavar="IMAGE_JUDGE")
    parser.add_argument("-n", type=int, default=1_000)
    parser.add_argument("--temperature", type=float, default=1.0)
    args = parser.parse_args()
    opened = vqjax.load(args.run)
    if args.draw:
        drawn_from_noise(opened, args.draw, args.n, args.temperature)
    else:
        recognise(opened, args.apart, args.shared and vqjax.load(args.shared))
