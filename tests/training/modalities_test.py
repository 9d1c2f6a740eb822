"""No modality is built in: a 1-D signal and a 3-D clip go every way that a picture goes."""

import jax
import numpy as np
import pytest

import vqjax
from tests import tiny
from vqjax.data import Arrays
from vqjax.evaluation.reconstruction import ReconstructionEvaluator
from vqjax.losses import L1
from vqjax.quantizers import EMAVectorQuantizer
from vqjax.tasks import TokenizerTask
from vqjax.tokenizers import ConvDecoder, ConvEncoder, Tokenizer
from vqjax.training.logbook import read_metrics
from vqjax.training.loop import train


def signals() -> Arrays:
    t = np.linspace(0, 6, 16, dtype=np.float32)[None, :, None]
    phase = np.random.default_rng(0).uniform(0, 6, (40, 1, 1)).astype(np.float32)
    x = (0.8 * np.sin(t + phase)).astype(np.float32)  # [N, T, 1]
    return Arrays({"signal": x[:32]}, {"signal": x[32:]})


def clips() -> Arrays:
    return tiny.arrays((4, 8, 8, 1), train=32, held_out=8, name="clip")  # [N, T, H, W, 1]


def tokenizer(name, data, steps):
    sizes = {"width": 4, "multipliers": (1, 1), "blocks": 1, "mid_attention": False}
    task = TokenizerTask(
        Tokenizer(
            encoder=ConvEncoder(**sizes, latent_dim=4),
            quantizer=EMAVectorQuantizer(codebook_size=16, codebook_dim=4),
            decoder=ConvDecoder(**sizes, latent_dim=4, channels=1),
        ),
        losses=(L1(),),
        loss_weights={"l1": 1.0, "commitment": 0.25},
        inputs=name,
    )
    return tiny.vqvae(task=task, data=data, total_steps=steps, save_every=2, eval_every=4)


@pytest.mark.parametrize(
    ("name", "data", "grid"),
    [
        pytest.param("signal", signals(), (8,), marks=pytest.mark.slow),
        pytest.param("clip", clips(), (2, 4, 4), marks=pytest.mark.slow),
    ],
)
def test_trains_resumes_and_is_used(tmp_path, one_device, name, data, grid):
    settings = {"make_evaluator": ReconstructionEvaluator, "devices": one_device}
    experiment = tokenizer(name, data, 4)
    lines = []
    for _ in range(2):
        train(experiment, tmp_path, **settings)
        lines.append([line for line in read_metrics(tmp_path) if line["kind"] != "time"])
        (tmp_path / "checkpoints" / "4" / "seal.json").rename(tmp_path / "seal.json")
    (tmp_path / "seal.json").rename(tmp_path / "checkpoints" / "4" / "seal.json")
    assert lines[0] == lines[1] and len(lines[0]) == 5
    evaluated = lines[0][-1]
    assert evaluated["kind"] == "eval" and evaluated["psnr"] > 0 and evaluated["perplexity"] >= 1
    assert "ssim" not in evaluated  # a metric of pictures

    run = vqjax.load(tmp_path)
    x = data.eval_arrays[name]
    tokens = run.encode(x)
    assert tokens.shape == (len(x), *grid) and tokens.dtype == np.int32
    x_hat = run.decode(tokens)
    assert x_hat.shape == x.shape and x_hat.dtype == x.dtype
    np.testing.assert_array_equal(run.reconstruct(x), x_hat)
    error = np.mean((x_hat.astype(np.float64) - x) ** 2)
    scale = 255.0 if x.dtype == np.uint8 else 2.0
    by_hand = 10 * np.log10(scale**2 / error)
    assert by_hand == pytest.approx(evaluated["psnr"], abs=0.05)  # rounding to uint8
    assert jax.tree.leaves(run.token_layout())[0].grid == grid
