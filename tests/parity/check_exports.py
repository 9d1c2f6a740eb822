"""Opens by diffusers what `write_exports.py` made; ends with 1 where it computes something else.

.venv-parity/bin/python tests/parity/check_exports.py DIR
"""

import pathlib
import sys

import safetensors.torch
import torch
from diffusers import AutoencoderKL, VQModel

CLOSE = 1e-5  # of the largest number


def difference(found, expected):
    """The largest difference, in shares of the largest number expected."""
    expected = expected.permute(0, 3, 1, 2)
    assert found.shape == expected.shape, (found.shape, expected.shape)
    return ((found - expected).abs().max() / expected.abs().max()).item()


@torch.no_grad()
def check(folder):
    io = safetensors.torch.load_file(folder / "io.safetensors")
    x = io["x"].permute(0, 3, 1, 2)
    if "indices" in io:
        model = VQModel.from_pretrained(folder)
        latents = model.encode(x).latents
        indices = model.quantize(latents)[2][2].reshape(io["indices"].shape)
        assert torch.equal(indices, io["indices"].long()), f"{folder}: other indices"
        x_hat = model.decode(latents).sample
    else:
        model = AutoencoderKL.from_pretrained(folder)
        latents = model.encode(x).latent_dist.mean
        x_hat = model.decode(latents).sample
    found = difference(latents, io["latents"]), difference(x_hat, io["x_hat"])
    print(f"{folder.name}: latents differ by {found[0]:.1e}, pictures by {found[1]:.1e}")
    return max(found) <= CLOSE


if __name__ == "__main__":
    folders = sorted((pathlib.Path(sys.argv[1]) / "exports").iterdir())
    results = [check(folder) for folder in folders]  # all of them, also after a failure
    sys.exit(not all(results))
