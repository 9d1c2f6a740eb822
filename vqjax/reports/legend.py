"""How to read what `vqjax compare` shows: one line per column, for the terminal and the page."""

from vqjax.reports.metrics import BITS, METRICS, PARAMETERS

READING = (
    ("Bits", f"{BITS}; a dash where nothing is discrete"),
    ("HF ratio", METRICS["high_frequency_ratio"].meaning),
    ("Bound", METRICS["nll_bound"].meaning),
    ("Diversity", METRICS["sample_diversity"].meaning),
    ("In use", f"{METRICS['codebook_usage'].meaning}; of several levels the worst"),
    (
        "Perplexity",
        f"{METRICS['perplexity'].meaning}; of several levels the geometric mean, and “of K” its "
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
