"""VQGAN on CIFAR-10: the tokens of `cifar10_vqvae.py`, and pictures as sharp as the originals.

vqjax prepare cifar10
vqjax train experiments/cifar10_vqgan.py
"""

from vqjax.data import TFDS, RandomFlip
from vqjax.discriminators import PatchGAN
from vqjax.losses import L1
from vqjax.ops.schedules import Cosine, Ramp
from vqjax.quantizers import EMAVectorQuantizer
from vqjax.tasks import TokenizerTask
from vqjax.tokenizers import ConvDecoder, ConvEncoder, Tokenizer
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Adam

TINY = ("total_steps=2", "batch_size=8", "task.tokenizer.quantizer.codebook_size=16")


def experiment(width: int = 16, total_steps: int = 2_400) -> Experiment:
    sizes = {"width": width, "multipliers": (1, 2, 4), "blocks": 1, "mid_attention": False}
    adversary_start = total_steps // 3
    return Experiment(
        task=TokenizerTask(
            tokenizer=Tokenizer(
                encoder=ConvEncoder(**sizes, latent_dim=64),
                quantizer=EMAVectorQuantizer(codebook_size=1_024, codebook_dim=16),
                decoder=ConvDecoder(**sizes, latent_dim=64, channels=3),
            ),
            discriminator=PatchGAN(width=32, layers=2),
            losses=(L1(),),
            loss_weights={
                "l1": 1.0,
                "generator": Ramp(0.8, start=adversary_start, steps=total_steps // 10),
                "discriminator": 1.0,
            },
        ),
        data=TFDS("cifar10", augment=(RandomFlip(),)),
        optimizers={
            "tokenizer": Adam(Cosine(2e-3, steps=total_steps, warmup=50)),
            "discriminator": Adam(5e-4, b1=0.5, start=adversary_start),
        },
        batch_size=32,
        eval_batch_size=200,
        eval_every=total_steps // 4,
        total_steps=total_steps,
    )
