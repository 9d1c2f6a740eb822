"""How far sound is from its original in what frequencies are in it, and how loud.

Each takes (x, x_hat, logits) as those of `vqjax.losses.reconstruction` do; sound is [B, T, C].
Signals shorter than half of the longest window are refused.
"""

import dataclasses
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp

from vqjax.config.annotations import check_fields
from vqjax.ops.audio import SLANEY, mel_matrix, stft
from vqjax.ops.numerics import at_least_float32
from vqjax.types import UsageError


def _check_signal(name: str, windows: tuple[int, ...], shape: tuple[int, ...]) -> None:
    if len(shape) != 2:
        raise UsageError(f"the loss {name!r} takes sound [T, C], not {list(shape)}")
    if shape[0] <= max(windows) // 2:
        raise UsageError(
            f"the loss {name!r} has a window of {max(windows)}: the examples have {shape[0]} "
            f"samples, at least {max(windows) // 2 + 1} are needed"
        )


def _channels_first(x: jax.Array) -> jax.Array:
    """[B, T, C] -> [B, C, T], in at least float32."""
    return jnp.swapaxes(at_least_float32(x), 1, 2)


def magnitudes(x: jax.Array, window: int, floor: float = 1e-7) -> jax.Array:
    """|STFT| of x [.., T], hann window, hop a quarter of it, centred: [.., frames, bins].

    Below `floor` the gradient is zero, not infinite.
    """
    spectrum = stft(x, window, window // 4)  # [.., frames, bins]
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    return jnp.sqrt(jnp.maximum(power, floor**2))


def log_mels(x: jax.Array, rate: float, window: int, mels: int, clamp: float) -> jax.Array:
    """log10 of the mel bands of x [.., T] (slaney's scale and area), at least `clamp`."""
    bands = magnitudes(x, window) @ mel_matrix(rate, window, mels, scale=SLANEY)
    return jnp.log10(jnp.maximum(bands, clamp))  # [.., frames, mels]


@dataclasses.dataclass(frozen=True)
class MultiScaleMel:
    """Mean |difference| of log10 mel bands, averaged over windows (arXiv 2306.06546, section 3.4).

    Attributes:
        rate: samples per second.
        windows: of the transforms, in samples; each hops a quarter of itself.
        mels: bands of each; a window's bins are at least twice as many.
        clamp: bands below count as this.
    """

    rate: float
    windows: tuple[int, ...] = (32, 64, 128, 256, 512, 1024, 2048)
    mels: tuple[int, ...] = (5, 10, 20, 40, 80, 160, 320)
    clamp: float = 1e-5
    name: ClassVar[str] = "mel"
    needs_logits: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.windows) != len(self.mels) or not self.windows:
            raise UsageError(f"windows={self.windows}, mels={self.mels}: one number for each")

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuses examples of `shape` (T, C) that are no sound, or too short."""
        _check_signal(self.name, self.windows, shape)

    def distance(self, x: jax.Array, x_hat: jax.Array) -> jax.Array:
        """float[B] of x and x_hat [B, T, C]."""
        chex.assert_equal_shape((x, x_hat))
        x, x_hat = _channels_first(x), _channels_first(x_hat)
        total = 0.0
        for window, mels in zip(self.windows, self.mels, strict=True):
            settings = self.rate, window, mels, self.clamp
            far = jnp.abs(log_mels(x, *settings) - log_mels(x_hat, *settings))
            total += far.mean((1, 2, 3))  # [B]
        return total / len(self.windows)

    def __call__(self, x: jax.Array, x_hat: jax.Array, logits: jax.Array) -> jax.Array:
        return self.distance(x, x_hat).mean()


@dataclasses.dataclass(frozen=True)
class MultiScaleSTFT:
    """Spectral convergence and mean |difference| of log magnitudes, averaged over windows (arXiv
    1910.11480, eq. 4 to 6).

    Attributes:
        windows: of the transforms, in samples; each hops a quarter of itself.
        clamp: magnitudes below count as this.
    """

    windows: tuple[int, ...] = (64, 128, 256, 512, 1024)
    clamp: float = 1e-5
    name: ClassVar[str] = "stft"
    needs_logits: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.windows:
            raise UsageError("windows=(): wanted one at least")

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuses examples of `shape` (T, C) that are no sound, or too short."""
        _check_signal(self.name, self.windows, shape)

    def distance(self, x: jax.Array, x_hat: jax.Array) -> jax.Array:
        """float[B] of x and x_hat [B, T, C]."""
        chex.assert_equal_shape((x, x_hat))
        x, x_hat = _channels_first(x), _channels_first(x_hat)
        total = 0.0
        for window in self.windows:
            a, b = magnitudes(x, window), magnitudes(x_hat, window)  # [B, C, frames, bins]
            lost = jnp.sqrt(jnp.square(a - b).sum((1, 2, 3)) + 1e-12)
            convergence = lost / jnp.sqrt(jnp.square(a).sum((1, 2, 3)) + 1e-6)  # [B]; eq. 5
            logs = jnp.log(jnp.maximum(a, self.clamp)) - jnp.log(jnp.maximum(b, self.clamp))
            total += convergence + jnp.abs(logs).mean((1, 2, 3))  # eq. 6
        return total / len(self.windows)

    def __call__(self, x: jax.Array, x_hat: jax.Array, logits: jax.Array) -> jax.Array:
        return self.distance(x, x_hat).mean()
