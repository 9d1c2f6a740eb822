"""What the numbers of an evaluation of reconstructions are called, the main one first."""

ORDER = (
    "nll_bound", "psnr", "ssim", "lpips", "l1", "mse", "high_frequency_ratio", "codebook_usage",
    "perplexity", "sample_diversity",
)  # fmt: skip
