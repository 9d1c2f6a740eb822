"""Signals in frames, and what frequencies are in them, by the conventions of torch and librosa.

Signals are [.., T]: T samples, of any scale. Frames of `size` samples begin every `hop` samples.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

SLANEY, HTK = "slaney", "htk"
SCALES = (SLANEY, HTK)


def frame(x: jax.Array, size: int, hop: int) -> jax.Array:
    """x [.., T] -> [.., frames, size], frames = 1 + (T - size) // hop: whole frames alone.

    Raises:
        ValueError: fewer than `size` samples.
    """
    if x.shape[-1] < size:
        raise ValueError(f"a signal of {x.shape[-1]} samples: frames of {size} need as many")
    frames = 1 + (x.shape[-1] - size) // hop
    pieces = -(-size // hop)  # a frame is so many hops, of the last one a part
    missing = max((frames + pieces - 1) * hop - x.shape[-1], 0)
    x = jnp.pad(x, (*((0, 0),) * (x.ndim - 1), (0, missing)))
    hops = x[..., : (frames + pieces - 1) * hop].reshape(*x.shape[:-1], -1, hop)  # [.., hops, hop]
    shifted = [hops[..., i : i + frames, :] for i in range(pieces)]
    return jnp.concatenate(shifted, -1)[..., :size]  # [.., frames, size]


def overlap_add(frames: jax.Array, hop: int) -> jax.Array:
    """frames [.., n, size], one every `hop` samples -> their sum [.., (n - 1) hop + size]."""
    *batch, count, size = frames.shape
    pieces = -(-size // hop)
    frames = jnp.pad(frames, (*((0, 0),) * (frames.ndim - 1), (0, pieces * hop - size)))
    hops = frames.reshape(*batch, count, pieces, hop)
    total = jnp.zeros((*batch, count + pieces - 1, hop), frames.dtype)
    for i in range(pieces):
        around = (*((0, 0),) * len(batch), (i, pieces - 1 - i), (0, 0))
        total += jnp.pad(hops[..., i, :], around)  # [.., n + pieces - 1, hop]
    return total.reshape(*batch, -1)[..., : (count - 1) * hop + size]


@functools.cache
def hann(size: int) -> np.ndarray:
    """The periodic window sin^2(pi t / size), float32[size]."""
    return (np.sin(np.pi * np.arange(size) / size) ** 2).astype(np.float32)


def windowed(frames: jax.Array, window: np.ndarray | None = None) -> jax.Array:
    """frames [.., size] times a window, float[size]; None: `hann`."""
    window = hann(frames.shape[-1]) if window is None else window
    window = jnp.asarray(window, frames.dtype)
    return frames * window.reshape((1,) * (frames.ndim - 1) + (-1,))


def stft(
    x: jax.Array,
    size: int,
    hop: int,
    *,
    window: np.ndarray | None = None,
    center: bool = True,
    mode: str = "reflect",
    normalized: bool = False,
) -> jax.Array:
    """The short-time Fourier transform of x [.., T]: complex [.., frames, size // 2 + 1].

    Args:
        size: samples of a frame; frequency k is k / size of the sampling rate.
        hop: samples from frame to frame.
        window: float[at most size], in the middle of a frame; None: `hann(size)`.
        center: whether frame i is centred at sample i hop, the signal padded by size // 2 on both
            sides; else it begins there.
        mode: of that padding, a name of `numpy.pad`, such as "reflect" or "constant".
        normalized: whether the result is divided by the square root of `size`.
    """
    window = hann(size) if window is None else window
    before = (size - len(window)) // 2
    window = np.pad(window, (before, size - len(window) - before))  # [size]
    if center:
        x = jnp.pad(x, (*((0, 0),) * (x.ndim - 1), (size // 2, size // 2)), mode=mode)
    frames = frame(x, size, hop)  # [.., frames, size]
    spectrum = jnp.fft.rfft(windowed(frames, window))  # [.., frames, size // 2 + 1]
    return spectrum / math.sqrt(size) if normalized else spectrum


def hertz_to_mel(hertz: np.ndarray | float, scale: str = SLANEY) -> np.ndarray:
    """Frequencies on a mel scale: "htk", 2595 log10(1 + f / 700); "slaney", 3 f / 200 up to 1 kHz,
    logarithmic from there.
    """
    hertz = np.asarray(hertz, np.float64)
    if scale == HTK:
        return 2595.0 * np.log10(1.0 + hertz / 700.0)
    above = 15.0 + 27.0 * np.log(np.maximum(hertz, 1000.0) / 1000.0) / math.log(6.4)
    return np.where(hertz < 1000.0, 3.0 * hertz / 200.0, above)


def mel_to_hertz(mels: np.ndarray | float, scale: str = SLANEY) -> np.ndarray:
    """The inverse of `hertz_to_mel`."""
    mels = np.asarray(mels, np.float64)
    if scale == HTK:
        return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    above = 1000.0 * np.exp(math.log(6.4) * (np.maximum(mels, 15.0) - 15.0) / 27.0)
    return np.where(mels < 15.0, 200.0 * mels / 3.0, above)


@functools.cache
def mel_matrix(
    rate: float,
    size: int,
    mels: int,
    low: float = 0.0,
    high: float | None = None,
    scale: str = SLANEY,
    area: bool = True,
) -> np.ndarray:
    """Triangular filters [size // 2 + 1, mels], from the magnitudes of `stft` to mel bands.

    Args:
        rate: samples per second.
        size: of the transform.
        mels: bands, whose centres are evenly spaced on the scale.
        low: Hz where the first band begins.
        high: Hz where the last band ends; None: half the rate.
        scale: "slaney" or "htk".
        area: whether each band is divided by half its width in Hz, so that all have one area.
    """
    if scale not in SCALES:
        raise ValueError(f"scale={scale!r}: needed is one of {', '.join(SCALES)}")
    high = rate / 2 if high is None else high
    ends = hertz_to_mel(low, scale), hertz_to_mel(high, scale)
    edges = mel_to_hertz(np.linspace(*ends, mels + 2), scale)  # [mels + 2], Hz
    hertz = np.linspace(0.0, rate / 2, size // 2 + 1)[:, None]  # [bins, 1]
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])  # [bins, mels]
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    filters = np.maximum(np.minimum(rising, falling), 0.0)
    if area:
        filters *= 2.0 / (edges[2:] - edges[:-2])
    return filters.astype(np.float32)


def scale_invariant_ratio(
    x: jax.Array, x_hat: jax.Array, length: jax.Array | None = None
) -> jax.Array:
    """The scale-invariant signal-to-distortion ratio in dB of x and x_hat [B, T, C]: float[B]
    (arXiv 1811.02508, eq. 5), the mean over T of each channel taken off before.

    Powers are at least 1e-10: a perfect copy has a finite ratio. Of a silent x there is none; the
    caller leaves such examples out.

    Args:
        length: int[B], samples that count; None: all.
    """
    x, x_hat = (jnp.asarray(v, jnp.promote_types(v.dtype, jnp.float32)) for v in (x, x_hat))
    inside = jnp.ones(x.shape[:2], x.dtype)[..., None]  # [B, T, 1]
    if length is not None:
        inside = (jnp.arange(x.shape[1])[None] < length[:, None]).astype(x.dtype)[..., None]
    count = jnp.maximum(inside.sum(1, keepdims=True), 1.0)  # [B, 1, 1]
    x, x_hat = ((v - (v * inside).sum(1, keepdims=True) / count) * inside for v in (x, x_hat))
    axes = (1, 2)
    power = jnp.maximum(jnp.sum(x * x, axes), 1e-10)  # [B]
    scale = (jnp.sum(x * x_hat, axes) / power)[:, None, None]  # [B, 1, 1]
    signal = jnp.maximum(jnp.sum(jnp.square(scale * x), axes), 1e-10)
    noise = jnp.maximum(jnp.sum(jnp.square(x_hat - scale * x), axes), 1e-10)
    return 10.0 * (jnp.log10(signal) - jnp.log10(noise))
