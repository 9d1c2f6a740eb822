"""Spoken digits as tokens: 8 codebooks of 256 at 50 frames per second, or with hop=64 at 125.

    vqjax prepare spoken_digit
    vqjax train spoken_digit_codec
    vqjax train spoken_digit_codec --arg hop=64 --workdir runs/spoken_digit_codec_64

Cost: not measured.
"""

from vqjax.data import Loudness, TFDSAudio
from vqjax.losses import SDR, MultiScaleMel
from vqjax.ops.schedules import Cosine
from vqjax.quantizers import EMAVectorQuantizer, Residual
from vqjax.tasks import SoundTokenizerTask
from vqjax.tokenizers import FrameDecoder, FrameEncoder, MelHead, Tokenizer
from vqjax.training.experiment import Experiment
from vqjax.training.optim import AdamW

TINY = (
    "total_steps=2",
    "batch_size=8",
    "task.tokenizer.quantizer.template.codebook_size=16",
    "task.tokenizer.encoder.blocks=1",
    "task.tokenizer.decoder.blocks=1",
)
RATE = 8_000


def experiment(
    hop: int = 160, sdr: float = 0.1, width: int = 192, total_steps: int = 20_000
) -> Experiment:
    sizes = {"hop": hop, "width": width, "latent_dim": width}
    return Experiment(
        task=SoundTokenizerTask(
            tokenizer=Tokenizer(
                encoder=FrameEncoder(**sizes),
                quantizer=Residual(
                    EMAVectorQuantizer(codebook_size=256, codebook_dim=32),
                    stages=8,
                    dropout=0.5,
                    per="example",
                ),
                decoder=FrameDecoder(**sizes),
            ),
            losses=(MultiScaleMel(RATE), SDR()),
            head=MelHead(RATE, hop=hop),
            loss_weights={"mel": 1.0, "sdr": sdr, "first_codebook": 1.0},
        ),
        data=TFDSAudio(
            "spoken_digit",
            samples=2_400 // hop * hop,
            hold_out=r"_[0-4]\.wav$",
            leave_out="theo",
            classes={"speaker": r"^\d_([a-z]+)_"},
            loudness=Loudness(),
        ),
        optimizers={
            "tokenizer": AdamW(Cosine(2e-3, steps=total_steps, warmup=100), b2=0.99, clip=10.0)
        },
        batch_size=16,
        eval_every=max(1, total_steps // 4),
        total_steps=total_steps,
    )
