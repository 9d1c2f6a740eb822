"""Text to image by diffusion: captions of coloured shapes to the latents of `shapes_vqvae.py`.

    vqjax train shapes_vqvae
    vqjax train shapes_dit
    vqjax sample runs/shapes_dit --prompt "a red circle left of a blue square" --guidance 3
    vqjax evaluate runs/shapes_dit --captions 1000 --guidance 3

The captions and the pairs of colour and shape that are left out are those of
`shapes_text_to_image.py`. Where things are is settled while there is almost only noise, so most
times of training are there.

Over the tokenizer in `pretrained/shapes_text_to_image`, 22 minutes on one core, other work on the
other one: of 1,000 captions that no training picture has 94.7 % come true at guidance 3, which
training captions chose (single things 99.7, counts 95.8, relations 88.6), of those with a colour
that their shape never had 86.8 %. With times in the middle, LogitNormalTimes(), and guidance 2 it
was 75.4 % (relations 36.3) and 72.0 (commit 43e3a7d; docs/generators.md).

Cost: 22 min, busy.
"""

from vqjax.config import FrozenRun
from vqjax.data import BPE, Captions, Shapes
from vqjax.denoisers import RotaryDiT
from vqjax.ops.diffusion import LogitNormalTimes
from vqjax.ops.schedules import Cosine
from vqjax.priors import Text
from vqjax.sampling import DPMSolver
from vqjax.tasks import DiffusionTask
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Muon

TINY = ("total_steps=2", "batch_size=8", "task.denoiser.width=16", "task.denoiser.layers=1")


def experiment(
    tokenizer: str = "runs/shapes_vqvae",
    language: str = "en",
    vocabulary: int = 512,
    length: int = 16,
    width: int = 128,
    layers: int = 6,
    total_steps: int = 4_400,
) -> Experiment:
    import shapes_vqvae  # the file beside this one

    return Experiment(
        task=DiffusionTask(
            RotaryDiT(
                width=width,
                layers=layers,
                heads=4,
                condition=Text(vocabulary, length, width, by="cross"),
            ),
            times=LogitNormalTimes(mean=1.0, deviation=1.2),
            solver=DPMSolver(20),
            tokenizer=FrozenRun(
                tokenizer,
                experiment=shapes_vqvae.experiment(),
                command="vqjax train shapes_vqvae",
            ),
        ),
        data=Captions(Shapes(32, language=language), BPE(vocabulary), length),
        optimizers={
            "denoiser": Muon(
                Cosine(3e-3, steps=total_steps, warmup=200), weight_decay=0.0, clip=1.0
            )
        },
        batch_size=64,
        eval_batch_size=200,
        eval_every=max(1, total_steps // 4),
        ema_decay=0.999,
        total_steps=total_steps,
    )
