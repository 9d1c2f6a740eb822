"""Next-scale prediction over the tokens of `mnist_multiscale.py`, class-conditional.

    vqjax prepare mnist
    vqjax train mnist_multiscale
    vqjax train mnist_var
    vqjax sample runs/mnist_var --classes 3,7 --out out

arXiv 2404.02905: a digit is drawn in four passes, one for each scale. Not measured yet; the time is
an estimate. Another tokenizer of scales: `--arg tokenizer=RUN`.

Cost: 15 min.
"""

from vqjax.config import FrozenRun
from vqjax.data import TFDS
from vqjax.ops.schedules import Cosine
from vqjax.priors import ClassLabel, NextScale
from vqjax.tasks import PriorTask
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Muon

TINY = ("total_steps=2", "batch_size=8", "task.prior.width=16", "task.prior.layers=1")


def experiment(
    tokenizer: str = "runs/mnist_multiscale",
    width: int = 128,
    layers: int = 6,
    total_steps: int = 2_700,
) -> Experiment:
    import mnist_multiscale  # the file beside this one

    return Experiment(
        task=PriorTask(
            prior=NextScale(width=width, layers=layers, heads=4, condition=ClassLabel(10)),
            tokenizer=FrozenRun(
                tokenizer,
                experiment=mnist_multiscale.experiment(),
                command="vqjax train mnist_multiscale",
            ),
        ),
        data=TFDS("mnist"),
        optimizers={
            "prior": Muon(Cosine(3e-3, steps=total_steps, warmup=100), weight_decay=0.05, clip=1.0)
        },
        batch_size=32,
        eval_batch_size=200,
        eval_every=max(1, total_steps // 4),
        ema_decay=0.999,
        total_steps=total_steps,
    )
