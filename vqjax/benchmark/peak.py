"""What a device could do: the rate that a program's FLOPs are compared with."""

import time

import jax
import jax.numpy as jnp

from vqjax.hardware.chips import chip_of

ROUNDS = 3


def peak_flops(device_kind: str, dtype: str) -> float | None:
    """Published FLOP/s of such a device for products in `dtype`; None: not known.

    A device at hand is a whole chip, v4 TPUs too: they are two each only ahead of time.
    """
    chip = chip_of(device_kind)
    return chip.peak["float32 exact" if dtype == "float64" else dtype] if chip else None


def product_size(platform: str) -> int:
    """Rows and columns of the matrices whose product is timed where no peak is known."""
    return 2048 if platform == "cpu" else 8192


def product_flops(device: jax.Device, dtype: str) -> float:
    """FLOP/s that the product of two large square matrices in `dtype` reaches, best of 3."""
    size = product_size(device.platform)
    a = jax.device_put(jnp.full((size, size), 0.5, dtype), device)
    multiply = jax.jit(lambda a: a @ a)
    multiply(a).block_until_ready()
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        multiply(a).block_until_ready()
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / min(seconds)
