"""Weights of VGG16 and of LPIPS's heads, drawn the same on every machine; needs numpy alone."""

import numpy as np

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def backbone() -> dict[str, np.ndarray]:
    """By torchvision's names and in its shapes; activations keep their size from layer to layer."""
    rng = np.random.RandomState(0)  # its stream is the same in every version of numpy
    arrays, place, before = {}, 0, 3
    for widths in STAGES:
        for width in widths:
            kernel = rng.standard_normal((width, before, 3, 3)) * np.sqrt(2.0 / (9 * before))
            arrays[f"features.{place}.weight"] = kernel.astype(np.float32)
            arrays[f"features.{place}.bias"] = (0.1 * rng.standard_normal(width)).astype(np.float32)
            place, before = place + 2, width
        place += 1
    return arrays


def heads() -> dict[str, np.ndarray]:
    """By the names and in the shapes of the package lpips; none below zero."""
    rng = np.random.RandomState(1)
    return {
        f"lin{i}.model.1.weight": rng.uniform(size=(1, widths[-1], 1, 1)).astype(np.float32)
        for i, widths in enumerate(STAGES)
    }


def pictures(size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Three pairs, float32 [3, size, size, 3] in [-1, 1]: alike, noisy, of nothing in common."""
    rng = np.random.RandomState(2)
    x = rng.uniform(-1.0, 1.0, (3, size, size, 3))
    noise = rng.uniform(-1.0, 1.0, x.shape)
    share = np.asarray((0.01, 0.2, 1.0)).reshape(3, 1, 1, 1)
    return x.astype(np.float32), ((1.0 - share) * x + share * noise).astype(np.float32)
