"""A GAN of scanned digits by class, of a few thousand weights, with codes of features."""

from vqjax.data import Digits
from vqjax.discriminators import ResidualDiscriminator
from vqjax.generators import ResidualGenerator
from vqjax.ops.diff_augment import DiffAugment
from vqjax.priors import ClassLabel
from vqjax.quantizers import EMAVectorQuantizer
from vqjax.tasks import GANTask
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Adam


def experiment() -> Experiment:
    weights = ("generator", "discriminator", "r1", "r2", "commitment")
    return Experiment(
        task=GANTask(
            ResidualGenerator((8, 4), latents=4, condition=ClassLabel(10, dropout=0.0)),
            ResidualDiscriminator(
                (4, 8),
                condition=ClassLabel(10, dropout=0.0),
                quantizer=EMAVectorQuantizer(16, 8),
            ),
            loss_weights=dict.fromkeys(weights, 0.5),
            augment=DiffAugment(),
        ),
        data=Digits(),
        optimizers={player: Adam(1e-3, b1=0.0) for player in ("discriminator", "generator")},
        batch_size=8,
        eval_batch_size=50,
        total_steps=40,
        log_every=1,
        save_every=5,
        eval_every=10,
        ema_decay=0.9,
    )
