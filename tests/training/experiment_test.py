"""Settings that cannot work are refused in one line, before anything is read or computed."""

import dataclasses

import pytest

from tests import tiny
from vqjax.config import apply_overrides
from vqjax.ops.schedules import Ramp
from vqjax.training.experiment import TASK_NEEDS
from vqjax.training.optim import Adam
from vqjax.types import UsageError

INPUTS = tiny.arrays().example_spec()
QUANTIZER = "task.tokenizer.quantizer"
ENCODER = "task.tokenizer.encoder"
LEARNING_RATE = "optimizers.tokenizer.learning_rate"


def check(experiment):
    experiment.check()
    experiment.task.check(INPUTS)


@pytest.mark.parametrize("experiment", [tiny.vqvae(), tiny.vqgan()], ids=["vqvae", "vqgan"])
def test_the_tiny_ones_pass(experiment):
    check(experiment)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data=Adam(0.1)", "data: Adam does not fit here: it has no 'train'"),
        ("task=Adam(0.1)", "task: Adam does not fit here"),
        (f"{ENCODER}=PatchGAN()", "tokenizer.encoder: PatchGAN does not fit"),
        (f"{QUANTIZER}=PatchGAN()", "tokenizer.quantizer: PatchGAN does not fit"),
        ("task.tokenizer.decoder=PatchGAN()", "tokenizer.decoder: PatchGAN does not fit"),
        ("task.tokenizer=PatchGAN()", "tokenizer: PatchGAN does not fit"),
        ("task.losses=(Adam(0.1),)", "losses.0: Adam does not fit here: it has no 'name'"),
        ("task.losses=(L1(),L1())", "two terms have the name 'l1'"),
        ("task.adversarial=L1()", "adversarial: L1 does not fit here: it has no 'generator'"),
        (
            "task.discriminator=VectorQuantizer(16,4)",
            "networks do not fit together: .*'train' and 'step'",
        ),
        (f"{LEARNING_RATE}=-1", r"learning_rate=-1.0: wanted a finite"),
        (f"{LEARNING_RATE}=nan", r"learning_rate=nan: wanted a finite"),
        (f"{LEARNING_RATE}=Constant(-1.0)", r"learning_rate.value=-1.0: wanted a finite"),
        (f"{LEARNING_RATE}=Ramp(1.0,steps=-1)", r"learning_rate.steps=-1: wanted a finite"),
        ("task.loss_weights.l1=-1", r"task.loss_weights.l1=-1.0: wanted a finite"),
        ("task.loss_weights.l1=nan", r"task.loss_weights.l1=nan: wanted a finite"),
        ("task.loss_weights.generator.value=inf", r"generator.value=inf: wanted a finite"),
        ("optimizers.tokenizer.clip=0", "clip=0.0: wanted a number above 0"),
        ("optimizers.tokenizer.clip=nan", "clip=nan: wanted a number above 0"),
        (f"{QUANTIZER}.decay=2.0", "quantizer.decay=2.0: wanted 0 <= decay < 1"),
        (f"{QUANTIZER}.codebook_size=0", "quantizer.codebook_size=0: at least 1"),
        (f"{QUANTIZER}.codebook_size=-3", "quantizer.codebook_size=-3: at least 1"),
        (f"{QUANTIZER}.codebook_dim=0", "quantizer.codebook_dim=0: at least 1"),
        (f"{QUANTIZER}=VectorQuantizer(0,4)", "codebook_size=0: at least 1"),
        (f"{ENCODER}.width=0", "encoder/conv_in would have 0 channels"),
        (f"{ENCODER}.latent_dim=0", "encoder/conv_out would have 0 channels"),
        ("task.tokenizer.decoder.latent_dim=0", "decoder.latent_dim=0: at least 1"),
        ("task.tokenizer.decoder.multipliers=()", "networks do not fit together: tuple index"),
        (f"{ENCODER}.multipliers=(1,1,1)", r"gives \(4, 4, 1\) for \(8, 8, 1\): give encoder and"),
        ("seed=-1", "seed=-1: wanted 0 <= seed < 2"),
        ("seed=4294967296", "seed=4294967296: wanted"),
        ("compute_dtype=float64", "float64' needs JAX_ENABLE_X64"),
    ],
)
def test_what_cannot_work_is_one_line(override, message):
    with pytest.raises(UsageError, match=message) as refusal:
        check(apply_overrides(tiny.vqgan(), (override,)))
    assert "\n" not in str(refusal.value)


def test_a_task_that_cannot_be_called_is_named():
    task = tiny.vqvae().task
    kept = {name: getattr(task, name) for name in TASK_NEEDS} | {"loss_weights": task.loss_weights}
    with pytest.raises(UsageError, match="task: Own does not fit here: it has no '__call__'"):
        dataclasses.replace(tiny.vqvae(), task=type("Own", (), kept)()).check()


def test_float64_where_jax_has_it(x64):
    tiny.vqvae(compute_dtype="float64").check()


def test_zero_is_a_rate_and_a_weight():
    rates = {player: Adam(Ramp(0.0)) for player in ("tokenizer", "discriminator")}
    check(apply_overrides(tiny.vqgan(optimizers=rates), ("task.loss_weights.l1=0",)))
