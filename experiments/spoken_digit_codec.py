"""Spoken digits as tokens: 8 codebooks of 256 at 50 frames per second, or with hop=64 at 125.

    vqjax prepare spoken_digit
    vqjax train spoken_digit_codec
    vqjax train spoken_digit_codec --arg hop=64 --workdir runs/spoken_digit_codec_64
    vqjax evaluate runs/spoken_digit_codec --codecs --by speaker

2 CPU cores, 10 min 25 s beside other work (hop 64: about 18 minutes); 250 takes that training never
saw, of the five speakers that it heard: 3.42 kbit/s, SI-SDR 7.56 dB, mel distance 0.181 (commit
86b7021), hop 64 8.23 kbit/s, 12.34 dB, 0.146 (commit 000c0c8). Opus at 5.65 kbit/s: 6.03 dB, 0.194;
at 7.98: 11.22 dB, 0.150. With fewer codebooks, and a voice that it never heard: docs/sound.md.

Cost: 10.5 min, busy.
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


# {hop: (weight of "sdr", steps)}: of what has measured settings
SETTINGS = {160: (0.1, 20_000), 64: (0.05, 18_000)}


def experiment(
    hop: int = 160, sdr: float | None = None, width: int = 192, total_steps: int | None = None
) -> Experiment:
    weight, steps = SETTINGS.get(hop, SETTINGS[160])
    sdr = weight if sdr is None else sdr
    total_steps = steps if total_steps is None else total_steps
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
