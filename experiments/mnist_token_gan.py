"""A GAN through a codebook: noise to the codes of `mnist_vqvae.py`, whose decoder draws the digit.

    vqjax prepare mnist
    vqjax train mnist_vqvae
    vqjax train mnist_token_gan
    vqjax train mnist_token_gan --arg through=soft --workdir runs/mnist_token_gan_soft
    vqjax train mnist_token_gan --arg through=none --workdir runs/mnist_token_gan_none
    vqjax sample runs/mnist_token_gan --classes 3,7 --out out

Nobody has published a generator that is trained through a quantizer by its adversary alone: an
experiment, reported as what it is. `through` says how the gradient passes: "straight", the nearest
code takes it as its own; "soft", means of codes in training; "none", latents that are not quantized
are the control. The discriminator is that of `mnist_gan.py`. Not measured yet; the time is an
estimate.

Cost: 15 min.
"""

from vqjax.config import FrozenRun
from vqjax.data import TFDS
from vqjax.discriminators import ResidualDiscriminator
from vqjax.generators import ResidualGenerator
from vqjax.ops.schedules import Cosine
from vqjax.priors import ClassLabel
from vqjax.tasks import TokenGANTask
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Adam

TINY = ("total_steps=2", "batch_size=8", "task.generator.latents=4")


def experiment(
    tokenizer: str = "runs/mnist_vqvae",
    through: str = "straight",
    gamma: float = 1.0,
    total_steps: int = 3_500,
) -> Experiment:
    import mnist_vqvae  # the file beside this one

    rate = Cosine(5e-4, steps=total_steps, warmup=100)
    return Experiment(
        task=TokenGANTask(
            generator=ResidualGenerator((128,), blocks=3, condition=ClassLabel(10, dropout=0.0)),
            discriminator=ResidualDiscriminator(
                (16, 32, 64), condition=ClassLabel(10, dropout=0.0)
            ),
            loss_weights={
                "generator": 1.0,
                "discriminator": 1.0,
                "r1": gamma / 2,
                "r2": gamma / 2,
            },  # fmt: skip
            tokenizer=FrozenRun(
                tokenizer,
                experiment=mnist_vqvae.experiment(),
                command="vqjax train mnist_vqvae",
            ),
            through=through,
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
