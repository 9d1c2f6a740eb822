"""The convolutions of VGG16 (arXiv 1409.1556, table 1, D), as a function of their weights."""

from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax.types import Tree

# Channels of the convolutions between one pooling and the next.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
CHANNELS = tuple(stage[-1] for stage in STAGES)  # of what `taps` returns
SMALLEST = 2 ** (len(STAGES) - 1)  # pixels along each axis, or pooling leaves nothing
SOURCE = "get https://download.pytorch.org/models/vgg16-397923af.pth (torchvision's VGG16)"


def _layers() -> Iterator[tuple[str, str, int, int]]:
    """Of every convolution: its name here, its name in torchvision's file, channels in and out."""
    index, before = 0, 3
    for stage, widths in enumerate(STAGES, start=1):
        for number, width in enumerate(widths, start=1):
            yield f"conv_{stage}_{number}", f"features.{index}", before, width
            index, before = index + 2, width  # a ReLU behind each
        index += 1  # the pooling


def torch_shapes() -> dict[str, tuple[int, ...]]:
    """{name in torchvision's file: shape there}; its classifier is not used."""
    result = {}
    for _, torch_name, before, width in _layers():
        result[f"{torch_name}.weight"] = (width, before, 3, 3)
        result[f"{torch_name}.bias"] = (width,)
    return result


def from_torch(arrays: Mapping[str, np.ndarray]) -> Tree:
    """The arrays of `torch_shapes` -> the params of `taps`: kernels [C_out, C_in, 3, 3] become
    [3, 3, C_in, C_out].
    """
    return {
        name: {
            "kernel": np.ascontiguousarray(arrays[f"{torch_name}.weight"].transpose(2, 3, 1, 0)),
            "bias": arrays[f"{torch_name}.bias"],
        }
        for name, torch_name, _, _ in _layers()
    }


def shapes() -> Tree:
    """Shapes of the params of `taps`; no file is read."""
    return {
        name: {
            "kernel": jax.ShapeDtypeStruct((3, 3, before, width), jnp.float32),
            "bias": jax.ShapeDtypeStruct((width,), jnp.float32),
        }
        for name, _, before, width in _layers()
    }


def taps(params: Tree, x: jax.Array) -> list[jax.Array]:
    """The activations before each pooling: after relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3.

    Args:
        params: see `shapes`; cast to the dtype of x.
        x: [B, H, W, 3], at least `SMALLEST` along both axes.

    Returns:
        Five arrays [B, H >> i, W >> i, CHANNELS[i]], of the dtype of x.
    """
    outputs = []
    for stage, widths in enumerate(STAGES, start=1):
        if outputs:
            x = nn.max_pool(x, (2, 2), (2, 2))  # [B, H >> i, W >> i, C]
        for number in range(1, len(widths) + 1):
            layer = params[f"conv_{stage}_{number}"]
            x = jax.lax.conv_general_dilated(
                x,
                layer["kernel"].astype(x.dtype),
                window_strides=(1, 1),
                padding=((1, 1), (1, 1)),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
            x = nn.relu(x + layer["bias"].astype(x.dtype).reshape(1, 1, 1, -1))
        outputs.append(x)  # [B, H >> i, W >> i, CHANNELS[i]]
    return outputs
