"""DiT on ImageNet at 256x256 over the latents of `imagenet_klvae_f8.py`, the published recipe.

    vqjax train imagenet_klvae_f8
    vqjax train imagenet_dit --arg size=XL
    vqjax sample runs/imagenet_dit --classes 207,360 --guidance 1.5

arXiv 2212.09748: patches of 2 x 2 latents, noise and variance learned over 1,000 steps of linear
betas, AdamW at 1e-4 without decay, 256 pictures a step, averages at 0.9999, labels dropped at 0.1,
250 steps of sampling. Of their FID-50k at 7,000,000 steps, 9.62 and with guidance 1.5 2.27 (on
three of four channels; here it acts on all), nothing is measured here.

| `--arg size=` | parameters | published FID, 400,000 steps, no guidance |
|---------------|------------|-------------------------------------------|
| S             | 32.9 M     | 68.4                                      |
| B             | 130.3 M    | 43.5                                      |
| L             | 457.8 M    | 23.3                                      |
| XL            | 674.8 M    | 19.5                                      |

For accelerators: `compute_dtype=bfloat16`, `mesh.fsdp=N`; `vqjax compile imagenet_dit --arg
size=XL --shape 256,256,3 --topology v5e:16x16` says whether it fits (docs/scaling.md). A
published autoencoder: `--arg tokenizer=RUN`, RUN by `vqjax import`.

Cost: accelerators.
"""

from vqjax.config import FrozenRun
from vqjax.data import TFDS, RandomCrop, RandomFlip, Resize
from vqjax.denoisers import DiT
from vqjax.denoisers.dit import SIZES
from vqjax.ops.diffusion import DDPMPath, UniformTimes
from vqjax.priors import ClassLabel
from vqjax.sampling import Ancestral
from vqjax.tasks import DiffusionTask
from vqjax.training.experiment import Experiment
from vqjax.training.optim import AdamW
from vqjax.types import UsageError, did_you_mean

TINY = ("total_steps=2", "batch_size=8", "task.denoiser.width=48", "task.denoiser.layers=1")


def experiment(
    size: str = "B", tokenizer: str = "runs/imagenet_klvae_f8", total_steps: int = 400_000
) -> Experiment:
    import imagenet_klvae_f8  # the file beside this one

    if size not in SIZES:
        raise UsageError(f"size={size!r}: {did_you_mean(size, SIZES)}")
    width, layers, heads = SIZES[size]
    path = DDPMPath()
    return Experiment(
        task=DiffusionTask(
            DiT(width, layers, heads, patch=2, condition=ClassLabel(1_000), variance="learned"),
            path=path,
            predicts="noise",
            compares="noise",
            times=UniformTimes(steps=path.count),
            solver=Ancestral(250),
            tokenizer=FrozenRun(
                tokenizer,
                experiment=imagenet_klvae_f8.experiment(),
                command="vqjax train imagenet_klvae_f8",
            ),
            latents="draw",
            loss_weights={"denoising": 1.0, "variational": 1.0},
        ),
        data=TFDS(
            "imagenet2012",
            eval_split="validation",
            augment=(Resize(256), RandomCrop(256), RandomFlip()),
        ),
        optimizers={"denoiser": AdamW(1e-4, weight_decay=0.0)},
        batch_size=256,
        ema_decay=0.9999,
        total_steps=total_steps,
    )
