"""Records what the package lpips computes with random weights: record_lpips.py DIR.

Runs as record.py does, by `make parity`. The package asks torchvision for VGG16: what stands in for
it here has the same layers, without the weights. DIR/lpips.safetensors then holds

    distance    of each of `random_vgg.pictures`
    pull        d sum(distance) / d x_hat
"""

import pathlib
import sys
import types

import numpy as np
import random_vgg
import torch
from safetensors.numpy import save_file

FILE = "lpips.safetensors"


def layers() -> torch.nn.Sequential:
    found, before = [], 3
    for widths in random_vgg.STAGES:
        for width in widths:
            found += [torch.nn.Conv2d(before, width, 3, padding=1), torch.nn.ReLU()]
            before = width
        found.append(torch.nn.MaxPool2d(2, 2))
    return torch.nn.Sequential(*found)


def stand_in() -> None:
    """Puts modules in torchvision's place."""
    models = types.ModuleType("torchvision.models")
    models.vgg16 = lambda pretrained: types.SimpleNamespace(features=layers())
    torchvision = types.ModuleType("torchvision")
    torchvision.models = models
    sys.modules |= {"torchvision": torchvision, "torchvision.models": models}


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def main(folder: str) -> None:
    torch.set_num_threads(1)
    stand_in()
    import lpips

    judge = lpips.LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False)
    judge.load_state_dict(tensors(random_vgg.heads()), strict=False)
    weights = {name.removeprefix("features."): v for name, v in random_vgg.backbone().items()}
    for part in judge.net.children():
        own = {name: weights[name] for name in part.state_dict()}
        part.load_state_dict(tensors(own))
    x, x_hat = (torch.from_numpy(a.transpose(0, 3, 1, 2).copy()) for a in random_vgg.pictures())
    distance = judge(x, x_hat.requires_grad_())
    (pull,) = torch.autograd.grad(distance.sum(), x_hat)
    assert not {"jax", "vqjax"} & set(sys.modules)
    path = pathlib.Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    values = {
        "distance": distance.detach().reshape(-1).numpy().copy(),
        "pull": np.ascontiguousarray(pull.numpy().transpose(0, 2, 3, 1)),
    }
    save_file(values, path / FILE)
    print(f"{path / FILE}: {values['distance']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
