"""A GAN on MNIST out of noise, class-conditional: relativistic losses with both penalties.

    vqjax prepare mnist
    vqjax train mnist_gan
    vqjax sample runs/mnist_gan --classes 3,7 --out out

arXiv 2501.05441, small: full convolutions instead of grouped ones. A sample is one pass of the
generator. `--arg codes=256`: the discriminator's coarsest features become the nearest of as many
codes (arXiv 2004.02088). Not measured yet; the time is an estimate.

Cost: 15 min.
"""

from vqjax.data import TFDS
from vqjax.discriminators import ResidualDiscriminator
from vqjax.generators import ResidualGenerator
from vqjax.ops.schedules import Cosine
from vqjax.priors import ClassLabel
from vqjax.quantizers import EMAVectorQuantizer
from vqjax.tasks import GANTask
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Adam

TINY = ("total_steps=2", "batch_size=8", "task.generator.latents=4")


def experiment(gamma: float = 1.0, codes: int = 0, total_steps: int = 6_000) -> Experiment:
    rate = Cosine(5e-4, steps=total_steps, warmup=100)
    quantizer = EMAVectorQuantizer(codes, 64) if codes else None
    commitment = {"commitment": 1.0} if codes else {}
    return Experiment(
        task=GANTask(
            generator=ResidualGenerator((64, 32, 16), condition=ClassLabel(10, dropout=0.0)),
            discriminator=ResidualDiscriminator(
                (16, 32, 64), condition=ClassLabel(10, dropout=0.0), quantizer=quantizer
            ),
            loss_weights={
                "generator": 1.0,
                "discriminator": 1.0,
                "r1": gamma / 2,
                "r2": gamma / 2,
                **commitment,
            },
        ),
        data=TFDS("mnist"),
        optimizers={
            player: Adam(rate, b1=0.0, b2=0.99) for player in ("discriminator", "generator")
        },
        batch_size=32,
        eval_batch_size=200,
        eval_every=max(1, total_steps // 4),
        ema_decay=0.999,
        total_steps=total_steps,
    )
