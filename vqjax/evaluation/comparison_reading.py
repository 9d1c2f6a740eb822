"""How to read what `vqjax compare` shows: one line per column, for the terminal and the page."""

READING = (
    ("Bits", "log2 of the codebook size for every token; a dash where nothing is discrete"),
    ("HF ratio", "energy of fine detail against the originals; 1: as sharp as they are"),
    (
        "Bound",
        "negative evidence lower bound of models with a prior: -log p(x) of an example is at most "
        "that, in nats",
    ),
    (
        "Diversity",
        "of models with a prior: distance between samples over that between originals; 1: they "
        "differ as much",
    ),
    ("In use", "share of codes that the eval split uses; of several levels the worst"),
    (
        "Perplexity",
        "codes that, used evenly, would say as much; of several levels the geometric mean, and "
        "“of K” its share of the geometric mean of their codebook sizes",
    ),
    ("Images/s", "of training: median of the run’s timings without the first"),
    ("Parameters", "trained ones, a discriminator’s included"),
    (
        "Minutes",
        "of training, over all starts; “to 95%”: until the first evaluation with 95% of the final "
        "PSNR",
    ),
)
