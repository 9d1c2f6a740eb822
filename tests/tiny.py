"""The smallest experiments that can fail."""

import dataclasses
import pathlib

import numpy as np

from vqjax import config
from vqjax.config import FrozenRun
from vqjax.data import (
    Arrays,
    Binarize,
    Bytes,
    Captions,
    Digits,
    LabelledTexts,
    Loudness,
    Paired,
    Tones,
)
from vqjax.denoisers import RotaryDiT
from vqjax.discriminators import PatchGAN, ResidualDiscriminator
from vqjax.generators import ResidualGenerator
from vqjax.losses import L1, L2, SDR, BernoulliLikelihood, MultiScaleMel
from vqjax.ops.schedules import Ramp
from vqjax.priors import GPT, ClassLabel, JointPrior
from vqjax.quantizers import EMAVectorQuantizer, Gaussian, Identity, Residual
from vqjax.sampling import Heun
from vqjax.tasks import (
    ClassifierTask,
    DiffusionTask,
    GANTask,
    ImageModality,
    JointTask,
    SharedCodesTask,
    SoundModality,
    SoundTokenizerTask,
    TextModality,
    TextStream,
    TextTask,
    TokenizerTask,
    TokenStream,
)
from vqjax.tokenizers import (
    ConvDecoder,
    ConvEncoder,
    FrameDecoder,
    FrameEncoder,
    LogMelEncoder,
    MelHead,
    MLPDecoder,
    MLPEncoder,
    SharedTokenizer,
    TextEncoder,
    Tokenizer,
)
from vqjax.training.experiment import Experiment
from vqjax.training.optim import Adam

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def arrays(shape=(8, 8, 1), train=64, held_out=21, name="image") -> Arrays:
    """uint8 examples with structure, the same every time."""
    rng = np.random.default_rng(0)
    axes = np.meshgrid(*(np.linspace(0, 3, n) for n in shape[:-1]), indexing="ij")
    phase = rng.uniform(0, 6, (train + held_out, *(1,) * len(axes)))
    waves = np.sin(sum(axes)[None] * (1 + phase % 2) + phase)[..., None]
    values = np.repeat((waves * 100 + 127).astype(np.uint8), shape[-1], axis=-1)
    return Arrays(train_arrays={name: values[:train]}, eval_arrays={name: values[train:]})


def tokenizer(quantizer=None, channels=1, width=8) -> Tokenizer:
    sizes = {"width": width, "multipliers": (1, 1), "blocks": 0, "mid_attention": False}
    return Tokenizer(
        encoder=ConvEncoder(**sizes, latent_dim=8),
        quantizer=quantizer or EMAVectorQuantizer(codebook_size=16, codebook_dim=4),
        decoder=ConvDecoder(**sizes, latent_dim=8, channels=channels),
    )


def dense(quantizer=None, shape=(8, 8), **fields) -> Tokenizer:
    """Fully connected, one token per example: compiled in half the time."""
    return Tokenizer(
        encoder=MLPEncoder(shape=shape, widths=(16,)),
        quantizer=quantizer or EMAVectorQuantizer(codebook_size=16, codebook_dim=4),
        decoder=MLPDecoder(shape=shape, widths=(16,), channels=1),
        **fields,
    )


def vqvae(**settings) -> Experiment:
    defaults = {
        "task": TokenizerTask(
            tokenizer(), losses=(L2(),), loss_weights={"l2": 1.0, "commitment": 0.25}
        ),
        "data": arrays(),
        "optimizers": {"tokenizer": Adam(1e-3)},
        "batch_size": 8,
        "total_steps": 6,
        "save_every": 2,
        "log_every": 1,
    }
    return Experiment(**{**defaults, **settings})


def vqgan(generator=0.1, quantizer=None, adversarial=None, **settings) -> Experiment:
    task = {"adversarial": adversarial} if adversarial is not None else {}
    defaults = {
        "task": TokenizerTask(
            tokenizer(quantizer),
            losses=(L1(),),
            loss_weights={
                "l1": 1.0,
                "commitment": 0.25,
                "generator": Ramp(generator),
                "discriminator": 1.0,
            },
            discriminator=PatchGAN(width=8, layers=1),
            **task,
        ),
        "optimizers": {"tokenizer": Adam(1e-3), "discriminator": Adam(1e-3)},
    }
    return vqvae(**{**defaults, **settings})


