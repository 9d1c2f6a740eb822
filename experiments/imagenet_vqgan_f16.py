"""VQGAN on ImageNet at 256x256: 256 tokens from 1,024 codes, the published recipe whole.

    vqjax prepare imagenet2012
    vqjax train imagenet_vqgan_f16 --arg vgg=VGG16.pth --arg lpips=HEADS.pth

What arXiv 2012.09841 trains, with the settings that its authors published: the networks of table 7,
L1 and LPIPS with weight 1 each, the adversary from step 250,001 on with 0.8 times the adaptive
weight, Adam at 4.5e-6 per picture of the batch. As in their code the weights of the two halves of
the codebook's loss are the other way round than in the paper's eq. 4: 1 on the encoder's, 0.25 on
the codes'. They trained with 12 pictures per GPU, and do not say for how many steps.

|                         | published   | this file    |
|-------------------------|-------------|--------------|
| rFID, 1,024 codes       | 7.94        | not measured |
| PSNR and SSIM, likewise | 20.18, 0.52 | not measured |
| rFID, 16,384 codes      | 4.98        | not measured |

(rFID: validation split, by the authors; PSNR and SSIM of their weights: arXiv 2409.16211.)

For accelerators: add `compute_dtype=bfloat16`, and `mesh.fsdp=N` where memory is short. Codes:
`--arg codebook_size=16384`. LPIPS needs two files, which `vqjax train` names and does not download:
vgg16-397923af.pth of torchvision, and vgg.pth of the PyPI package lpips (weights/v0.1).

Cost: accelerators.
"""

from vqjax.config import WeightFile
from vqjax.data import TFDS, RandomCrop, Resize
from vqjax.discriminators import PatchGAN
from vqjax.losses import L1, LPIPS
from vqjax.ops.schedules import Constant
from vqjax.quantizers import VectorQuantizer
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
    "task.discriminator.width=8",
    "task.discriminator.layers=1",
)


def experiment(
    vgg: str = "weights/vgg16-397923af.pth",
    lpips: str = "weights/vgg.pth",
    codebook_size: int = 1_024,
    batch_size: int = 96,
    total_steps: int = 500_000,
    discriminator_start: int = 250_001,
) -> Experiment:
    sizes = {"width": 128, "multipliers": (1, 1, 2, 2, 4), "attention_factors": (16,)}
    tokenizer = Tokenizer(
        encoder=ConvEncoder(**sizes, blocks=2, latent_dim=256),
        quantizer=VectorQuantizer(codebook_size, codebook_dim=256),
        decoder=ConvDecoder(**sizes, blocks=3, latent_dim=256),
    )
    learning_rate = 4.5e-6 * batch_size
    return Experiment(
        task=TokenizerTask(
            tokenizer=tokenizer,
            discriminator=PatchGAN(width=64, layers=3, norm="batch"),
            losses=(L1(), LPIPS(WeightFile(vgg), WeightFile(lpips))),
            loss_weights={
                "l1": 1.0,
                "lpips": 1.0,
                "commitment": 1.0,
                "codebook": 0.25,
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
