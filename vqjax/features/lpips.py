"""LPIPS, a distance between pictures by the features of VGG16 (arXiv 1801.03924, eq. 1)."""

import os

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.features import vgg
from vqjax.features.weights import read_exactly
from vqjax.ops.numerics import at_least_float32
from vqjax.types import DataError, Tree

# Mean and deviation of ImageNet's channels in [-1, 1], as the published heads were trained with.
SHIFT = np.asarray((-0.030, -0.088, -0.188), np.float32).reshape(1, 1, 1, 3)
SCALE = np.asarray((0.458, 0.448, 0.450), np.float32).reshape(1, 1, 1, 3)
EPSILON = 1e-10
SOURCE = "get weights/v0.1/vgg.pth out of the PyPI package lpips (`pip download --no-deps lpips`)"


def _torch_shapes() -> dict[str, tuple[int, ...]]:
    return {f"lin{i}.model.1.weight": (1, n, 1, 1) for i, n in enumerate(vgg.CHANNELS)}


def shapes() -> Tree:
    """Shapes of the params of `distance`; no file is read."""
    heads = [jax.ShapeDtypeStruct((n,), jnp.float32) for n in vgg.CHANNELS]
    return {"backbone": vgg.shapes(), "heads": heads}


def read(backbone: str | os.PathLike, heads: str | os.PathLike) -> Tree:
    """The params of `distance`, out of torchvision's VGG16 and the heads of the package lpips.

    Raises:
        DataError: see `read_exactly`; or heads with a weight below zero.
    """
    arrays = read_exactly(heads, _torch_shapes())
    for name, weights in arrays.items():
        if weights.min() < 0.0:
            raise DataError(f"{heads}: {name} has weights below zero, which no distance has")
    return {
        "backbone": vgg.from_torch(read_exactly(backbone, vgg.torch_shapes())),
        "heads": [arrays[name].reshape(-1) for name in _torch_shapes()],  # [1, C, 1, 1] -> [C]
    }


def distance(params: Tree, x: jax.Array, x_hat: jax.Array, dtype: str | None = None) -> jax.Array:
    """The distance of each pair, float[B]: zero for equal pictures.

    sum over taps of mean over H, W of sum over C of head (f(x) / |f(x)| - f(x_hat) / |f(x_hat)|)^2.
    The gradient goes to `x_hat` alone.

    Args:
        params: see `shapes`.
        x, x_hat: [B, H, W, 3] in [-1, 1], at least `vgg.SMALLEST` along both axes.
        dtype: of the network's layers; None: at least float32, as all behind them is.
    """
    originals = _features(params["backbone"], jax.lax.stop_gradient(x), dtype)
    copies = _features(params["backbone"], x_hat, dtype)  # five [B, H >> i, W >> i, C]
    total = jnp.zeros(len(x), at_least_float32(x_hat).dtype)  # [B]
    for head, original, copy in zip(params["heads"], originals, copies, strict=True):
        difference = jnp.square(_unit(jax.lax.stop_gradient(original)) - _unit(copy))
        weighted = head[None] * jnp.mean(difference, axis=(1, 2))  # [B, C]
        total += jnp.sum(weighted, axis=-1)  # [B]; eq. 1
    return total


def _features(params: Tree, x: jax.Array, dtype: str | None) -> list[jax.Array]:
    x = (at_least_float32(x) - SHIFT) / SCALE
    return vgg.taps(params, x if dtype is None else x.astype(dtype))


def _unit(x: jax.Array) -> jax.Array:
    """x [..., C] / (|x| + epsilon); where |x| is 0 the root has no gradient, and gets zero."""
    x = at_least_float32(x)
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)  # [..., 1]
    return x / (jnp.sqrt(jnp.maximum(square, EPSILON**2)) + EPSILON)
