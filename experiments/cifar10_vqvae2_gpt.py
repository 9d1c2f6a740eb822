"""GPT over both grids of `cifar10_vqvae2.py`, by class: the layout first, then the details.

    vqjax prepare cifar10
    vqjax train cifar10_vqvae2
    vqjax train cifar10_vqvae2_gpt
    vqjax sample runs/cifar10_vqvae2_gpt --classes 1,8 --judge runs/cifar10_classifier --keep .3

80 tokens in order, the 16 of the coarse grid before the 64 of the fine one. Not measured yet; the
time is an estimate. Another tokenizer: `--arg tokenizer=RUN`.

Cost: 15 min.
"""

from vqjax.config import FrozenRun
from vqjax.data import TFDS, RandomFlip
from vqjax.ops.schedules import Cosine
from vqjax.priors import GPT, ClassLabel
from vqjax.tasks import PriorTask
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Muon

TINY = ("total_steps=2", "batch_size=8", "task.prior.width=16", "task.prior.layers=1")


def experiment(
    tokenizer: str = "runs/cifar10_vqvae2",
    width: int = 128,
    layers: int = 6,
    total_steps: int = 2_900,
) -> Experiment:
    import cifar10_vqvae2  # the file beside this one

    return Experiment(
        task=PriorTask(
            prior=GPT(width=width, layers=layers, heads=4, dropout=0.1, condition=ClassLabel(10)),
            tokenizer=FrozenRun(
                tokenizer,
                experiment=cifar10_vqvae2.experiment(),
                command="vqjax train cifar10_vqvae2",
            ),
        ),
        data=TFDS("cifar10", augment=(RandomFlip(),)),
        optimizers={
            "prior": Muon(Cosine(3e-3, steps=total_steps, warmup=100), weight_decay=0.05, clip=1.0)
        },
        batch_size=32,
        eval_batch_size=200,
        eval_every=max(1, total_steps // 4),
        ema_decay=0.999,
        total_steps=total_steps,
    )
