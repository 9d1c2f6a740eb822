"""An autoencoder, a little variational, on MNIST: 7 x 7 x 4 real numbers for `mnist_klvae_dit.py`.

    vqjax prepare mnist
    vqjax train mnist_klvae
    vqjax reconstruct runs/mnist_klvae --out out

The divergence from N(0, 1) weighs so little that it only keeps latents from growing. 5.6 minutes on
one core, other work on the other one; 10,000 test pictures: PSNR 29.90 dB, SSIM 0.982 (commit
43e3a7d).

Cost: 6 min, busy.
"""

from vqjax.data import TFDS
from vqjax.losses import L2
from vqjax.ops.schedules import Cosine
from vqjax.quantizers import Gaussian
from vqjax.tasks import TokenizerTask
from vqjax.tokenizers import ConvDecoder, ConvEncoder, Tokenizer
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Adam

TINY = ("total_steps=2", "batch_size=8")


def experiment(width: int = 16, latents: int = 4, total_steps: int = 2_400) -> Experiment:
    sizes = {"width": width, "multipliers": (1, 2, 4), "blocks": 1, "mid_attention": False}
    return Experiment(
        task=TokenizerTask(
            tokenizer=Tokenizer(
                encoder=ConvEncoder(**sizes, latent_dim=64),
                quantizer=Gaussian(codebook_dim=latents),
                decoder=ConvDecoder(**sizes, latent_dim=64, channels=1),
            ),
            losses=(L2(),),
            loss_weights={"l2": 1.0, "kl": 1e-6},
        ),
        data=TFDS("mnist"),
        optimizers={"tokenizer": Adam(Cosine(2e-3, steps=total_steps, warmup=50))},
        batch_size=32,
        eval_batch_size=100,
        eval_every=max(1, total_steps // 4),
        total_steps=total_steps,
    )
