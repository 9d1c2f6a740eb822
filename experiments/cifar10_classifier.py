"""The judge of CIFAR-10 samples: a classifier whose 64 features span the space of their distances.

    vqjax prepare cifar10
    vqjax train cifar10_classifier
    vqjax evaluate runs/cifar10_latent_dit --judge runs/cifar10_classifier

21 minutes on one core, other work beside it: 73.65 % of the 10,000 test pictures, which had been
recompressed as JPEG (commit 43e3a7d, `--arg total_steps=3000`, which is now the default).

Cost: 21 min, busy.
"""

from vqjax.data import TFDS, RandomFlip, RandomShift
from vqjax.ops.schedules import Cosine
from vqjax.tasks import ClassifierTask
from vqjax.tokenizers import ConvEncoder
from vqjax.training.experiment import Experiment
from vqjax.training.optim import AdamW

TINY = ("total_steps=2", "batch_size=8", "task.encoder.width=8")


def experiment(width: int = 32, total_steps: int = 3_000) -> Experiment:
    return Experiment(
        task=ClassifierTask(
            encoder=ConvEncoder(
                width=width, multipliers=(1, 2, 4), blocks=1, mid_attention=False, latent_dim=64
            ),
            classes=10,
            label_smoothing=0.1,
        ),
        data=TFDS("cifar10", augment=(RandomFlip(), RandomShift(4))),
        optimizers={
            "classifier": AdamW(Cosine(2e-3, steps=total_steps, warmup=50), weight_decay=0.05)
        },
        batch_size=64,
        eval_batch_size=200,
        eval_every=max(1, total_steps // 4),
        ema_decay=0.999,
        total_steps=total_steps,
    )
