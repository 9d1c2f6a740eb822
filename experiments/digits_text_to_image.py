"""Text to image on scanned digits: MaskGIT under texts, over the 16 tokens of `digits_vqgan.py`.

    vqjax train digits_vqgan
    vqjax train digits_text_to_image
    vqjax sample runs/digits_text_to_image --prompt "a seven" --guidance 2 --out out

2 CPU cores, about 2 min 30 s; 297 held-out digits: at most 3.44 nats per token. `make demo` trains
it for 1,000 steps, over a tokenizer of 600: 3.26.

Cost: 2.5 min.
"""

from vqjax.config import FrozenRun
from vqjax.data import BPE, Captions, CaptionsByLabel, Digits, Resize
from vqjax.ops.schedules import Cosine
from vqjax.priors import MaskGIT, Text
from vqjax.tasks import PriorTask
from vqjax.training.experiment import Experiment
from vqjax.training.optim import AdamW

TINY = ("total_steps=2", "batch_size=8", "task.prior.width=16", "task.prior.layers=1")
CAPTIONS = (
    "a zero",
    "a one",
    "a two",
    "a three",
    "a four",
    "a five",
    "a six",
    "a seven",
    "an eight",
    "a nine",
)


def experiment(
    tokenizer: str = "runs/digits_vqgan",
    width: int = 128,
    layers: int = 4,
    total_steps: int = 1_500,
) -> Experiment:
    import digits_vqgan  # the file beside this one

    return Experiment(
        task=PriorTask(
            prior=MaskGIT(
                width=width,
                layers=layers,
                heads=4,
                dropout=0.1,
                condition=Text(vocabulary=320, tokens=8, width=64, layers=1),
            ),
            tokenizer=FrozenRun(
                tokenizer,
                experiment=digits_vqgan.experiment(),
                command="vqjax train digits_vqgan",
            ),
        ),
        data=Captions(
            CaptionsByLabel(Digits(augment=(Resize(16, method="nearest"),)), CAPTIONS),
            BPE(320),
            length=8,
        ),
        optimizers={
            "prior": AdamW(
                Cosine(1e-3, steps=total_steps, warmup=100), b2=0.95, weight_decay=0.05, clip=1.0
            )
        },
        batch_size=32,
        eval_batch_size=99,
        eval_every=max(1, total_steps // 4),
        ema_decay=0.99,
        total_steps=total_steps,
    )
