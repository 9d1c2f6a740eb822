"""VQ-VAE on pictures of coloured shapes: 32x32 as 16 tokens from 1,024 codes (f8).

    vqjax train shapes_vqvae

The tokenizer under `shapes_text_to_image.py`. It sees all pairs of colour and shape; the prior does
not. 2 CPU cores, 15 min 51 s beside other work (9.1 minutes of two cores); 1,500 test pictures:
PSNR 33.3 dB, perplexity 710; 99.9 % of the reconstructions satisfy their captions (commit 2960b02;
docs/priors.md).

Cost: 9.1 min.
"""

from vqjax.data import Shapes
from vqjax.losses import L2
from vqjax.ops.schedules import Cosine
from vqjax.quantizers import EMAVectorQuantizer
from vqjax.tasks import TokenizerTask
from vqjax.tokenizers import ConvDecoder, ConvEncoder, Tokenizer
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Adam

TINY = ("total_steps=2", "batch_size=8", "task.tokenizer.quantizer.codebook_size=16")


def experiment(
    width: int = 16, image_size: int = 32, codebook_size: int = 1_024, total_steps: int = 4_000
) -> Experiment:
    sizes = {"width": width, "multipliers": (1, 2, 4, 4), "blocks": 1, "mid_attention": False}
    return Experiment(
        task=TokenizerTask(
            tokenizer=Tokenizer(
                encoder=ConvEncoder(**sizes, latent_dim=64),
                quantizer=EMAVectorQuantizer(codebook_size=codebook_size, codebook_dim=16),
                decoder=ConvDecoder(**sizes, latent_dim=64, channels=3),
            ),
            losses=(L2(),),
            loss_weights={"l2": 1.0},
        ),
        data=Shapes(image_size, pairs="all"),
        optimizers={"tokenizer": Adam(Cosine(2e-3, steps=total_steps, warmup=50))},
        batch_size=32,
        eval_batch_size=100,
        eval_every=max(1, total_steps // 4),
        total_steps=total_steps,
    )
