"""Next-scale prediction on ImageNet at 256x256, over the tokens of `imagenet_multiscale_f16.py`.

    vqjax train imagenet_multiscale_f16
    vqjax train imagenet_var --arg depth=16
    vqjax sample runs/imagenet_var --classes 207,360 --guidance 2.5 --top-k 900 --top-p 0.96

The published recipe (arXiv 2404.02905, with the settings of its code): width 64 times the depth,
AdamW at 1e-4 per 256 pictures (8e-5 from depth 24 on) with weight decay 0.05 and betas 0.9 and
0.95, gradients clipped at 2, no flips, labels and branches dropped at 0.1 and up to 0.1 depth / 24.
Theirs lets the rate fall linearly to a tenth and the decay grow to 0.08; here half a cosine falls
as far, and the decay stays. Ten passes draw a picture; their guidance of 1.5 is 2.5 here.

| `--arg depth=` | parameters | published FID | this file    |
|----------------|------------|---------------|--------------|
| 16             | 310 M      | 3.55          | not measured |
| 20             | 600 M      | 2.95          | not measured |
| 24             | 1.0 G      | 2.33          | not measured |
| 30             | 2.0 G      | 1.97          | not measured |

For accelerators: `compute_dtype=bfloat16`, `mesh.fsdp=N`; `vqjax compile` says whether it fits.
Another tokenizer of scales: `--arg tokenizer=RUN`.

Cost: accelerators.
"""

from vqjax.config import FrozenRun
from vqjax.data import TFDS, RandomCrop, Resize
from vqjax.ops.schedules import Cosine
from vqjax.priors import ClassLabel, NextScale
from vqjax.tasks import PriorTask
from vqjax.training.experiment import Experiment
from vqjax.training.optim import AdamW
from vqjax.types import UsageError

TINY = (
    "total_steps=2",
    "batch_size=8",
    "task.prior.width=16",
    "task.prior.heads=2",
    "task.prior.layers=1",
)


def experiment(
    depth: int = 16,
    tokenizer: str = "runs/imagenet_multiscale_f16",
    batch_size: int = 768,
    total_steps: int = 330_000,
) -> Experiment:
    import imagenet_multiscale_f16  # the file beside this one

    if depth < 1:
        raise UsageError(f"depth={depth}: wanted at least 1")
    rate = (1e-4 if depth < 24 else 8e-5) * batch_size / 256
    return Experiment(
        task=PriorTask(
            prior=NextScale(
                width=64 * depth,
                layers=depth,
                heads=depth,
                drop_path=0.1 * depth / 24,
                condition=ClassLabel(1_000),
            ),
            tokenizer=FrozenRun(
                tokenizer,
                experiment=imagenet_multiscale_f16.experiment(),
                command="vqjax train imagenet_multiscale_f16",
            ),
        ),
        data=TFDS(
            "imagenet2012",
            eval_split="validation",
            augment=(Resize(256), RandomCrop(256)),
        ),
        optimizers={
            "prior": AdamW(
                Cosine(rate, steps=total_steps, warmup=total_steps // 50, final=0.1),
                b2=0.95,
                weight_decay=0.05,
                clip=2.0,
            )
        },
        batch_size=batch_size,
        total_steps=total_steps,
    )
