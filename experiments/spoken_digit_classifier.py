"""The judge of spoken digits: a classifier of log mel frames.

    vqjax prepare spoken_digit
    vqjax train spoken_digit_classifier

Cost: not measured.
"""

from vqjax.data import Loudness, TFDSAudio
from vqjax.ops.schedules import Cosine
from vqjax.tasks import ClassifierTask
from vqjax.tokenizers import LogMelEncoder
from vqjax.training.experiment import Experiment
from vqjax.training.optim import AdamW

TINY = (
    "total_steps=2",
    "batch_size=8",
    "task.encoder.widths=(8,8)",
    "data.samples=2_560",
)
CLASSES = {"label": 10, "speaker": 6}


def experiment(label: str = "label", total_steps: int = 2_000) -> Experiment:
    return Experiment(
        task=ClassifierTask(
            encoder=LogMelEncoder(8_000),
            classes=CLASSES[label],
            label_smoothing=0.1,
            inputs="audio",
            label=label,
        ),
        data=TFDSAudio(
            "spoken_digit",
            samples=5_120,
            hold_out=r"_[0-4]\.wav$",
            leave_out="theo",
            classes={"speaker": r"^\d_([a-z]+)_"},
            loudness=Loudness(),
        ),
        optimizers={
            "classifier": AdamW(Cosine(2e-3, steps=total_steps, warmup=50), weight_decay=0.05)
        },
        batch_size=32,
        eval_batch_size=50,
        eval_every=max(1, total_steps // 4),
        ema_decay=0.99,
        total_steps=total_steps,
    )
