"""VQGAN on a folder of your own pictures: 64x64 as 256 tokens from 1,024 codes.

    vqjax train folder_vqgan --arg folder=DIR

Pictures are found at any depth (jpg, png, webp, gif, bmp, tiff, avif; heic with pillow-heif), cut
to their middle square and resized; val/ or test/ beside train/ is kept for evaluation, else one in
ten; what cannot be read is skipped and named, other formats are counted.

The defaults suit a CPU: 2,008 drawings (emoji) at `image_size=64` took 15 min 25 s on two cores,
and the 196 held out came back at PSNR 25.33 dB, SSIM 0.858, perplexity 727 of 1,024 (commit
a113e9a; pictures in docs/results.md).

On a GPU or TPU raise, in this order: `--arg total_steps=50000`, `--arg batch_size=64`,
`--arg width=64` (128 with `blocks=2` is the published network, arXiv 2012.09841),
`--arg image_size=256` together with `--arg multipliers=1,1,2,4,4` (f16, again 256 tokens), and
`compute_dtype=bfloat16`.

Each entry of `multipliers` after the first halves the token grid: 1,2,4 is f4; 1,2,4,4 is f8, with
a quarter of the tokens and blurrier pictures. `--arg flip=true` mirrors half of the pictures, at
random: good for photos, wrong for letters, flags and signs, so it is off.

Cost: 15 min, busy.
"""

import os

from vqjax.data import Folder, RandomFlip
from vqjax.discriminators import PatchGAN
from vqjax.losses import L1
from vqjax.ops.schedules import Cosine, Ramp
from vqjax.paths import as_path
from vqjax.quantizers import EMAVectorQuantizer
from vqjax.tasks import TokenizerTask
from vqjax.tokenizers import ConvDecoder, ConvEncoder, Tokenizer
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Adam

TINY = (
    "total_steps=2",
    "batch_size=8",
    "data.image_size=16",
    "task.tokenizer.encoder.width=8",
    "task.tokenizer.decoder.width=8",
    "task.tokenizer.quantizer.codebook_size=16",
    "task.loss_weights.generator.start=1",
    "optimizers.discriminator.start=1",
)


def experiment(
    folder: str,
    image_size: int = 64,
    multipliers: tuple[int, ...] = (1, 2, 4),
    width: int = 16,
    blocks: int = 1,
    batch_size: int = 16,
    total_steps: int = 1_500,
    flip: bool = False,
) -> Experiment:
    sizes = {"width": width, "multipliers": multipliers, "blocks": blocks, "mid_attention": False}
    tokenizer = Tokenizer(
        encoder=ConvEncoder(**sizes, latent_dim=64),
        quantizer=EMAVectorQuantizer(codebook_size=1_024, codebook_dim=16),
        decoder=ConvDecoder(**sizes, latent_dim=64, channels=3),
    )
    discriminator_start = total_steps // 2
    return Experiment(
        task=TokenizerTask(
            tokenizer=tokenizer,
            discriminator=PatchGAN(width=16, layers=2),
            losses=(L1(),),
            loss_weights={
                "l1": 1.0,
                "generator": Ramp(0.1, start=discriminator_start, steps=200),
                "discriminator": 1.0,
            },
        ),
        data=Folder(
            # Absolute: the run can be evaluated and resumed from any directory.
            os.path.abspath(as_path(folder, "folder")),
            image_size,
            augment=(RandomFlip(),) if flip else (),
        ),
        optimizers={
            "tokenizer": Adam(Cosine(2e-3, steps=total_steps, warmup=100)),
            "discriminator": Adam(5e-4, b1=0.5, start=discriminator_start),
        },
        batch_size=batch_size,
        total_steps=total_steps,
    )
