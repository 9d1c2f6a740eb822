"""What numbers are: their labels, units, which way is better, and what they mean.

Tables, pages, `--help`, TensorBoard and rankings read it here, so that no two of them disagree. A
number that is not listed is shown under its own name. "name/level" is the number of one level.
"""

import dataclasses
from collections.abc import Mapping

from vqjax.format import fixed, number

HIGH, LOW, ONE = "high", "low", "one"  # where the best value lies
IN_WORDS = {HIGH: "higher is better", LOW: "lower is better", ONE: "1 is best"}
SMALL = 0.001  # smaller values of numbers without digits of their own are shown in full


@dataclasses.dataclass(frozen=True)
class Number:
    """One number.

    Attributes:
        label: what people call it.
        help: what it means, for glossaries; no sentence.
        unit: behind the label; "%": shown times 100.
        best: `HIGH`, `LOW` or `ONE`; None: neither way is better, as with the codes in use, of
            which a task may need few or many.
        digits: behind the point; None: four, and all that a small value needs.
        head: of its column where that is narrow, with line breaks; "": made of the name.
        fact: its label at the head of a page; "": `label`.
        fact_unit: there; None: `unit`.
        per: what the value there refers to, such as "per token".
        fact_digits: likewise; None: `digits`.
        leads: whether it stands first at the head of every page that has it.
    """

    label: str
    help: str = ""
    unit: str = ""
    best: str | None = None
    digits: int | None = None
    head: str = ""
    fact: str = ""
    fact_unit: str | None = None
    per: str = ""
    fact_digits: int | None = None
    leads: bool = False

    @property
    def titled(self) -> str:
        """Label and unit."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    @property
    def column(self) -> str:
        """The head of its column on one line, without the unit."""
        return self.head.replace("-\n", "").replace("\n", " ").partition(",")[0]

    def shown(self, value: float, digits: int | None = None) -> str:
        """A value for people, without the unit."""
        value = 100 * value if self.unit == "%" else value
        digits = self.digits if digits is None else digits
        if digits is None:
            return fixed(value, ".4f") if abs(value) >= SMALL else number(value)
        return fixed(value, f",.{digits}f")


# Of evaluations, the main ones first.
NUMBERS: dict[str, Number] = {
    "nll_bound": Number(
        "NLL bound",
        "negative evidence lower bound of models with a prior: -log p(x) of an example is at most "
        "that, in nats",
        "nats", LOW, 2, "Bound,\nnats", "Bound on -log p(x)", per="per example", leads=True,
    ),
    "denoising": Number(
        "Denoising error",
        "mean square of the error of what the denoiser says of noisy held-out examples, all times "
        "alike; by quarters of time, q1 nearest to the data; it says little of samples",
        best=LOW, fact="Error",
    ),
    "flow_nats": Number(
        "Flow",
        "mean of -log of the density of a held-out example's numbers under the flow of a denoiser: "
        "other nats than those of tokens",
        "nats", LOW, 1,
    ),
    "nats_per_token": Number(
        "Nats per token",
        "mean of -log p over the tokens of held-out examples, or of a bound on it, the end of a "
        "text being one; drawing from K codes uniformly gives log K",
        best=LOW, fact="-log p", fact_unit="nats", per="per token", fact_digits=3,
    ),
    "nats_per_clip": Number(
        "Nats per clip",
        "mean of -log p of all tokens of a held-out clip and of its end, or of a bound on it",
        best=LOW, digits=2, fact="-log p", fact_unit="nats", per="per clip",
    ),
    "nats_per_caption": Number(
        "Nats per caption",
        "mean of -log p of a held-out caption and of its end, or of a bound on it",
        best=LOW, digits=2, fact="-log p", fact_unit="nats", per="per caption",
    ),
    "nats_per_example": Number(
        "Nats per example",
        "mean of -log p of all tokens of a held-out example; or of those of one stream, alone or, "
        "after |, given others",
        best=LOW, digits=2, fact="-log p", fact_unit="nats", per="per example",
    ),
    "order_gap": Number(
        "Order gap",
        "how much -log p of two streams differs with the order in which they are given, mean over "
        "held-out examples: 0 without fault",
        unit="nats", best=LOW, digits=2,
    ),
    "information": Number(
        "Information",
        "of what streams have in common, such as a digit, how much one says, in nats, at least: "
        "H(value) - mean of -log p(value | stream); after | what is given",
        "nats", HIGH, 3,
    ),
    "label_accuracy": Number(
        "Likeliest right",
        "how often the value that is likeliest given other streams is the right one",
        "%", HIGH, 1,
    ),
    "gain": Number(
        "Gain",
        "mean of log p of a stream given another, less log p of it alone; more than both can share "
        "says that alone it is fitted worse",
        "nats", digits=2,
    ),
    "leak_p": Number(
        "Leak, p",
        "permutation test: how often partners drawn anew within their value explain as much as "
        "those at hand; near 0, pairs share more than the value",
        digits=3,
    ),
    "noisy_information": Number("Information", "with noise on what is given", "nats", HIGH, 3),
    "noisy_label_accuracy": Number("Likeliest right", "with noise on what is given", "%", HIGH, 1),
    "noisy_product_information": Number(
        "By the product",
        "information with noise, by the product of what each stream says alone",
        "nats", HIGH, 3,
    ),
    "noisy_product_label_accuracy": Number(
        "By the product",
        "likeliest value with noise, by the product of what each stream says alone",
        "%", HIGH, 1,
    ),
    "bits_per_dim": Number(
        "Bits per dimension",
        "-log2 p of all tokens of a held-out example, over how many values the example has",
        best=LOW,
    ),
    "psnr": Number(
        "PSNR",
        "peak signal-to-noise ratio: the mean squared error of held-out reconstructions on a "
        "logarithmic scale",
        "dB", HIGH, 2, "PSNR,\ndB",
    ),
    "ssim": Number(
        "SSIM",
        "structural similarity: how far brightness, contrast and structure agree in small windows "
        "of a picture and its reconstruction; 1: the same picture",
        best=HIGH, head="SSIM", fact_digits=3,
    ),
    "lpips": Number(
        "LPIPS",
        "perceptual distance: how differently a trained VGG-16 sees a picture and its "
        "reconstruction; 0: the same",
        best=LOW, head="LPIPS",
    ),
    "si_sdr": Number(
        "SI-SDR",
        "scale-invariant signal-to-distortion ratio of held-out clips and their reconstructions, "
        "the mean over clips that are not silent",
        "dB", HIGH, 2, "SI-SDR,\ndB",
    ),
    "mel_distance": Number(
        "Mel distance",
        "mean absolute difference of log10 mel bands of a clip and its reconstruction, over "
        "windows of 32 to 2,048 samples",
        best=LOW, head="Mel\ndist.",
    ),
    "stft_distance": Number(
        "STFT distance",
        "likewise, of the magnitudes of all frequencies",
        best=LOW, head="STFT\ndist.",
    ),
    "kbits_per_second": Number(
        "Bitrate",
        "bits of the indices, and 8 of the gain of each clip where there is one, over the seconds "
        "of held-out clips",
        "kbit/s", LOW, 2, "Rate,\nkbit/s",
    ),
    "file_kbits_per_second": Number(
        "Bitrate of files", "of another codec: a file for each held-out clip, headers and all",
        "kbit/s", LOW, 2, "Files,\nkbit/s",
    ),
    "clips": Number("Clips", "held-out clips of a class", digits=0),
    "silent_clips": Number(
        "Silent clips", "held-out clips that are zero throughout: no SI-SDR is theirs", digits=0
    ),
    "l1": Number("L1", "mean absolute error of values from 0 to 1", "in [0, 1]", LOW, head="L1"),
    "mse": Number("MSE", "mean squared error of values from 0 to 1", "in [0, 1]", LOW),
    "high_frequency_ratio": Number(
        "High-frequency ratio",
        "energy of fine detail against the originals; 1: as sharp as they are",
        best=ONE, head="HF\nratio",
    ),
    "codebook_usage": Number(
        "Codes in use", "share of codes that the eval split uses", "%", None, 1, "In use,\n%"
    ),
    "perplexity": Number(
        "Perplexity", "effective number of codes: exp of the entropy of their use",
        digits=1, head="Perplex-\nity", fact_digits=0,
    ),
    "code_entropy": Number(
        "Entropy of codes", "of the use of a codebook, in bits; log2 of the perplexity",
        "bits", None, 2, "Entropy,\nbits",
    ),
    "sample_diversity": Number(
        "Sample diversity",
        "of models with a prior: distance between samples over that between originals; 1: they "
        "differ as much",
        best=ONE, head="Diver-\nsity",
    ),
    "accuracy": Number(
        "Accuracy", "share of held-out examples whose likeliest class is the true one",
        "%", HIGH, 2, "Accuracy,\n%",
    ),
    "cross_entropy": Number(
        "Cross-entropy", "mean of -log p of the true class of held-out examples", "nats", LOW
    ),
}  # fmt: skip
# Of samples, by a judge.
JUDGED: dict[str, Number] = {
    "class_accuracy": Number(
        "Class accuracy", "share of samples that the judge takes for the class of their condition",
        best=HIGH,
    ),
    "judged_accuracy": Number(
        "Judged accuracy", "share of clips whose class the judge still finds in reconstructions",
        best=HIGH,
    ),
    "frechet_distance": Number(
        "Fréchet distance", "between the judge's features of samples and of the eval split",
        best=LOW,
    ),
    "frechet_real": Number(
        "Fréchet distance of real examples",
        "the same of as many training examples: what perfect samples would have",
    ),
    "frechet_training": Number(
        "Fréchet distance to training examples",
        "between the judge's features of samples and of as many training examples; settings are "
        "chosen by it",
        best=LOW,
    ),
    "network_evaluations": Number(
        "Network evaluations", "how often a network runs to draw one sample, guidance as two",
        best=LOW, digits=0,
    ),
    "sample_seconds": Number(
        "Seconds per 1,000 samples", "to draw them on this machine, programs compiled before",
        best=LOW, digits=1,
    ),
    "precision": Number("Precision", "share of samples among real examples", best=HIGH),
    "recall": Number("Recall", "share of real examples among samples", best=HIGH),
}  # fmt: skip
# Terms of training, by the names that their curves have.
LOSSES = {
    "nll": "-log p: of a prior per token, of a likelihood per example, in nats",
    "cross_entropy": "-log p of the true class, in nats",
    "l1": "mean absolute error of values from -1 to 1",
    "l2": "mean squared error of values from -1 to 1",
    "mel": "mean absolute difference of log10 mel bands of sound and its reconstruction",
    "stft": "likewise, of magnitudes of all frequencies",
    "sdr": "minus the signal-to-distortion ratio of sound and its reconstruction, in dB",
    "si_sdr": "likewise, with the reconstruction's level left free",
    "first_codebook": "mean absolute error of what is predicted from the first codebook alone",
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
    "feature_matching": "distance between the discriminator's features of originals and of "
    "reconstructions",
    "total": "the sum of the terms, each times its weight",
}
FIRST_N = "decoded from the first n codebooks alone"  # of "name/first_n"
PARAMETERS = "trained ones, a discriminator’s included"
BITS = "log2 of the codebook size for every token"
_LISTED = {**NUMBERS, **JUDGED}
_NONE: Mapping[str, Number] = {}


def lookup(name: str, extra: Mapping[str, Number] = _NONE) -> Number | None:
    """The entry of a number, in `extra` first; of "name/level" that of "name"; None: not listed."""
    kind = name.partition("/")[0]
    return extra.get(kind, _LISTED.get(kind))


def described(name: str, extra: Mapping[str, Number] = _NONE) -> Number:
    """`lookup`, or the name alone."""
    return lookup(name, extra) or Number(name.partition("/")[0])


def ordered(numbers: Mapping[str, float]) -> dict[str, float]:
    """The main ones first, those that are not listed last."""
    ranks = {name: rank for rank, name in enumerate(NUMBERS)}
    return dict(
        sorted(numbers.items(), key=lambda item: ranks.get(item[0].partition("/")[0], len(ranks)))
    )


def worth(best: str, value: float) -> float:
    """A score that grows as `value` gets better, for a number whose best lies at `best`."""
    return {HIGH: value, LOW: -value, ONE: -abs(value - 1)}[best]
