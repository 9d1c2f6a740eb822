"""Multi-scale residual VQ-VAE on MNIST: the whole digit in one token, then in 4, 16 and 49.

    vqjax prepare mnist
    vqjax train mnist_multiscale

Not measured yet; the time is an estimate. `mnist_var.py` draws its tokens scale by scale.

Cost: 15 min.
"""

from vqjax.data import TFDS
from vqjax.losses import L2
from vqjax.ops.schedules import Cosine
from vqjax.quantizers import EMAVectorQuantizer, MultiScaleResidual
from vqjax.tasks import TokenizerTask
from vqjax.tokenizers import ConvDecoder, ConvEncoder, Tokenizer
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Adam

TINY = ("total_steps=2", "batch_size=8", "task.tokenizer.quantizer.template.codebook_size=16")


def experiment(width: int = 16, total_steps: int = 2_400) -> Experiment:
    sizes = {"width": width, "multipliers": (1, 2, 4), "blocks": 1, "mid_attention": False}
    template = EMAVectorQuantizer(codebook_size=512, codebook_dim=16)
    return Experiment(
        task=TokenizerTask(
            tokenizer=Tokenizer(
                encoder=ConvEncoder(**sizes, latent_dim=64),
                quantizer=MultiScaleResidual(template, (1, 2, 4, 7)),
                decoder=ConvDecoder(**sizes, latent_dim=64, channels=1),
            ),
            losses=(L2(),),
            loss_weights={"l2": 1.0},
        ),
        data=TFDS("mnist"),
        optimizers={"tokenizer": Adam(Cosine(2e-3, steps=total_steps, warmup=50))},
        batch_size=32,
        eval_batch_size=100,
        eval_every=max(1, total_steps // 4),
        total_steps=total_steps,
    )
