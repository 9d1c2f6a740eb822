"""What a device could do: the rate that a program's FLOPs are compared with."""

import time

import jax
import jax.numpy as jnp

# FLOP/s of one device, dense, from its maker's data sheet; float32 as JAX multiplies it by default.
PEAKS = {
    "NVIDIA A100-SXM4-40GB": {"bfloat16": 312e12, "float32": 156e12},
    "NVIDIA A100-SXM4-80GB": {"bfloat16": 312e12, "float32": 156e12},
    "NVIDIA H100 80GB HBM3": {"bfloat16": 989e12, "float32": 494e12},
    "TPU v4": {"bfloat16": 275e12, "float32": 275e12},
    "TPU v5 lite": {"bfloat16": 197e12, "float32": 197e12},
    "TPU v5p": {"bfloat16": 459e12, "float32": 459e12},
    "TPU v6 lite": {"bfloat16": 918e12, "float32": 918e12},
}
ROUNDS = 3


def peak_flops(device_kind: str, dtype: str) -> float | None:
    """FLOP/s that the makers of such a device name for products in `dtype`; None: not known."""
    return PEAKS.get(device_kind, {}).get(dtype)


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
