"""A prior of a few thousand weights over the tokens of a run, told the class."""

import numpy as np

from vqjax.config import FrozenRun
from vqjax.data import Arrays
from vqjax.priors import GPT, ClassLabel, MaskGIT, NextScale, PixelCNN
from vqjax.sampling import MaskedDecoding
from vqjax.tasks import PriorTask
from vqjax.training.experiment import Experiment
from vqjax.training.optim import AdamW

PRIORS = {
    "gpt": lambda: GPT(16, 1, 2, condition=ClassLabel(3)),
    "maskgit": lambda: MaskGIT(16, 1, 2, condition=ClassLabel(3), decoding=MaskedDecoding(3)),
    "var": lambda: NextScale(16, 1, 2, condition=ClassLabel(3)),
    "pixelcnn": lambda: PixelCNN(8, 2, condition=ClassLabel(3), first_kernel=5),
}


def experiment(tokenizer: str, prior: str) -> Experiment:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (80, 8, 8, 1), np.uint8)
    labels = rng.integers(0, 3, 80).astype(np.int32)
    return Experiment(
        task=PriorTask(PRIORS[prior](), FrozenRun(tokenizer)),
        data=Arrays(
            {"image": images[:70], "label": labels[:70]},
            {"image": images[70:], "label": labels[70:]},
        ),
        optimizers={"prior": AdamW(1e-2)},
        batch_size=16,
        total_steps=40,
        ema_decay=0.99,
        log_every=1,
        save_every=5,
        eval_every=10,
    )
