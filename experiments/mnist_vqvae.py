"""VQ-VAE on MNIST: 28x28 pictures as 49 tokens from 512 codes.

    vqjax prepare mnist
    vqjax train mnist_vqvae

2 CPU cores, 8 min 32 s from the command to the end; 10,000 test pictures: PSNR 26.53 dB,
SSIM 0.967, perplexity 375 of 512 (commit 00bfda1; pictures in docs/results.md).

Cost: 8.5 min.
"""

from vqjax.data import TFDS
from vqjax.losses import L2
from vqjax.ops.schedules import Cosine
from vqjax.quantizers import EMAVectorQuantizer
from vqjax.tasks import TokenizerTask
from vqjax.tokenizers import ConvDecoder, ConvEncoder, Tokenizer
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Adam

TINY = ("total_steps=2", "batch_size=8", "task.tokenizer.quantizer.codebook_size=16")


def experiment(width: int = 16, total_steps: int = 2_400) -> Experiment:
    sizes = {"width": width, "multipliers": (1, 2, 4), "blocks": 1, "mid_attention": False}
    return Experiment(
        task=TokenizerTask(
            tokenizer=Tokenizer(
                encoder=ConvEncoder(**sizes, latent_dim=64),
                quantizer=EMAVectorQuantizer(codebook_size=512, codebook_dim=16),
                decoder=ConvDecoder(**sizes, latent_dim=64, channels=1),
            ),
            losses=(L2(),),
            loss_weights={"l2": 1.0},
        ),
        data=TFDS("mnist"),
        optimizers={"tokenizer": Adam(Cosine(2e-3, steps=total_steps, warmup=50))},
        batch_size=32,
        eval_batch_size=100,
        eval_every=max(1, total_steps // 4),
        total_steps=total_steps,
    )
