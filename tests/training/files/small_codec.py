"""A codec of short melodies, of a few thousand weights."""

from vqjax.data import Loudness, Tones
from vqjax.losses import MultiScaleMel
from vqjax.quantizers import EMAVectorQuantizer, Residual
from vqjax.tasks import SoundTokenizerTask
from vqjax.tokenizers import FrameDecoder, FrameEncoder, Tokenizer
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Adam


def experiment() -> Experiment:
    sizes = {"hop": 40, "width": 8, "blocks": 0, "latent_dim": 8}
    return Experiment(
        task=SoundTokenizerTask(
            Tokenizer(
                encoder=FrameEncoder(**sizes),
                quantizer=Residual(EMAVectorQuantizer(codebook_size=8, codebook_dim=4), stages=2),
                decoder=FrameDecoder(**sizes),
            ),
            loss_weights={"mel": 1.0, "commitment": 0.25},
            losses=(MultiScaleMel(8_000, windows=(64,), mels=(8,)),),
        ),
        data=Tones(samples=320, train_clips=16, eval_clips=4, loudness=Loudness()),
        optimizers={"tokenizer": Adam(1e-3)},
        batch_size=8,
        total_steps=6,
        log_every=1,
        save_every=2,
        eval_every=6,
    )
