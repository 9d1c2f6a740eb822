"""A codec for a folder of your own recordings: 8 codebooks of 256 at 50 frames per second.

    vqjax train sound_folder_codec --arg folder=DIR

Files are found at any depth (wav, flac, ogg, opus, mp3, aiff; any rate and number of channels),
mixed to one channel, resampled to `rate` and brought to one level, whose factor is recorded; val/
or test/ beside train/ is kept for evaluation, else one in ten; what cannot be read is skipped and
named, other formats are counted.

The defaults suit a CPU and speech at 16 kHz. More bits: `--arg hop=128` (125 frames per second), or
`--arg stages=16`. On a GPU or TPU raise, in this order: `--arg total_steps=200000`,
`--arg batch_size=64`, `--arg width=512`, `--arg blocks=8`, and `compute_dtype=bfloat16`. With
`task.tokenizer.encoder.padding=None task.tokenizer.decoder.padding=None` each frame also sees later
ones: somewhat better, and no longer a stream.

A whole run is not measured: 2,500 steps on 3,000 recordings of digits, at 16 kHz, came at 30 per
second on two cores, which makes the cost below.

Cost: 11.2 min.
"""

import os

from vqjax.data import Loudness, SoundFolder
from vqjax.losses import SDR, MultiScaleMel
from vqjax.ops.schedules import Cosine
from vqjax.paths import as_path
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


def experiment(
    folder: str,
    rate: int = 16_000,
    hop: int | None = None,
    stages: int = 8,
    width: int = 192,
    blocks: int = 4,
    batch_size: int = 16,
    total_steps: int = 20_000,
) -> Experiment:
    hop = rate // 50 if hop is None else hop
    sizes = {"hop": hop, "width": width, "blocks": blocks, "latent_dim": width}
    template = EMAVectorQuantizer(codebook_size=256, codebook_dim=32)
    tokenizer = Tokenizer(
        encoder=FrameEncoder(**sizes),
        quantizer=Residual(template, stages=stages, dropout=0.5, per="example"),
        decoder=FrameDecoder(**sizes),
    )
    return Experiment(
        task=SoundTokenizerTask(
            tokenizer=tokenizer,
            losses=(MultiScaleMel(rate), SDR()),
            head=MelHead(rate, hop=hop, window=max(hop, rate // 31)),
            loss_weights={"mel": 1.0, "sdr": 0.1, "first_codebook": 1.0},
        ),
        data=SoundFolder(
            # Absolute: the run can be evaluated and resumed from any directory.
            os.path.abspath(as_path(folder, "folder")),
            rate=rate,
            samples=-(-max(2_400, rate * 3 // 10) // hop) * hop,
            loudness=Loudness(),
        ),
        optimizers={
            "tokenizer": AdamW(Cosine(2e-3, steps=total_steps, warmup=100), b2=0.99, clip=10.0)
        },
        batch_size=batch_size,
        eval_every=max(1, total_steps // 4),
        total_steps=total_steps,
    )
