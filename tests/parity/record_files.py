"""Records one dict of tensors in both of torch's formats, and as safetensors: record_files.py DIR.

Runs as record.py does, by `make parity`. The tensors are of all kinds that weights come in: halves,
no axes, none in them, views with strides, two views of one storage, parameters, a module's state.
"""

import pathlib
import sys

import torch
from safetensors.torch import save_file


def tensors() -> dict[str, torch.Tensor]:
    whole = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3))
    return {
        "whole": whole,
        "part": whole[1:3, ::2],
        "turned": whole.t(),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "empty": torch.zeros(0, 3),
        "half": torch.tensor([1.5, -2.0], dtype=torch.float16),
        "bfloat16": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "counts": torch.tensor([1, -(2**40)]),
        "flags": torch.tensor([True, False]),
        "parameter": torch.nn.Parameter(torch.tensor([0.25])),
        "module": module.state_dict(),
    }


def main(folder: str) -> None:
    torch.manual_seed(0)
    path = pathlib.Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    found = tensors()
    torch.save({"state_dict": found, "epoch": 3}, path / "tensors.pt")
    torch.save(found, path / "tensors.pth", _use_new_zipfile_serialization=False)
    flat = {k: v for k, v in found.items() if k != "module"}
    flat |= {f"module.{k}": v for k, v in found["module"].items()}
    flat = {k: v.detach().contiguous().clone() for k, v in flat.items()}
    save_file(flat, path / "tensors.safetensors")
    print(f"{path}: {len(flat)} tensors in three formats")


if __name__ == "__main__":
    main(*sys.argv[1:])