def ae(**settings) -> Experiment:
    task = TokenizerTask(tokenizer(Identity(3)), losses=(L2(),), loss_weights={"l2": 1.0})
    return vqvae(**{"task": task, **settings})


def vae(binarised=True, **settings) -> Experiment:
    networks = dense(Gaussian(codebook_dim=3), output="sigmoid")
    task = TokenizerTask(networks, losses=(BernoulliLikelihood(),), loss_weights={"nll": 1.0})
    data = dataclasses.replace(arrays(), augment=(Binarize(),) if binarised else ())
    return vqvae(**{"task": task, "data": data, **settings})


def sound_tokenizer(hop=20, quantizer=None, padding="causal") -> Tokenizer:
    sizes = {"hop": hop, "width": 16, "blocks": 1, "latent_dim": 8, "kernel": 3}
    stages = Residual(
        EMAVectorQuantizer(codebook_size=16, codebook_dim=4), stages=3, dropout=0.5, per="example"
    )
    return Tokenizer(
        encoder=FrameEncoder(**sizes, padding=padding, window=max(50, hop)),
        quantizer=quantizer or stages,
        decoder=FrameDecoder(**sizes, padding=padding),
    )


def sound(**settings) -> Experiment:
    """A codec of short melodies, 160 samples of each."""
    task = SoundTokenizerTask(
        sound_tokenizer(),
        losses=(MultiScaleMel(8000, windows=(32, 64), mels=(8, 16)), SDR()),
        loss_weights={"mel": 1.0, "sdr": 0.1, "first_codebook": 1.0},
        head=MelHead(8000, hop=20, window=40, mels=8, width=8),
    )
    data = Tones(samples=160, train_clips=40, eval_clips=10, loudness=Loudness())
    return vqvae(**{"task": task, "data": data, **settings})


def token_prior(prior="gpt", **settings) -> Experiment:
    """Over a data set of tokens; the tokenizer is nowhere."""
    file = pathlib.Path(__file__).parent / "training" / "files" / "small_prior.py"
    plan = config.load_file(str(file), {"tokenizer": "nowhere", "prior": prior}, ())
    rng = np.random.default_rng(0)
    tokens = {
        "tokens": rng.integers(0, 16, (64, 4, 4)).astype(np.int32),
        "label": rng.integers(0, 3, 64).astype(np.int32),
    }
    known = dataclasses.replace(plan.task.tokenizer, experiment=vqvae())
    task = dataclasses.replace(plan.task, tokenizer=known)
    return dataclasses.replace(plan, task=task, data=Arrays(tokens, tokens), **settings)


def denoiser(task=None, **settings) -> Experiment:
    """Of pictures, by class."""
    rng = np.random.default_rng(0)
    pictures = arrays()
    parts = pictures.train_arrays, pictures.eval_arrays
    data = Arrays(
        *({**p, "label": rng.integers(0, 3, len(p["image"])).astype(np.int32)} for p in parts)
    )
    network = RotaryDiT(16, 1, 2, patch=4, condition=ClassLabel(3))
    defaults = {
        "task": DiffusionTask(network, solver=Heun(3), **(task or {})),
        "data": data,
        "optimizers": {"denoiser": Adam(1e-2)},
        "batch_size": 16,
        "total_steps": 6,
        "save_every": 6,
        "eval_batch_size": 16,
    }
    return Experiment(**{**defaults, **settings})


def gan(task=None, **settings) -> Experiment:
    """Of pictures, by class."""
    plan = denoiser()
    networks = {
        "generator": ResidualGenerator((8, 8), latents=4, condition=ClassLabel(3, dropout=0.0)),
        "discriminator": ResidualDiscriminator((8, 8), condition=ClassLabel(3, dropout=0.0)),
    }
    defaults = {
        "task": GANTask(**{**networks, **(task or {})}),
        "optimizers": dict.fromkeys(networks, Adam(1e-3, b1=0.0, b2=0.99)),
    }
    return dataclasses.replace(plan, **{**defaults, **settings})


