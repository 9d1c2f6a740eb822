"""Multi-scale tokenizer on ImageNet at 256x256: ten scales of 4,096 codes, 680 tokens.

    vqjax prepare imagenet2012
    vqjax train imagenet_multiscale_f16 --arg vgg=VGG16.pth --arg lpips=HEADS.pth

The networks and the quantizer of arXiv 2404.02905: channels 160 times 1, 1, 2, 2 and 4, codes of 32
numbers, scales of side 1 to 16, codes enlarged as theirs. How theirs was trained is not published,
but that it was on OpenImages by the losses of VQGAN: here the recipe is that of
`imagenet_vqgan_f16.py`, and nothing is measured.

For accelerators: add `compute_dtype=bfloat16`, and `mesh.fsdp=N` where memory is short.

Cost: accelerators.
"""

from vqjax.config import WeightFile
from vqjax.data import TFDS, RandomCrop, Resize
from vqjax.discriminators import PatchGAN
from vqjax.losses import L1, LPIPS
from vqjax.ops.schedules import Constant
from vqjax.quantizers import MultiScaleResidual, VectorQuantizer
from vqjax.tasks import TokenizerTask
from vqjax.tokenizers import ConvDecoder, ConvEncoder, Tokenizer
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Adam

TINY = (
    "total_steps=2",
    "batch_size=8",
    "data.augment=(Resize(32), RandomCrop(32))",
    "task.tokenizer.encoder.width=8",
    "task.tokenizer.decoder.width=8",
    "task.tokenizer.encoder.attention_factors=()",
    "task.tokenizer.decoder.attention_factors=()",
    "task.tokenizer.quantizer.scales=(1,2)",
    "task.discriminator.width=8",
    "task.discriminator.layers=1",
)
SCALES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)


def experiment(
    vgg: str = "weights/vgg16-397923af.pth",
    lpips: str = "weights/vgg.pth",
    batch_size: int = 96,
    total_steps: int = 500_000,
    discriminator_start: int = 250_001,
) -> Experiment:
    sizes = {"width": 160, "multipliers": (1, 1, 2, 2, 4), "attention_factors": (16,)}
    learning_rate = 4.5e-6 * batch_size
    return Experiment(
        task=TokenizerTask(
            tokenizer=Tokenizer(
                encoder=ConvEncoder(**sizes, blocks=2, latent_dim=32),
                quantizer=MultiScaleResidual(VectorQuantizer(4_096, 32), SCALES, published=True),
                decoder=ConvDecoder(**sizes, blocks=3, latent_dim=32),
            ),
            discriminator=PatchGAN(width=64, layers=3, norm="batch"),
            losses=(L1(), LPIPS(WeightFile(vgg), WeightFile(lpips))),
            loss_weights={
                "l1": 1.0,
                "lpips": 1.0,
                "generator": Constant(0.8, start=discriminator_start),
                "discriminator": 1.0,
            },
        ),
        data=TFDS(
            "imagenet2012",
            eval_split="validation",
            augment=(Resize(256), RandomCrop(256)),
        ),
        optimizers={
            "tokenizer": Adam(learning_rate, b1=0.5, b2=0.9),
            "discriminator": Adam(learning_rate, b1=0.5, b2=0.9, start=discriminator_start),
        },
        batch_size=batch_size,
        total_steps=total_steps,
    )
