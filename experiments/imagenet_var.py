"""Next-scale prediction on ImageNet at 256x256, over the tokens of `imagenet_multiscale_f16.py`.

    vqjax train imagenet_multiscale_f16
    vqjax train imagenet_var --arg depth=16
    vqjax sample runs/imagenet_var --classes 207,360 --top-k 900 --top-p 0.96

The published recipe (arXiv 2404.02905, with the settings of its code): width 64 times the depth,
AdamW at 1e-4 per 256 pictures (8e-5 from depth 24 on) with weight decay 0.05 and betas 0.9 and
0.95, gradients clipped at 2, no flips, labels and branches dropped at 0.1 and up to 0.1 depth / 24;
epochs and batch as in the table. Theirs lets the rate fall linearly to a tenth, from depth 24 on to
a hundredth, and at depth 30 the decay grow to 0.08; here half a cosine falls as far, and the decay
stays. Ten passes draw a picture, published with `Guidance(2.5, "linear")`, as it is called here.

| `--arg depth=` | parameters | epochs, batch | published FID | this file    |
|----------------|------------|---------------|---------------|--------------|
| 16             | 310 M      | 200, 768      | 3.55          | not measured |
| 20             | 600 M      | 250, 768      | 2.95          | not measured |
| 24             | 1.0 G      | 350, 768      | 2.33          | not measured |
| 30             | 2.0 G      | 350, 1,024    | 1.97          | not measured |

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
PICTURES = 1_281_167  # of the training split
# depth: epochs, batch size, rate per 256 pictures, its last share
RECIPES = {
    16: (200, 768, 1e-4, 0.1),
    20: (250, 768, 1e-4, 0.1),
    24: (350, 768, 8e-5, 0.01),
    30: (350, 1_024, 8e-5, 0.01),
}


def experiment(
    depth: int = 16, tokenizer: str = "runs/imagenet_multiscale_f16", total_steps: int = 0
) -> Experiment:
    """total_steps: 0: those of the published epochs."""
    import imagenet_multiscale_f16  # the file beside this one

    if depth not in RECIPES:
        raise UsageError(f"depth={depth}: wanted {', '.join(map(str, RECIPES))}")
    epochs, batch_size, rate, final = RECIPES[depth]
    total_steps = total_steps or epochs * PICTURES // batch_size
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
                Cosine(
                    rate * batch_size / 256,
                    steps=total_steps,
                    warmup=total_steps // epochs,
                    final=final,
                ),
                b2=0.95,
                weight_decay=0.05,
                clip=2.0,
            )
        },
        batch_size=batch_size,
        total_steps=total_steps,
    )