def joint(**settings) -> Experiment:
    """Tokens of an image, and texts for three labels; the tokenizer is nowhere."""
    rng = np.random.default_rng(0)
    tokens = {
        "tokens": rng.integers(0, 16, (64, 4, 4)).astype(np.int32),
        "label": rng.integers(0, 3, 64).astype(np.int32),
    }
    texts = LabelledTexts((("a", "bb"), ("c",), ("d",)))
    sources = {"image": Arrays(tokens, tokens), "text": Captions(texts, Bytes(), 2)}
    image = TokenStream(FrozenRun("nowhere", experiment=vqvae()))
    streams = {"image": image, "text": TextStream(257, 2, noise=0.5)}
    defaults = {
        "task": JointTask(streams, JointPrior(width=16, layers=1, heads=2), blocks=(0.2, 0.8)),
        "data": Paired(sources),
        "optimizers": {"prior": Adam(1e-2)},
        "batch_size": 16,
        "total_steps": 20,
        "save_every": 20,
        "eval_batch_size": 16,
    }
    return Experiment(**{**defaults, **settings})


def texts(prior=None, **settings) -> Experiment:
    """Three texts of two labels, of at most three letters."""
    defaults = {
        "task": TextTask(prior or GPT(16, 1, 2), vocabulary=257, length=3),
        "data": Captions(LabelledTexts((("a", "cc"), ("bbb",))), Bytes(), 3),
        "optimizers": {"prior": Adam(1e-2)},
        "batch_size": 16,
        "total_steps": 4,
        "save_every": 4,
        "eval_batch_size": 2,
    }
    return Experiment(**{**defaults, **settings})


def shared_codes(quantizer=None, **settings) -> Experiment:
    """Of digits, melodies and texts, for ten labels."""
    texts = LabelledTexts(tuple((word, word[0]) for word in WORDS))
    sources = {
        "audio": Tones(
            samples=4_000, train_clips=40, eval_clips=20, crop="start", loudness=Loudness()
        ),
        "image": Digits(),
        "text": Captions(texts, Bytes(), 6),
    }
    mel = {"hop": 80, "window": 160, "mels": 16, "widths": (16,), "kernel": 3, "latent_dim": 16}
    tokenizer = SharedTokenizer(
        encoders={
            "image": MLPEncoder((8, 8), (16,)),
            "audio": LogMelEncoder(8000, **mel),
            "text": TextEncoder(257, 16),
        },
        quantizer=quantizer or EMAVectorQuantizer(codebook_size=16, codebook_dim=4),
        decoders={
            "image": MLPDecoder((8, 8), (16,), channels=1),
            "audio": MLPDecoder((52, 16), (16,), channels=1),
            "text": MLPDecoder((6,), (16,), channels=257),
        },
        slots=3,
        width=16,
        layers=1,
        heads=2,
    )
    modalities = {
        "image": ImageModality(noise=0.5),
        "audio": SoundModality(noise=0.1),
        "text": TextModality(257, 6, noise=0.5),
    }
    weights = {"image": 1.0, "audio": 1.0, "text": 0.2}
    defaults = {
        "task": SharedCodesTask(tokenizer, modalities, weights, dropped=(0.2, 0.5, 0.3)),
        "data": Paired(sources),
        "optimizers": {"tokenizer": Adam(1e-2)},
        "batch_size": 16,
        "total_steps": 4,
        "save_every": 4,
        "eval_batch_size": 20,
    }
    return Experiment(**{**defaults, **settings})


def sound_classifier(label="label", **settings) -> Experiment:
    """Of melodies; widths alike, so that it compiles fast."""
    sizes = {"hop": 80, "window": 160, "mels": 16, "widths": (16,), "kernel": 3, "latent_dim": 16}
    defaults = {
        "task": ClassifierTask(
            LogMelEncoder(8000, **sizes), classes=10, inputs="audio", label=label
        ),
        "data": Tones(
            samples=8_000, train_clips=200, eval_clips=60, crop="start", loudness=Loudness()
        ),
        "batch_size": 25,
        "eval_batch_size": 30,
    }
    return classifier(**{**defaults, **settings})


def classifier(**settings) -> Experiment:
    defaults = {
        "task": ClassifierTask(MLPEncoder(shape=(8, 8), widths=(16,)), classes=10),
        "data": Digits(),
        "optimizers": {"classifier": Adam(1e-2)},
        "batch_size": 32,
        "total_steps": 60,
        "save_every": 60,
        "eval_batch_size": 99,
    }
    return Experiment(**{**defaults, **settings})
