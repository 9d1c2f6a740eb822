"""Masked diffusion of ten words, of a few thousand weights."""

from vqjax.data import Bytes, Captions, LabelledTexts
from vqjax.priors import AbsorbingDiffusion
from vqjax.tasks import TextTask
from vqjax.training.experiment import Experiment
from vqjax.training.optim import AdamW

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def experiment() -> Experiment:
    return Experiment(
        task=TextTask(AbsorbingDiffusion(16, 1, 2, dropout=0.1), vocabulary=257, length=6),
        data=Captions(LabelledTexts(tuple((word,) for word in WORDS)), Bytes(), 6),
        optimizers={"prior": AdamW(1e-2)},
        batch_size=8,
        eval_batch_size=8,
        total_steps=40,
        log_every=1,
        save_every=5,
        eval_every=10,
        ema_decay=0.9,
    )
