"""One model of written digits, spoken digits and their names, each given any of the others.

    vqjax prepare mnist
    vqjax prepare spoken_digit
    vqjax train mnist_vqvae
    vqjax train spoken_digit_codec
    vqjax train digits_any_to_any

Any picture of a digit goes with any recording and any name of it, in English or Chinese: each
meets other partners at every visit. Of fewer streams: `--arg only=image,text`.

6,400 steps, 44 min at the 2.45 steps per second of 2 idle CPU cores; written words are right from
97.6 % of test pictures, 98.0 % of test speech and all pairs of both; at temperature 0.7 and
guidance 3 or 4, 98.8 % of pictures have the digit of a word and 89.5 % that of speech, 97.1 % of
speech that of a word and 86.1 % that of a picture; from noise at which each alone gives 70 %, both
give 88.2 % (docs/fusion.md).

Cost: 44 min.
"""

from typing import Any

from vqjax.config import FrozenRun
from vqjax.data import TFDS, Bytes, Captions, LabelledTexts, Loudness, Paired, TFDSAudio
from vqjax.ops.schedules import Cosine
from vqjax.priors import JointPrior
from vqjax.tasks import JointTask, TextStream, TokenStream
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Muon
from vqjax.types import UsageError, did_you_mean

TINY = ("total_steps=2", "batch_size=8", "task.prior.width=16", "task.prior.layers=1")
ENGLISH = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CHINESE = ("零", "一", "二", "三", "四", "五", "六", "七", "八", "九")
TEXTS = tuple(zip(ENGLISH, CHINESE, strict=True))
# Words are soon read; what takes long is to hear a digit and draw it, or to see and say it.
ORDERS = {
    "audio image": 3.0,
    "image audio": 3.0,
    "text image": 1.5,
    "text audio": 1.5,
    "image text": 1.0,
    "audio text": 0.5,
    "audio image text": 1.0,
    "image audio text": 1.0,
    "text audio image": 1.0,
    "text image audio": 1.5,
    "audio text image": 0.5,
    "image text audio": 0.5,
}
LENGTH = 6  # bytes of the longest name, and one more


def sources() -> dict[str, Any]:
    """Recordings without theo and without five takes of each digit and voice, and pictures without
    the last 5,000: what is held back settles noise, temperatures and guidance.
    """
    sound = TFDSAudio(
        "spoken_digit",
        samples=6_240,
        crop="start",
        shift=159,
        hold_out=r"_[0-4]\.wav$",
        leave_out=r"theo|_[5-9]\.wav$",
        loudness=Loudness(),
    )
    return {
        "audio": sound,
        "image": TFDS("mnist", split="train[:55000]"),
        "text": Captions(LabelledTexts(TEXTS), Bytes(), LENGTH),
    }


def experiment(
    image: str = "runs/mnist_vqvae",
    audio: str = "runs/spoken_digit_codec",
    only: str = "audio,image,text",
    width: int = 192,
    layers: int = 6,
    total_steps: int = 6_400,
) -> Experiment:
    import mnist_vqvae  # the files beside this one
    import spoken_digit_codec

    digits = FrozenRun(
        image, experiment=mnist_vqvae.experiment(), command="vqjax train mnist_vqvae"
    )
    codec = FrozenRun(
        audio,
        experiment=spoken_digit_codec.experiment(),
        command="vqjax train spoken_digit_codec",
    )
    streams = {
        "image": TokenStream(digits, noise=2.0),
        "audio": TokenStream(codec, codebooks=4, ends=True, noise=0.2),
        "text": TextStream(vocabulary=257, length=LENGTH, noise=1.0),
    }
    found = sources()
    for name in only.split(","):
        if name not in found:
            raise UsageError(f"only={only}: {did_you_mean(name, found)}")
    found = {name: source for name, source in found.items() if name in only.split(",")}
    return Experiment(
        task=JointTask(
            {name: streams[name] for name in found},
            JointPrior(width=width, layers=layers, heads=4, dropout=0.1),
            orders=ORDERS if len(found) == 3 else {},
            noisy=0.25,
        ),
        data=Paired(found) if len(found) > 1 else next(iter(found.values())),
        optimizers={
            "prior": Muon(Cosine(4e-3, steps=total_steps, warmup=100), weight_decay=0.1, clip=1.0)
        },
        batch_size=32,
        eval_batch_size=100,
        eval_every=max(1, total_steps // 6),
        ema_decay=0.999,
        total_steps=total_steps,
    )
