"""What is exported is the same network when it comes back; `make parity` opens it by diffusers."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy

import vqjax
from tests import tiny
from vqjax.cli.main import main
from vqjax.convert.exporting import as_diffusers
from vqjax.convert.reading import read
from vqjax.data import Digits
from vqjax.files import is_ours
from vqjax.quantizers import FSQ, EMAVectorQuantizer, Gaussian, VectorQuantizer
from vqjax.tasks import TokenizerTask
from vqjax.tokenizers import ConvDecoder, ConvEncoder, Tokenizer
from vqjax.types import UsageError

SIZES = {"width": 16, "multipliers": (1, 1), "attention_factors": (2,)}


def tokenizer(quantizer, dim=8, **changes):
    encoder = ConvEncoder(**SIZES, blocks=1, latent_dim=2 * dim if dim == 4 else dim)
    decoder = ConvDecoder(**SIZES, blocks=2, latent_dim=dim, channels=1)
    return Tokenizer(encoder.clone(**changes), quantizer, decoder)


def run_of(make_run, network, name):
    task = TokenizerTask(network, loss_weights={"l1": 1.0})
    return vqjax.load(make_run(tiny.vqvae(task=task, data=Digits()), name=name))


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(tokenizer(VectorQuantizer(32, 6)), marks=pytest.mark.slow),
        tokenizer(EMAVectorQuantizer(32, 6)),
        pytest.param(tokenizer(Gaussian(4), dim=4), marks=pytest.mark.slow),
    ],
    ids=["vq", "ema", "gaussian"],
)
def test_it_comes_back_as_it_was(network, make_run, tmp_path, capsys):
    run = run_of(make_run, network, type(network.quantizer).__name__)
    out = tmp_path / "out"
    command = ["export", run.path, "--format", "diffusers", "--out", str(out)]
    assert main(command) == 0 and main(command) == 0  # its own files are replaced
    assert "from_pretrained" in capsys.readouterr().out
    config = json.loads((out / "config.json").read_text())
    assert is_ours(out / "config.json") and config["block_out_channels"] == [16, 16]
    assert config["down_block_types"] == ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"]
    assert config["up_block_types"] == ["AttnUpDecoderBlock2D", "UpDecoderBlock2D"]
    back = read(out)
    x = np.linspace(-1, 1, 2 * 64, dtype=np.float32).reshape(2, 8, 8, 1)
    z = run.apply(run.params, x, method="latents")
    np.testing.assert_allclose(
        back.tokenizer.apply({"params": back.params}, x, method="latents"), z, atol=1e-6
    )
    z_q = np.asarray(z)[..., : back.tokenizer.quantizer.codebook_dim]
    x_hat = run.apply(run.params, z_q, method="decode")
    again = back.tokenizer.apply({"params": back.params}, z_q, method="decode")
    np.testing.assert_allclose(again, x_hat, atol=1e-6)
    if config["_class_name"] == "VQModel":
        codes = run.apply(run.params, method=lambda m: m.quantizer.codebook())
        np.testing.assert_array_equal(back.params["quantizer"]["codes"], codes)


@pytest.mark.parametrize(
    ("network", "line"),
    [
        (tokenizer(FSQ((5, 5))), "it has no FSQ"),
        (tokenizer(VectorQuantizer(32, 6), activation="relu"), "encoder.activation is relu"),
        (tokenizer(VectorQuantizer(32, 6), blocks=2), "decoder.blocks is 2, wanted 3"),
        (tiny.dense(), "no tokenizer with a ConvEncoder"),
    ],
)
def test_what_diffusers_does_not_have_is_refused(network, line, make_run, tmp_path, capsys):
    run = run_of(make_run, network, line.split()[-1])
    with pytest.raises(UsageError, match=line):
        as_diffusers(run)
    out = tmp_path / "out"
    assert main(["export", run.path, "--format", "diffusers", "--out", str(out)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1 and not out.exists()


def test_all_arrays_by_our_names(make_run, tmp_path, capsys):
    run = run_of(make_run, tokenizer(VectorQuantizer(32, 6)), "VectorQuantizer")
    out = tmp_path / "a.safetensors"
    assert main(["export", run.path, "--format", "safetensors", "--out", str(out)]) == 0
    arrays = safetensors.numpy.load_file(out)
    count = len(jax.tree.leaves(run.params))
    assert sum(name.startswith("params/") for name in arrays) == count
    out.write_bytes(b"mine")
    assert main(["export", run.path, "--format", "safetensors", "--out", str(out)]) == 2
    assert out.read_bytes() == b"mine"
