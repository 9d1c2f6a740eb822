"""Improved precision and recall of samples (arXiv 1904.06991).

A set of features stands for the union of balls around each of them that reach its k-th nearest
neighbour in the set. Precision is the share of samples inside that of real examples: how many are
plausible. Recall is the share of real examples inside that of samples: how much is covered.
"""

import chex
import numpy as np

NEIGHBOURS = 3  # k of the paper
BLOCK = 1_000  # rows of distances at a time


def precision_recall(
    samples: np.ndarray, real: np.ndarray, k: int = NEIGHBOURS
) -> dict[str, float]:
    """`precision` and `recall`, 0 to 1 (arXiv 1904.06991, eq. 2).

    Both depend on the numbers of examples, which should be equal. Distances are worked out in
    float64, block by block.

    Args:
        samples: float[N, D], features; N > k.
        real: float[M, D]; M > k.
        k: the neighbour that a ball reaches.

    Raises:
        ValueError: too few examples for a k-th neighbour.
    """
    chex.assert_rank([samples, real], 2)
    chex.assert_equal_shape_suffix([samples, real], 1)
    if k < 1 or min(len(samples), len(real)) <= k:
        raise ValueError(f"{len(samples)} and {len(real)} examples, {k=}: more than k are needed")
    samples, real = (np.asarray(a, np.float64) for a in (samples, real))
    return {
        "precision": float(_inside(samples, real, _reach(real, k)).mean()),
        "recall": float(_inside(real, samples, _reach(samples, k)).mean()),
    }


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances [N, M] between the rows of a [N, D] and b [M, D]."""
    norms = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)  # [N, M]
    return np.maximum(norms - 2.0 * a @ b.T, 0.0)


def _reach(a: np.ndarray, k: int) -> np.ndarray:
    """The squared distance of each row of a [N, D] to its k-th nearest other one, [N]."""
    blocks = (a[i : i + BLOCK] for i in range(0, len(a), BLOCK))
    # The nearest of all is the row itself.
    return np.concatenate([np.partition(_squares(part, a), k, axis=1)[:, k] for part in blocks])


def _inside(a: np.ndarray, centres: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Whether each row of a [N, D] lies in a ball of squared radius `reach` [M], bool[N]."""
    blocks = (a[i : i + BLOCK] for i in range(0, len(a), BLOCK))
    return np.concatenate([(_squares(part, centres) <= reach).any(axis=1) for part in blocks])
