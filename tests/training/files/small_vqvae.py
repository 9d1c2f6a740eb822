"""A VQ-VAE of a thousand weights; by `--arg poison=true` gradients overflow from step 3 on."""

import numpy as np

from vqjax.data import Arrays
from vqjax.losses import L2
from vqjax.ops.schedules import Ramp
from vqjax.quantizers import VectorQuantizer
from vqjax.tasks import TokenizerTask
from vqjax.tokenizers import MLPDecoder, MLPEncoder, Tokenizer
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Adam


def experiment(poison: bool = False) -> Experiment:
    images = np.random.default_rng(0).uniform(-1, 1, (64, 8, 8, 1)).astype(np.float32)
    l2 = Ramp(3e38, start=3) if poison else 1.0
    return Experiment(
        task=TokenizerTask(
            Tokenizer(
                encoder=MLPEncoder((8, 8), (8, 4)),
                quantizer=VectorQuantizer(codebook_size=16, codebook_dim=4),
                decoder=MLPDecoder((8, 8), (8,), channels=1),
            ),
            loss_weights={"l2": l2, "commitment": 0.25, "codebook": 1.0},
            losses=(L2(),),
        ),
        data=Arrays({"image": images}, {"image": images[:16]}),
        optimizers={"tokenizer": Adam(1e-3)},
        batch_size=8,
        total_steps=6,
        max_nonfinite=3,
        log_every=1,
        save_every=2,
        eval_every=6,
    )
