"""One tokenizer for CIFAR-10, any quantizer: 32x32 pictures as 64 tokens of 10 bits.

    vqjax prepare cifar10
    vqjax train cifar10_quantizer --arg quantizer=fsq --workdir runs/fsq
    vqjax train cifar10_quantizer --arg quantizer=ema --workdir runs/ema
    vqjax compare runs/fsq runs/ema
    vqjax train cifar10_quantizer task.tokenizer.quantizer='FSQ(levels=(4,4,4,4,4))'

Encoder, decoder, loss, steps and data stay the same, so runs differ by their quantizer alone. The
ready ones, by `--arg quantizer=NAME`, are in `QUANTIZERS` below; docs/quantizers.md has their
numbers. `multiscale` has 85 tokens, for its coarse grids come on top.

Cost: 3 min.
"""

from vqjax.data import TFDS
from vqjax.losses import L2
from vqjax.ops.schedules import Cosine
from vqjax.quantizers import (
    BSQ,
    FSQ,
    IBQ,
    LFQ,
    CosineVectorQuantizer,
    EMAVectorQuantizer,
    GumbelQuantizer,
    KMeans,
    MultiHead,
    MultiScaleResidual,
    Product,
    Residual,
    Revival,
    RotationTrick,
    SimVQ,
    VectorQuantizer,
)
from vqjax.tasks import TokenizerTask
from vqjax.tokenizers import ConvDecoder, ConvEncoder, Tokenizer
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Adam
from vqjax.types import UsageError, did_you_mean

TINY = ("total_steps=2", "batch_size=8")

# Each as it would be used: those that start and revive their codes do. All have 10 bits a token.
QUANTIZERS = {
    "vq": VectorQuantizer(1_024, 16, start=KMeans(), revival=Revival()),
    "rotation": VectorQuantizer(
        1_024, 16, estimator=RotationTrick(), start=KMeans(), revival=Revival()
    ),
    "ema": EMAVectorQuantizer(1_024, 16),
    "cosine": CosineVectorQuantizer(1_024, 8, revival=Revival()),
    "fsq": FSQ(levels=(4, 4, 4, 4, 4)),
    "lfq": LFQ(10, temperature=1.0),
    "bsq": BSQ(10, temperature=0.1),
    "gumbel": GumbelQuantizer(1_024, 16, temperature=Cosine(1.0, steps=500, final=0.25)),
    "simvq": SimVQ(1_024, 4),
    "ibq": IBQ(1_024, 16, temperature=0.1),
    "product": Product(EMAVectorQuantizer(32, 8), groups=2),
    "multihead": MultiHead(EMAVectorQuantizer(32, 8), heads=2),
    "residual": Residual(EMAVectorQuantizer(32, 16), stages=2),
    "multiscale": MultiScaleResidual(EMAVectorQuantizer(1_024, 16), scales=(1, 2, 4, 8)),
}
# Where the published weights of a quantizer's own terms do not suit a mean squared error.
WEIGHTS = {
    "gumbel": {"prior": 0.01},
    "ibq": {"commitment": 0.1, "codebook": 0.25, "double": 0.1, "entropy": 0.005},
}


def experiment(quantizer: str = "ema", width: int = 16, total_steps: int = 600) -> Experiment:
    if quantizer not in QUANTIZERS:
        raise UsageError(f"quantizer={quantizer!r}: {did_you_mean(quantizer, QUANTIZERS)}")
    sizes = {"width": width, "multipliers": (1, 2, 4), "blocks": 1, "mid_attention": False}
    return Experiment(
        task=TokenizerTask(
            tokenizer=Tokenizer(
                encoder=ConvEncoder(**sizes, latent_dim=64),
                quantizer=QUANTIZERS[quantizer],
                decoder=ConvDecoder(**sizes, latent_dim=64, channels=3),
            ),
            losses=(L2(),),
            # The quantizer brings the weights of its own terms.
            loss_weights={"l2": 1.0} | WEIGHTS.get(quantizer, {}),
        ),
        data=TFDS("cifar10"),
        optimizers={"tokenizer": Adam(Cosine(2e-3, steps=total_steps, warmup=50), clip=1.0)},
        batch_size=32,
        eval_batch_size=200,
        eval_every=total_steps,
        total_steps=total_steps,
    )
