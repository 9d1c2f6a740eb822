"""How to read what `vqjax compare` shows: one line per column, for the terminal and the page."""

from vqjax.numbers import BITS, NUMBERS, PARAMETERS

READING = (
    ("Bits", f"{BITS}; a dash where nothing is discrete"),
    ("HF ratio", NUMBERS["high_frequency_ratio"].help),
    ("Bound", NUMBERS["nll_bound"].help),
    ("Diversity", NUMBERS["sample_diversity"].help),
    ("In use", f"{NUMBERS['codebook_usage'].help}; of several levels the worst"),
    (
        "Perplexity",
        f"{NUMBERS['perplexity'].help}; of several levels the geometric mean, and “of K” its "
        "share of the geometric mean of their codebook sizes",
    ),
    ("Images/s", "of training: median of the run’s timings without the first"),
    ("Parameters", PARAMETERS),
    (
        "Minutes",
        "of training, over all starts; “to 95%”: until the first evaluation with 95% of the final "
        "PSNR",
    ),
)
