"""How to read what `vqjax compare` shows: one line per column, for the terminal and the page."""

from vqjax.numbers import BITS, NUMBERS, PARAMETERS

PLAIN = ("high_frequency_ratio", "nll_bound", "sample_diversity")
USAGE, PERPLEXITY = NUMBERS["codebook_usage"], NUMBERS["perplexity"]
LEVELS = (
    (USAGE.column, f"{USAGE.help}; of several levels the worst"),
    (
        PERPLEXITY.column,
        f"{PERPLEXITY.help}; of several levels the geometric mean, and “of K” its "
        "share of the geometric mean of their codebook sizes",
    ),
)
TIMED = "of training: median of the run’s timings without the first"
READING = (
    ("Bits", f"{BITS}; a dash where nothing is discrete"),
    *((NUMBERS[name].column, NUMBERS[name].help) for name in PLAIN),
    *LEVELS,
    ("Images/s", TIMED),
    ("Parameters", PARAMETERS),
    (
        "Minutes",
        "of training, over all starts; “to 95%”: until the first evaluation with 95% of the final "
        "PSNR",
    ),
)
OF_SOUND = ("si_sdr", "mel_distance", "stft_distance", "kbits_per_second")
READING_OF_SOUND = (
    *((NUMBERS[name].column, NUMBERS[name].help) for name in OF_SOUND),
    *LEVELS,
    ("Examples/s", TIMED),
    ("Parameters", PARAMETERS),
    ("Minutes", "of training, over all starts"),
)
