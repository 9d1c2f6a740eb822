"""A diffusion transformer over the latents of `cifar10_vqvae.py`, class-conditional.

    vqjax prepare cifar10
    vqjax train cifar10_vqvae
    vqjax train cifar10_latent_dit
    vqjax sample runs/cifar10_latent_dit --classes 1,8 --guidance 2 --out out

What it makes is quantized and decoded. 18 minutes on one core, other work on the other one;
pictures recompressed as JPEG. Of 1,000 samples the judge takes 20.0 % for their class, at a Fréchet
distance of 15.7; with guidance 3 50.6 %, at 10.9; of the tokenizer's reconstructions 50.4 %, at
8.2: blots in the colours of a class (commit 43e3a7d; docs/generators.md). Another tokenizer: `--arg
tokenizer=RUN`.

Cost: 18 min, busy.
"""

from vqjax.config import FrozenRun
from vqjax.data import TFDS, RandomFlip
from vqjax.denoisers import RotaryDiT
from vqjax.ops.schedules import Cosine
from vqjax.priors import ClassLabel
from vqjax.sampling import DPMSolver
from vqjax.tasks import DiffusionTask
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Muon

TINY = ("total_steps=2", "batch_size=8", "task.denoiser.width=16", "task.denoiser.layers=1")


def experiment(
    tokenizer: str = "runs/cifar10_vqvae",
    width: int = 128,
    layers: int = 6,
    total_steps: int = 3_300,
) -> Experiment:
    import cifar10_vqvae  # the file beside this one

    return Experiment(
        task=DiffusionTask(
            RotaryDiT(width=width, layers=layers, heads=4, condition=ClassLabel(10)),
            solver=DPMSolver(20),
            tokenizer=FrozenRun(
                tokenizer,
                experiment=cifar10_vqvae.experiment(),
                command="vqjax train cifar10_vqvae",
            ),
        ),
        data=TFDS("cifar10", augment=(RandomFlip(),)),
        optimizers={
            "denoiser": Muon(
                Cosine(3e-3, steps=total_steps, warmup=100), weight_decay=0.0, clip=1.0
            )
        },
        batch_size=32,
        eval_batch_size=200,
        eval_every=max(1, total_steps // 4),
        ema_decay=0.999,
        total_steps=total_steps,
    )
