"""A GAN on CIFAR-10 out of noise, class-conditional: the networks of `mnist_gan.py`, augmented.

    vqjax prepare cifar10
    vqjax train cifar10_gan
    vqjax sample runs/cifar10_gan --classes 1,8 --out out

Both players see shifted, recoloured pictures with a window cut out (arXiv 2006.10738). Judge:
`cifar10_classifier.py`. Not measured yet; the time is an estimate.

Cost: 20 min.
"""

from vqjax.data import TFDS, RandomFlip
from vqjax.discriminators import ResidualDiscriminator
from vqjax.generators import ResidualGenerator
from vqjax.ops.diff_augment import DiffAugment
from vqjax.ops.schedules import Cosine
from vqjax.priors import ClassLabel
from vqjax.tasks import GANTask
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Adam

TINY = ("total_steps=2", "batch_size=8", "task.generator.latents=4")


def experiment(gamma: float = 0.1, total_steps: int = 6_000) -> Experiment:
    rate = Cosine(5e-4, steps=total_steps, warmup=100)
    return Experiment(
        task=GANTask(
            generator=ResidualGenerator((96, 64, 32, 16), condition=ClassLabel(10, dropout=0.0)),
            discriminator=ResidualDiscriminator(
                (16, 32, 64, 96), condition=ClassLabel(10, dropout=0.0)
            ),
            loss_weights={
                "generator": 1.0,
                "discriminator": 1.0,
                "r1": gamma / 2,
                "r2": gamma / 2,
            },  # fmt: skip
            augment=DiffAugment(),
        ),
        data=TFDS("cifar10", augment=(RandomFlip(),)),
        optimizers={
            player: Adam(rate, b1=0.0, b2=0.99) for player in ("discriminator", "generator")
        },
        batch_size=32,
        eval_batch_size=200,
        eval_every=max(1, total_steps // 4),
        ema_decay=0.999,
        total_steps=total_steps,
    )
