"""VQ-VAE on CIFAR-10: 32x32 pictures as 64 tokens from 1,024 codes.

    vqjax prepare cifar10
    vqjax train cifar10_vqvae

2 CPU cores, 15 min 2 s from the command to the end, the tests of another change beside it for some
minutes; 10,000 test pictures, which had been recompressed as JPEG: PSNR 24.47 dB, SSIM 0.826,
high-frequency ratio 0.13, perplexity 914 of 1,024 (commit 4dfcebf; pictures in docs/results.md).

Cost: 15 min.
"""

from vqjax.data import TFDS, RandomFlip
from vqjax.losses import L2
from vqjax.ops.schedules import Cosine
from vqjax.quantizers import EMAVectorQuantizer
from vqjax.tasks import TokenizerTask
from vqjax.tokenizers import ConvDecoder, ConvEncoder, Tokenizer
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Adam

TINY = ("total_steps=2", "batch_size=8", "task.tokenizer.quantizer.codebook_size=16")


def experiment(width: int = 16, total_steps: int = 4_000) -> Experiment:
    sizes = {"width": width, "multipliers": (1, 2, 4), "blocks": 1, "mid_attention": False}
    return Experiment(
        task=TokenizerTask(
            tokenizer=Tokenizer(
                encoder=ConvEncoder(**sizes, latent_dim=64),
                quantizer=EMAVectorQuantizer(codebook_size=1_024, codebook_dim=16),
                decoder=ConvDecoder(**sizes, latent_dim=64, channels=3),
            ),
            losses=(L2(),),
            loss_weights={"l2": 1.0},
        ),
        data=TFDS("cifar10", augment=(RandomFlip(),)),
        optimizers={"tokenizer": Adam(Cosine(2e-3, steps=total_steps, warmup=50))},
        batch_size=32,
        eval_batch_size=200,
        eval_every=max(1, total_steps // 4),
        total_steps=total_steps,
    )
