"""VQ-VAE-2 on CIFAR-10: 32x32 pictures as a grid of 4 x 4 codes and one of 8 x 8.

    vqjax prepare cifar10
    vqjax train cifar10_vqvae2
    vqjax train cifar10_vqvae2 --arg codes=1024 --workdir runs/cifar10_vqvae2_1024

arXiv 1906.00446. With 256 codes 640 bits, as many as `cifar10_vqvae.py` takes for one grid of 8 x 8
from 1,024; with 1,024 codes 800 bits. Not measured yet; the time is an estimate.

Cost: 20 min.
"""

from vqjax.data import TFDS, RandomFlip
from vqjax.losses import L2
from vqjax.ops.schedules import Cosine
from vqjax.quantizers import EMAVectorQuantizer, Hierarchical
from vqjax.tasks import TokenizerTask
from vqjax.tokenizers import ConvDecoder, ConvEncoder, Tokenizer
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Adam

TINY = ("total_steps=2", "batch_size=8", "task.tokenizer.quantizer.template.codebook_size=16")


def experiment(width: int = 16, codes: int = 256, total_steps: int = 4_000) -> Experiment:
    sizes = {"width": width, "multipliers": (1, 2, 4), "blocks": 1, "mid_attention": False}
    template = EMAVectorQuantizer(codebook_size=codes, codebook_dim=16)
    return Experiment(
        task=TokenizerTask(
            tokenizer=Tokenizer(
                encoder=ConvEncoder(**sizes, latent_dim=64),
                quantizer=Hierarchical(template, levels=2, width=64),
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
