"""How near a reconstruction of sound is to its original, example by example.

Sound is [B, T, C], zero from its length on; the STFT has a periodic hann window and a hop of a
quarter of it, is centred, and zeros surround the signal. Frames count whose centre lies within the
length, so that no distance depends on padding.
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from vqjax.ops.audio import SLANEY, mel_matrix, scale_invariant_ratio, stft
from vqjax.ops.numerics import at_least_float32

WINDOWS = (32, 64, 128, 256, 512, 1024, 2048)
MELS = (5, 10, 20, 40, 80, 160, 320)  # bands of each window
CLAMP = 1e-5  # bands and magnitudes below count as this


def _magnitudes(x: jax.Array, window: int) -> jax.Array:
    """|STFT| of x [B, T, C]: [B, C, frames, bins]."""
    x = jnp.swapaxes(at_least_float32(x), 1, 2)
    return jnp.abs(stft(x, window, window // 4, mode="constant"))


def _mean_over_frames(values: jax.Array, window: int, length: jax.Array) -> jax.Array:
    """float[B] of values [B, C, frames, F]: the mean of the frames within `length`, int[B]."""
    counts = 1 + length // (window // 4)  # [B]
    inside = jnp.arange(values.shape[2])[None] < counts[:, None]  # [B, frames]
    per_frame = values.mean((1, 3)) * inside  # [B, frames]
    return per_frame.sum(1) / counts


def mel_distance(
    x: jax.Array,
    x_hat: jax.Array,
    length: jax.Array,
    rate: float,
    windows: Sequence[int] = WINDOWS,
    mels: Sequence[int] = MELS,
) -> jax.Array:
    """float[B]: mean |difference| of log10 of mel bands (slaney's scale, 0 Hz to half the rate,
    filters of equal area, on magnitudes), at least `CLAMP`; averaged over windows.
    """
    chex.assert_equal_shape((x, x_hat))
    total = jnp.zeros(len(x), jnp.float32)
    for window, bands in zip(windows, mels, strict=True):
        filters = mel_matrix(rate, window, bands, scale=SLANEY)  # [bins, bands]
        a, b = (jnp.log10(jnp.maximum(_magnitudes(v, window) @ filters, CLAMP)) for v in (x, x_hat))
        total += _mean_over_frames(jnp.abs(a - b), window, length)
    return total / len(windows)


def stft_distance(
    x: jax.Array, x_hat: jax.Array, length: jax.Array, windows: Sequence[int] = WINDOWS
) -> jax.Array:
    """float[B]: mean |difference| of log10 magnitudes, at least `CLAMP`; averaged over windows."""
    chex.assert_equal_shape((x, x_hat))
    total = jnp.zeros(len(x), jnp.float32)
    for window in windows:
        a, b = (jnp.log10(jnp.maximum(_magnitudes(v, window), CLAMP)) for v in (x, x_hat))
        total += _mean_over_frames(jnp.abs(a - b), window, length)
    return total / len(windows)


def si_sdr(x: jax.Array, x_hat: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The scale-invariant signal-to-distortion ratio in dB, float[B], and whether there is one,
    bool[B]: of silence there is none. See `vqjax.ops.audio.scale_invariant_ratio`.
    """
    sounds = jnp.any(x != 0, axis=(1, 2))  # [B]
    return jnp.where(sounds, scale_invariant_ratio(x, x_hat, length), 0.0), sounds
