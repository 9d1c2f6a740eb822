"""Log mel frames as a classifier hears them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.tokenizers import LogMelEncoder
from vqjax.types import UsageError

ENCODER = LogMelEncoder(8000, mels=10, patch=(4, 4), widths=(8, 8), latent_dim=6)


@pytest.mark.parametrize("samples", [1, 640, 641, 2_000])
def test_any_number_of_samples_fills_the_grid(samples):
    x = np.zeros((2, samples, 1), np.float32)
    shape = jax.eval_shape(lambda x: ENCODER.init_with_output(jax.random.key(0), x)[0], x).shape
    assert shape == (2, *ENCODER.grid((samples,)), 6)
    assert ENCODER.grid((samples,)) == (-(-samples // 640), 2)  # 8 frames of 80 samples, 8 bands


def test_a_tone_is_in_its_band_and_as_loud_as_it_is():
    times = np.arange(6_400)
    tones = [a * np.sin(2 * np.pi * f / 8000 * times) for a, f in ((0.1, 500), (1, 500), (1, 2500))]
    x = jnp.asarray(np.stack(tones), jnp.float32)[..., None]
    bands = np.asarray(LogMelEncoder(8000).log_mel(x))[:, 20:60].mean(1)  # [3, 40]
    low, loud, high = bands.argmax(1)
    assert low == loud < high
    assert bands[1].max() - bands[0].max() == pytest.approx(1.0, abs=0.02)  # 20 dB
    silence = LogMelEncoder(8000).log_mel(jnp.zeros((1, 800, 1)))
    assert not np.any(silence)
    both = jnp.concatenate([x, jnp.zeros_like(x)], -1)
    halved = LogMelEncoder(8000).log_mel(both)
    np.testing.assert_allclose(halved, LogMelEncoder(8000).log_mel(x / 2), atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hop": 0}, "hop=0"),
        ({"window": 79}, "window=79"),
        ({"floor": 0.0}, r"floor=0\.0"),
        ({"rate": -1.0}, r"rate=-1\.0"),
        ({"widths": ()}, r"widths=\(\)"),
        ({"patch": (0, 4)}, r"patch=\(0, 4\)"),
        ({"mels": "40"}, "mels"),
    ],
)
def test_what_cannot_be(fields, message):
    with pytest.raises(UsageError, match=message):
        LogMelEncoder(**{"rate": 8000, **fields})


@pytest.mark.parametrize("shape", [(28, 28), (), (0,)])
def test_what_is_no_sound(shape):
    with pytest.raises(UsageError, match="one axis T"):
        ENCODER.grid(shape)
