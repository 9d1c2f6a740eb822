"""Whether samples differ from each other as real examples do."""

import chex
import numpy as np

COMPARED = 64  # samples, and as many originals: all pairs of either are compared


def mean_distance(x: np.ndarray) -> float:
    """Mean over all pairs of the root mean square difference of their values.

    Args:
        x: [N, *S, C], uint8 0 to 255 or float in [-1, 1]; N >= 2.

    Returns:
        The mean of N (N - 1) / 2 distances, values in [0, 1].
    """
    x = np.asarray(x)
    if len(x) < 2:
        raise ValueError(f"{len(x)} examples: a distance needs at least 2")
    flat = x.reshape(len(x), -1).astype(np.float64)
    flat = flat / 255.0 if x.dtype == np.uint8 else (np.clip(flat, -1.0, 1.0) + 1.0) / 2.0
    # Row by row: the differences of all pairs at once would not fit in memory for large images.
    sums = [
        np.sqrt(np.square(flat[i + 1 :] - flat[i]).mean(axis=1)).sum() for i in range(len(flat) - 1)
    ]
    return float(sum(sums)) / (len(x) * (len(x) - 1) / 2)


def sample_diversity(samples: np.ndarray, originals: np.ndarray) -> float:
    """`mean_distance` of samples over that of originals; NaN where all originals are equal.

    1: they differ as much as the originals do; 0: all are the same. A decoder's means are smoother
    than data sampled around them, so a good model of binarised pixels stays below 1.

    Args:
        samples: [N, *S, C], uint8 or float in [-1, 1], N >= 2.
        originals: [M, *S, C] likewise, M >= 2.
    """
    chex.assert_equal_shape_suffix([samples, originals], np.ndim(samples) - 1)
    reference = mean_distance(originals)
    return mean_distance(samples) / reference if reference else float("nan")
