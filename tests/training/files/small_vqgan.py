"""A VQGAN of a few thousand weights with augmentation, both players active."""

import numpy as np

from vqjax.data import Arrays, RandomCrop, RandomFlip
from vqjax.discriminators import PatchGAN
from vqjax.losses import L1
from vqjax.ops.schedules import Ramp
from vqjax.quantizers import EMAVectorQuantizer
from vqjax.tasks import TokenizerTask
from vqjax.tokenizers import ConvDecoder, ConvEncoder, Tokenizer
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Adam


def experiment(total_steps: int = 40) -> Experiment:
    images = np.random.default_rng(0).integers(0, 256, (80, 9, 9, 1), np.uint8)
    sizes = {"width": 4, "multipliers": (1, 1), "blocks": 1, "mid_attention": False}
    return Experiment(
        task=TokenizerTask(
            Tokenizer(
                encoder=ConvEncoder(**sizes, latent_dim=4),
                quantizer=EMAVectorQuantizer(codebook_size=16, codebook_dim=4),
                decoder=ConvDecoder(**sizes, latent_dim=4, channels=1),
            ),
            loss_weights={
                "l1": 1.0,
                "commitment": 0.25,
                "generator": Ramp(0.1, steps=20),
                "discriminator": 1.0,
            },
            losses=(L1(),),
            discriminator=PatchGAN(width=4, layers=1),
        ),
        data=Arrays({"image": images[:70]}, {"image": images[70:]}, (RandomCrop(8), RandomFlip())),
        optimizers={"tokenizer": Adam(1e-3), "discriminator": Adam(1e-3)},
        batch_size=8,
        total_steps=total_steps,
        ema_decay=0.99,
        log_every=1,
        save_every=5,
        eval_every=10,
    )
