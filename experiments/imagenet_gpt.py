"""GPT over the 256 tokens of `imagenet_vqgan_f16.py`, class-conditional, at LlamaGen's sizes.

    vqjax train imagenet_vqgan_f16
    vqjax train imagenet_gpt --arg size=B

The published recipe (arXiv 2406.06525, with the settings of its code): AdamW at a constant 1e-4
with weight decay 0.05 and betas 0.9 and 0.95, gradients clipped at 1, 256 pictures a step for 300
epochs, dropout 0.1, the class withheld from one picture in ten. Theirs learns the tokens of a
tokenizer of its own with 16,384 codes: over so many codes the parameters are as many.

| size | layers, heads, width | parameters (16,384 codes) | published FID | this file    |
|------|----------------------|---------------------------|---------------|--------------|
| B    | 12, 12, 768          | 87 M (111 M)              | 5.46          | not measured |
| L    | 24, 16, 1024         | 311 M (343 M)             | 3.80          | not measured |
| XL   | 36, 20, 1280         | 735 M (775 M)             | 2.62 (384 px) | not measured |

For accelerators: add `compute_dtype=bfloat16`; where memory is short, `mesh.fsdp=N` and
`task.prior.remat=true` (docs/scaling.md). Another tokenizer: `--arg tokenizer=RUN`.

Cost: accelerators.
"""

from vqjax.config import FrozenRun
from vqjax.data import TFDS, RandomCrop, RandomFlip, Resize
from vqjax.priors import GPT, ClassLabel
from vqjax.tasks import PriorTask
from vqjax.training.experiment import Experiment
from vqjax.training.optim import AdamW
from vqjax.types import UsageError, did_you_mean

TINY = ("total_steps=2", "batch_size=8", "task.prior.width=48", "task.prior.layers=1")
SIZES = {"B": (12, 12, 768), "L": (24, 16, 1024), "XL": (36, 20, 1280)}


def experiment(
    size: str = "B", tokenizer: str = "runs/imagenet_vqgan_f16", total_steps: int = 1_500_000
) -> Experiment:
    import imagenet_vqgan_f16  # the file beside this one

    if size not in SIZES:
        raise UsageError(f"size={size!r}: {did_you_mean(size, SIZES)}")
    layers, heads, width = SIZES[size]
    return Experiment(
        task=PriorTask(
            prior=GPT(width=width, layers=layers, heads=heads, condition=ClassLabel(1_000)),
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
        optimizers={"prior": AdamW(1e-4, b1=0.9, b2=0.95, weight_decay=0.05, clip=1.0)},
        batch_size=256,
        total_steps=total_steps,
    )
