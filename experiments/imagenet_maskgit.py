"""MaskGIT over the 256 tokens of `imagenet_vqgan_f16.py`, by class: pictures in twelve steps.

    vqjax train imagenet_vqgan_f16
    vqjax train imagenet_maskgit --arg size=B

The published recipe (arXiv 2202.04200, with the settings of its code): Adam with betas 0.9 and 0.96
and weight decay 0.045, 5,000 steps of warm-up to 1e-4, 256 pictures a step for 2 million steps,
dropout 0.1, label smoothing 0.1, the cosine schedule. The blocks are this library's, of LLaMA's
kind. The class is withheld from one picture in ten, for guidance, which theirs has not. B has the
published size; L and XL are those of `imagenet_gpt.py`.

| size | layers, heads, width | parameters, 1,024 codes | published FID | this file    |
|------|----------------------|-------------------------|---------------|--------------|
| B    | 24, 16, 768          | 172 M                   | 6.18          | not measured |
| L    | 24, 16, 1024         | 311 M                   |               | not measured |
| XL   | 36, 20, 1280         | 735 M                   |               | not measured |

For accelerators: add `compute_dtype=bfloat16`; where memory is short, `mesh.fsdp=N` and
`task.prior.remat=true` (docs/scaling.md). Another tokenizer: `--arg tokenizer=RUN`.

Cost: accelerators.
"""

from vqjax.config import FrozenRun
from vqjax.data import TFDS, RandomCrop, RandomFlip, Resize
from vqjax.ops.schedules import Ramp
from vqjax.priors import ClassLabel, MaskGIT
from vqjax.tasks import PriorTask
from vqjax.training.experiment import Experiment
from vqjax.training.optim import AdamW
from vqjax.types import UsageError, did_you_mean

TINY = ("total_steps=2", "batch_size=8", "task.prior.width=64", "task.prior.layers=1")
SIZES = {"B": (24, 16, 768), "L": (24, 16, 1024), "XL": (36, 20, 1280)}


def experiment(
    size: str = "B", tokenizer: str = "runs/imagenet_vqgan_f16", total_steps: int = 2_000_000
) -> Experiment:
    import imagenet_vqgan_f16  # the file beside this one

    if size not in SIZES:
        raise UsageError(f"size={size!r}: {did_you_mean(size, SIZES)}")
    layers, heads, width = SIZES[size]
    return Experiment(
        task=PriorTask(
            prior=MaskGIT(width=width, layers=layers, heads=heads, condition=ClassLabel(1_000)),
            tokenizer=FrozenRun(
                tokenizer,
                experiment=imagenet_vqgan_f16.experiment(),
                command="vqjax train imagenet_vqgan_f16",
            ),
        ),
        data=TFDS(
            "imagenet2012",
            eval_split="validation",
            augment=(Resize(256), RandomCrop(256), RandomFlip()),
        ),
        optimizers={"prior": AdamW(Ramp(1e-4, steps=5_000), b1=0.9, b2=0.96, weight_decay=0.045)},
        batch_size=256,
        total_steps=total_steps,
    )
