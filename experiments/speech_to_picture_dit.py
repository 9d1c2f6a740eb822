"""A diffusion transformer that hears: the digit that somebody says, as a picture of MNIST.

    vqjax prepare mnist
    vqjax prepare spoken_digit
    vqjax train spoken_digit_codec
    vqjax train speech_to_picture_dit
    vqjax sample runs/speech_to_picture_dit --condition audio=seven.wav --guidance 2 --out out

Every block attends to the tokens of the recording, the first 4 codebooks of its frozen codec, as a
transformer of two blocks encodes them. Rows are those of `digits_any_to_any.py`: a recording has
another picture of its digit at every visit.

Over the codec in `pretrained/digits_any_to_any`, 35 minutes on one core, tests and other work
beside it. Of 1,000 pictures of recordings that it was not trained on 76.7 % show the digit that is
said; with guidance 3, chosen on other recordings, 91.8 %, of a voice that it never heard 76.7 %
(commit 43e3a7d; docs/generators.md).

Cost: 35 min, busy.
"""

from vqjax.config import FrozenRun
from vqjax.data import Paired
from vqjax.denoisers import RotaryDiT
from vqjax.ops.schedules import Cosine
from vqjax.priors import Tokens
from vqjax.sampling import DPMSolver
from vqjax.tasks import DiffusionTask, TokenStream
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Muon

TINY = ("total_steps=2", "batch_size=8", "task.denoiser.width=16", "task.denoiser.layers=1")
FRAMES = 40  # of the window, at 160 samples each


def experiment(
    audio: str = "runs/spoken_digit_codec",
    width: int = 128,
    layers: int = 6,
    total_steps: int = 4_000,
) -> Experiment:
    import digits_any_to_any  # the files beside this one
    import spoken_digit_codec

    sources = digits_any_to_any.sources()
    codec = FrozenRun(
        audio,
        experiment=spoken_digit_codec.experiment(),
        command="vqjax train spoken_digit_codec",
    )
    return Experiment(
        task=DiffusionTask(
            RotaryDiT(
                width=width,
                layers=layers,
                heads=4,
                patch=4,
                condition=Tokens(codebooks=4, positions=FRAMES, width=width),
            ),
            solver=DPMSolver(20),
            array="image.image",
            source=TokenStream(codec, codebooks=4, ends=True),
        ),
        data=Paired({"image": sources["image"], "audio": sources["audio"]}),
        optimizers={
            "denoiser": Muon(
                Cosine(3e-3, steps=total_steps, warmup=100), weight_decay=0.0, clip=1.0
            )
        },
        batch_size=32,
        eval_batch_size=200,
        eval_every=max(1, total_steps // 4),
        ema_decay=0.999,
        total_steps=total_steps,
    )
