"""Random runs, exported for diffusers, and what they compute; `check_exports.py` compares.

python -m tests.parity.write_exports DIR
"""

import pathlib
import sys

import numpy as np
import safetensors.numpy

import vqjax
from tests import tiny
from vqjax.cli.main import main
from vqjax.quantizers import EMAVectorQuantizer, Gaussian, VectorQuantizer
from vqjax.tasks import TokenizerTask
from vqjax.tokenizers import ConvDecoder, ConvEncoder, Tokenizer
from vqjax.training.loop import train

SIZES = {"width": 16, "multipliers": (1, 1), "attention_factors": (2,)}
QUANTIZERS = {
    "vq": VectorQuantizer(32, 6),
    "ema": EMAVectorQuantizer(32, 6),
    "gaussian": Gaussian(4),
}


def export(root, name, quantizer):
    dim = 4 if name == "gaussian" else 8
    network = Tokenizer(
        ConvEncoder(**SIZES, blocks=1, latent_dim=2 * dim if name == "gaussian" else dim),
        quantizer,
        ConvDecoder(**SIZES, blocks=2, latent_dim=dim, channels=1),
    )
    task = TokenizerTask(network, loss_weights={"l1": 1.0})
    train(tiny.vqvae(task=task), root / "runs" / name)
    run, folder = vqjax.load(root / "runs" / name), root / "exports" / name
    assert main(["export", run.path, "--format", "diffusers", "--out", str(folder)]) == 0
    x = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 1)).astype(np.float32)
    z = np.asarray(run.apply(run.params, x, method="latents"))
    z = np.ascontiguousarray(z[..., : quantizer.codebook_dim])  # the mean comes first
    arrays = {"x": x, "latents": z}
    if name == "gaussian":
        arrays["x_hat"] = np.asarray(run.apply(run.params, z, method="decode"))
    else:
        indices = run.apply(run.params, x, train=False, step=0, method="encode").quantized.indices
        arrays["indices"] = np.asarray(indices[0])
        arrays["x_hat"] = np.asarray(run.apply(run.params, indices, method="decode_indices"))
    safetensors.numpy.save_file(arrays, folder / "io.safetensors")


if __name__ == "__main__":
    for name, quantizer in QUANTIZERS.items():
        export(pathlib.Path(sys.argv[1]), name, quantizer)
