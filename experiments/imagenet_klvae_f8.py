"""KL autoencoder on ImageNet at 256x256: the 32 x 32 x 4 latents that DiT was published on.

    vqjax prepare imagenet2012
    vqjax prepare lpips
    vqjax train imagenet_klvae_f8

The networks and weights of "KL-f8" (arXiv 2112.10752, table 8): channels 128, 256, 512,
512, L1 and LPIPS with weight 1 each, the divergence with 1e-6, the adversary from step 50,001 on
with 0.5 times the adaptive weight, Adam at 4.5e-6 per picture of the batch. Their learned variance
of the output is left out. Published: rFID 0.90 on ImageNet by weights trained on OpenImages; here
not measured. `vqjax import` reads published ones.

For accelerators: add `compute_dtype=bfloat16`, and `mesh.fsdp=N` where memory is short.

Cost: accelerators.
"""

from vqjax.config import WeightFile
from vqjax.data import TFDS, RandomCrop, RandomFlip, Resize
from vqjax.discriminators import PatchGAN
from vqjax.losses import L1, LPIPS
from vqjax.ops.schedules import Constant
from vqjax.quantizers import Gaussian
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
    "task.discriminator.width=8",
    "task.discriminator.layers=1",
)


def experiment(
    vgg: str = "weights/vgg16-397923af.pth",
    lpips: str = "weights/vgg.pth",
    batch_size: int = 96,
    total_steps: int = 250_000,
    discriminator_start: int = 50_001,
) -> Experiment:
    sizes = {"width": 128, "multipliers": (1, 2, 4, 4)}
    learning_rate = 4.5e-6 * batch_size
    return Experiment(
        task=TokenizerTask(
            tokenizer=Tokenizer(
                encoder=ConvEncoder(**sizes, blocks=2, latent_dim=8),
                quantizer=Gaussian(codebook_dim=4),
                decoder=ConvDecoder(**sizes, blocks=3, latent_dim=4),
            ),
            discriminator=PatchGAN(width=64, layers=3, norm="batch"),
            losses=(L1(), LPIPS(WeightFile(vgg), WeightFile(lpips))),
            loss_weights={
                "l1": 1.0,
                "lpips": 1.0,
                "kl": 1e-6,
                "generator": Constant(0.5, start=discriminator_start),
                "discriminator": 1.0,
            },
        ),
        data=TFDS(
            "imagenet2012",
            eval_split="validation",
            augment=(Resize(256), RandomCrop(256), RandomFlip()),
        ),
        optimizers={
            "tokenizer": Adam(learning_rate, b1=0.5, b2=0.9),
            "discriminator": Adam(learning_rate, b1=0.5, b2=0.9, start=discriminator_start),
        },
        batch_size=batch_size,
        total_steps=total_steps,
    )
