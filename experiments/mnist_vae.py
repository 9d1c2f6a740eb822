"""Variational autoencoder on binarised MNIST: 28x28 pictures as 40 Gaussian latents.

    vqjax prepare mnist
    vqjax train mnist_vae
    vqjax evaluate runs/mnist_vae --importance-samples 100
    vqjax sample runs/mnist_vae

The losses are the negative evidence lower bound of dynamically binarised pixels, in nats. 2 CPU
cores on a busy machine: 4 min 44 s of training from the command to the end, 1 min 14 s for the
bounds on -log p(x) of the 10,000 test pictures, binarised once: 93.07 nats, 89.38 nats by 100
importance samples (commit 021ca52; pictures in docs/results.md).

Cost: 4.7 min, busy.
"""

from vqjax.data import TFDS, Binarize
from vqjax.losses import BernoulliLikelihood
from vqjax.ops.schedules import Cosine
from vqjax.quantizers import Gaussian
from vqjax.tasks import TokenizerTask
from vqjax.tokenizers import MLPDecoder, MLPEncoder, Tokenizer
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Adam

TINY = ("total_steps=2", "batch_size=8", "eval_batch_size=100")


def experiment(
    latents: int = 40, widths: tuple[int, ...] = (512, 512), total_steps: int = 12_000
) -> Experiment:
    return Experiment(
        task=TokenizerTask(
            tokenizer=Tokenizer(
                encoder=MLPEncoder(shape=(28, 28), widths=widths),
                quantizer=Gaussian(codebook_dim=latents),
                decoder=MLPDecoder(shape=(28, 28), widths=widths[::-1], channels=1),
                output="sigmoid",
            ),
            losses=(BernoulliLikelihood(),),
            loss_weights={"nll": 1.0, "kl": 1.0},
        ),
        data=TFDS("mnist", augment=(Binarize(),)),
        optimizers={"tokenizer": Adam(Cosine(3e-3, steps=total_steps, warmup=100))},
        batch_size=128,
        eval_batch_size=500,
        log_every=50,
        eval_every=max(1, total_steps // 4),
        total_steps=total_steps,
    )
