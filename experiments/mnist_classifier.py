"""The judge of MNIST samples: a classifier whose 64 features span the space of their distances.

    vqjax prepare mnist
    vqjax train mnist_classifier
    vqjax evaluate runs/mnist_gpt --judge runs/mnist_classifier

10,000 test pictures: accuracy 99.48 %, cross-entropy 0.108 nats (commit 0da1c8f).
Time on two CPU cores of its own: not measured; 7 min 4 s beside another training.

Cost: 7 min, busy.
"""

from vqjax.data import TFDS, RandomShift
from vqjax.ops.schedules import Cosine
from vqjax.tasks import ClassifierTask
from vqjax.tokenizers import ConvEncoder
from vqjax.training.experiment import Experiment
from vqjax.training.optim import AdamW

TINY = ("total_steps=2", "batch_size=8", "task.encoder.width=8")


def experiment(width: int = 32, total_steps: int = 4_500) -> Experiment:
    return Experiment(
        task=ClassifierTask(
            encoder=ConvEncoder(
                width=width, multipliers=(1, 2, 2), blocks=0, mid_attention=False, latent_dim=64
            ),
            classes=10,
            label_smoothing=0.1,
        ),
        data=TFDS("mnist", augment=(RandomShift(2),)),
        optimizers={
            "classifier": AdamW(Cosine(2e-3, steps=total_steps, warmup=50), weight_decay=0.05)
        },
        batch_size=64,
        eval_batch_size=200,
        eval_every=max(1, total_steps // 4),
        ema_decay=0.999,
        total_steps=total_steps,
    )
