"""Sizes worked out by hand."""

import dataclasses

import jax
import numpy as np
import pytest

from tests import tiny
from tests.quickly import quick
from tests.small_source import SmallSource, small_experiment
from vqjax.config import FrozenRun
from vqjax.priors import CodebookGPT
from vqjax.quantizers import Identity
from vqjax.runs.load import footprint_of
from vqjax.tasks import PriorTask
from vqjax.training.optim import Adam
from vqjax.types import ArraySpec, UsageError


def test_bits_and_compression_by_hand():
    experiment = small_experiment(SmallSource(), codebook_size=16)
    sizes = footprint_of(experiment, {"image": ArraySpec((8, 12, 3), "uint8")})
    # 4 x 6 tokens of 4 bits for 8 x 12 pixels of 24 bits.
    assert sizes.tokens == 24 and sizes.bits == 96
    assert sizes.bits_per_position == 1.0 and sizes.compression == 24.0


def test_parameters_are_counted_by_part():
    sizes = footprint_of(small_experiment(SmallSource(), 16), SmallSource().example_spec())
    assert sizes.parameters["quantizer"] == 16 * 3
    # Projections 4 -> 3 and 3 -> 4 with biases.
    assert sizes.parameters["projections"] == 4 * 3 + 3 + 3 * 4 + 4
    assert sizes.total == sum(sizes.parameters.values()) > sizes.parameters["encoder"] > 0


def test_sizes_that_the_factor_does_not_divide_are_refused():
    with pytest.raises(UsageError, match="9"):
        footprint_of(small_experiment(SmallSource()), {"image": ArraySpec((9, 8, 1), "uint8")})


def sizes_of(padding="causal", **fields):
    """Of the codec of `tests.tiny`: hop 20, three codebooks of 16, at 8,000 Hz."""
    task = dataclasses.replace(tiny.sound().task, tokenizer=tiny.sound_tokenizer(padding=padding))
    spec = ArraySpec((160, 1), "int16", medium="audio", rate=8_000.0)
    return footprint_of(tiny.sound(task=task), {"audio": dataclasses.replace(spec, **fields)})


def test_a_codec_by_hand():
    sizes = sizes_of()
    codec = sizes.codec
    assert codec.frames_per_second == 400
    assert codec.kbits_per_second == pytest.approx((1.6, 3.2, 4.8))
    assert (codec.look_ahead, codec.delay) == ((0, 0), 40)
    # 12 bits for 20 samples of 16 bits; the last frame of a clip is no part of the rate.
    assert sizes.tokens == 27 and sizes.bits_per_position == 0.6
    assert sizes.compression == pytest.approx(16 / 0.6) and sizes.values_are == "int16"
    assert sizes.examples == "sounds"
    # Of mel bands by width: 4 -> 8 -> 8, with biases.
    assert sizes.parameters["head"] == 4 * 8 + 8 + 8 * 8 + 8
    unknown = sizes_of(rate=None)
    assert unknown.codec.kbits_per_second == () and unknown.codec.delay == 40
    assert unknown.examples == "signals"


@pytest.mark.parametrize("padding", ["causal", None])
def test_the_delay_is_what_a_sample_waits_for(padding):
    codec = sizes_of(padding).codec
    assert codec.look_ahead == ((0, 0) if padding else (1, 1))
    network = tiny.sound_tokenizer(quantizer=Identity(4), padding=padding)
    x = jax.random.normal(jax.random.key(0), (1, 400, 1))
    init = quick(lambda key: network.init(key, x, train=False, step=0))
    variables = init(jax.random.key(1))
    program = lambda x: network.apply(variables, x, train=False, step=0)[0, :, 0]  # noqa: E731
    slope = quick(jax.jacrev(program))(x)[:, 0, :, 0]  # [400 made, 400 heard]
    made, heard = np.nonzero(np.asarray(slope)[:, 150:250])
    wait = int((heard + 150 - made).max())
    # Windows begin at zero: the first sample of a frame hears nothing of it.
    assert codec.delay - 3 <= wait <= codec.delay - 1


def test_a_prior_over_sound_counts_sounds():
    tokenizer = FrozenRun("nowhere", experiment=tiny.sound())
    prior = CodebookGPT(16, 1, 2, ends=True)
    task = PriorTask(prior, tokenizer, codebooks=2)
    plan = dataclasses.replace(tiny.sound(), task=task, optimizers={"prior": Adam(1e-3)})
    sizes = footprint_of(plan, tiny.sound().data.example_spec())
    assert (sizes.examples, sizes.values_are, sizes.codec) == ("sounds", "int16", None)
    assert sizes.tokens == 18
