"""What the numbers of a run are: their labels, which way is better, and what they mean.

Tables, rankings and glossaries of every page read it here, so that no two of them disagree.
"""

import dataclasses

HIGH, LOW, ONE = "high", "low", "one"  # where the best value lies
IN_WORDS = {HIGH: "higher is better", LOW: "lower is better", ONE: "1 is best"}


@dataclasses.dataclass(frozen=True)
class Metric:
    """A number of the eval split.

    Attributes:
        label: with its unit.
        meaning: for the glossary.
        best: `HIGH`, `LOW` or `ONE`; None: neither way is better, as with the codes in use, of
            which a task may need few or many.
    """

    label: str
    meaning: str
    best: str | None = None


METRICS = {
    "nll_bound": Metric(
        "NLL bound, nats",
        "negative evidence lower bound of models with a prior: -log p(x) of an example is at most "
        "that, in nats",
        LOW,
    ),
    "nats_per_token": Metric(
        "Nats per token",
        "mean of -log p over the tokens of held-out examples, or of a bound on it; drawing K codes "
        "blindly gives log K",
        LOW,
    ),
    "bits_per_dim": Metric(
        "Bits per dimension",
        "-log2 p of all tokens of a held-out example, over how many values the example has",
        LOW,
    ),
    "psnr": Metric(
        "PSNR, dB",
        "peak signal-to-noise ratio: the mean squared error of held-out reconstructions on a "
        "logarithmic scale",
        HIGH,
    ),
    "ssim": Metric(
        "SSIM",
        "structural similarity: how far brightness, contrast and structure agree in small windows "
        "of a picture and its reconstruction; 1: the same picture",
        HIGH,
    ),
    "lpips": Metric(
        "LPIPS",
        "perceptual distance: how differently a trained VGG-16 sees a picture and its "
        "reconstruction; 0: the same",
        LOW,
    ),
    "l1": Metric("L1, in [0, 1]", "mean absolute error of values from 0 to 1", LOW),
    "mse": Metric("MSE, in [0, 1]", "mean squared error of values from 0 to 1", LOW),
    "high_frequency_ratio": Metric(
        "High-frequency ratio",
        "energy of fine detail against the originals; 1: as sharp as they are",
        ONE,
    ),
    "codebook_usage": Metric("Codes in use, %", "share of codes that the eval split uses"),
    "perplexity": Metric("Perplexity", "codes that, used evenly, would say as much"),
    "sample_diversity": Metric(
        "Sample diversity",
        "of models with a prior: distance between samples over that between originals; 1: they "
        "differ as much",
        ONE,
    ),
    "accuracy": Metric(
        "Accuracy, %", "share of held-out examples whose likeliest class is the true one", HIGH
    ),
    "cross_entropy": Metric(
        "Cross-entropy, nats", "mean of -log p of the true class of held-out examples", LOW
    ),
}
# Terms of training, by the names that their curves have.
LOSSES = {
    "nll": "-log p: of a prior per token, of a likelihood per example, in nats",
    "cross_entropy": "-log p of the true class, in nats",
    "l1": "mean absolute error of values from -1 to 1",
    "l2": "mean squared error of values from -1 to 1",
    "binary_cross_entropy": "cross-entropy of values read as probabilities of white, in nats",
    "lpips": "perceptual distance, by features of a trained VGG-16",
    "commitment": "squared distance to the codes, by which encoded vectors move to them",
    "codebook": "squared distance to the encoded vectors, by which codes move to them",
    "double": "squared distance of encoded vectors to their soft choice of codes",
    "entropy": "entropy of single choices of codes against that of all: low when each choice is "
    "sure and all together use many codes",
    "kl": "Kullback-Leibler divergence of the latents from their prior, in nats",
    "prior": "Kullback-Leibler divergence of the choice of codes from an even one, in nats",
    "generator": "how easily the discriminator tells reconstructions: low when it takes them for "
    "originals",
    "discriminator": "errors of the discriminator in telling originals from reconstructions",
    "total": "the sum of the terms, each times its weight",
}
PARAMETERS = "trained ones, a discriminator’s included"
BITS = "log2 of the codebook size for every token"


def metric_of(name: str) -> Metric | None:
    """What is known of a number; of "name/level" that of "name"."""
    return METRICS.get(name.partition("/")[0])


def direction(name: str) -> str | None:
    """Where the best value of a number lies; None where that is unknown or nowhere."""
    metric = metric_of(name)
    return None if metric is None else metric.best


def worth(best: str, value: float) -> float:
    """What is the larger the better `value` is, for a number whose best lies at `best`."""
    return {HIGH: value, LOW: -value, ONE: -abs(value - 1)}[best]
