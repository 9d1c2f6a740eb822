"""A diffusion transformer over the latents of `spoken_digit_codec.py`: a digit, said in a voice.

    vqjax prepare spoken_digit
    vqjax train spoken_digit_codec
    vqjax train spoken_digit_dit
    vqjax sample runs/spoken_digit_dit --classes 3,7 --condition speaker=jackson --out out

What it makes is quantized and decoded. Every sound is as long as the window: the silence after a
digit is made, too. The rows are those of `spoken_digit_gpt.py`.

Over the codec in `pretrained/digits_any_to_any`, 22 minutes on one core, other work on the other
one. Of 1,000 samples, digits and voices in turn, the judge hears the digit in 90.9 %, at a Fréchet
distance of 0.737; with guidance 3 in 99.0 %, at 0.240 (commit 43e3a7d, `--arg width=128`, which is
now the default; docs/generators.md).

Cost: 22 min, busy.
"""

from vqjax.config import FrozenRun
from vqjax.data import Loudness, TFDSAudio
from vqjax.denoisers import RotaryDiT
from vqjax.ops.schedules import Cosine
from vqjax.priors import ClassLabel, Several
from vqjax.sampling import DPMSolver
from vqjax.tasks import DiffusionTask
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Muon

TINY = ("total_steps=2", "batch_size=8", "task.denoiser.width=16", "task.denoiser.layers=1")


def experiment(
    tokenizer: str = "runs/spoken_digit_codec",
    width: int = 128,
    layers: int = 6,
    total_steps: int = 4_000,
) -> Experiment:
    import spoken_digit_codec  # the files beside this one
    from spoken_digit_gpt import SPEAKERS

    speaker = ClassLabel(len(SPEAKERS), dropout=0.0, batch_key="speaker", names=SPEAKERS)
    return Experiment(
        task=DiffusionTask(
            RotaryDiT(
                width=width,
                layers=layers,
                heads=4,
                dropout=0.1,
                condition=Several((ClassLabel(10, dropout=0.0), speaker), dropout=0.1),
            ),
            solver=DPMSolver(20),
            tokenizer=FrozenRun(
                tokenizer,
                experiment=spoken_digit_codec.experiment(),
                command="vqjax train spoken_digit_codec",
            ),
        ),
        data=TFDSAudio(
            "spoken_digit",
            samples=8_320,
            crop="start",
            shift=159,
            hold_out=r"_[0-4]\.wav$",
            leave_out="theo",
            classes={"speaker": r"^\d_([a-z]+)_"},
            loudness=Loudness(),
        ),
        optimizers={
            "denoiser": Muon(
                Cosine(3e-3, steps=total_steps, warmup=100), weight_decay=0.0, clip=1.0
            )
        },
        batch_size=32,
        eval_batch_size=50,
        eval_every=max(1, total_steps // 4),
        ema_decay=0.999,
        total_steps=total_steps,
    )
