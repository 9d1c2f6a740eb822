"""The frame codec: sound in overlapping frames, each one vector, and back by overlap-add.

The spectrum of every frame goes through ConvNeXt blocks, which work at the rate of frames; no layer
works at that of samples, which suits processors (arXiv 2306.00814 decodes that way).

T samples have F = T / hop + 1 frames. Frame i of the encoder ends with hop i: it sees the `window`
samples before sample (i + 1) hop. Frame i of the decoder reaches over hops i - 1 and i: sample t is
complete with frame t // hop + 1.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax.nn.checked import Checked
from vqjax.nn.conv import CAUSAL
from vqjax.nn.convnext import ConvNeXtBlock
from vqjax.nn.streams import is_streaming, kept, with_past
from vqjax.ops.audio import frame, overlap_add, windowed
from vqjax.ops.numerics import at_least_float32
from vqjax.types import UsageError, did_you_mean

FLOOR = 1e-4  # added to magnitudes: below, logarithms change little
SCALE = 16.0  # of spectra, so that those of speech at -24 dB have values near 1
GAINS = (-12.0, 6.0)  # the least and the largest logarithm of a frequency's gain


class _Frames(Checked):
    """What encoder and decoder have in common."""

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        for field in ("hop", "width", "kernel"):
            if getattr(self, field) < 1:
                raise UsageError(f"{name}.{field}={getattr(self, field)}: at least 1 is needed")
        if self.padding not in (None, CAUSAL):
            raise UsageError(
                f"{name}.padding={self.padding!r}: {did_you_mean(self.padding, (CAUSAL, None))}"
            )

    @property
    def factors(self) -> int:
        """Samples per frame."""
        return self.hop

    @property
    def look_ahead(self) -> int:
        """Frames after its own that a frame depends on."""
        return 0 if self.padding == CAUSAL else self.blocks * (self.kernel // 2)

    @property
    def streams(self) -> bool:
        """Whether it takes a signal piece by piece (`vqjax.nn.streams`)."""
        return self.padding == CAUSAL

    def _body(self) -> "Backbone":
        return Backbone(self.width, self.blocks, self.kernel, self.padding, self.dtype, name="body")


class Backbone(nn.Module):
    """A linear layer and ConvNeXt blocks.

    Attributes:
        width: channels.
        blocks: their number.
        kernel: of their convolutions.
        padding: see `vqjax.nn.Conv`.
        dtype: to compute in; None: that of input and parameters.
    """

    width: int
    blocks: int
    kernel: int
    padding: str | None
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, F, C] -> [B, F, width]."""
        # No norm beside the blocks: a linear path leads from waveform to waveform, and is found
        # within some hundred steps.
        h = nn.Dense(self.width, dtype=self.dtype, name="in")(x)  # [B, F, width]
        for i in range(self.blocks):
            block = ConvNeXtBlock(
                kernel=self.kernel, padding=self.padding, dtype=self.dtype, name=f"block_{i}"
            )
            h = block(h)
        return h


class FrameEncoder(_Frames):
    """Sound x [B, T, C] -> latents [B, T / hop + 1, latent_dim].

    Attributes:
        hop: samples from frame to frame.
        window: samples of a frame, at least `hop`; None: 2 hop.
        width: channels of the blocks.
        blocks: ConvNeXt blocks.
        kernel: frames that each of them sees.
        padding: "causal": latent i depends on samples before (i + 1) hop alone; None: each block
            sees as many frames after its own as before.
        latent_dim: channels of the result.
        dtype: to compute in; None: the experiment's `compute_dtype`.
    """

    hop: int = 160
    window: int | None = None
    width: int = 192
    blocks: int = 4
    kernel: int = 7
    padding: str | None = CAUSAL
    latent_dim: int = 192
    dtype: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window is not None and self.window < self.hop:
            raise UsageError(
                f"FrameEncoder.window={self.window}: at least hop={self.hop} is needed"
            )

    def grid(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(T,) -> (F,), one frame more than there are hops.

        Raises:
            UsageError: T is no multiple of the hop (the line names the nearest valid sizes), or
                these are no examples of sound.
        """
        if len(shape) != 1:
            raise UsageError(f"{list(shape)}: the frame codec takes sound [T, C], with one axis T")
        samples, hop = shape[0], self.hop
        if samples % hop or samples < 1:
            below = samples // hop * hop
            near = f"{below} or {below + hop}" if below > 0 else str(hop)
            raise UsageError(
                f"{samples} samples are not a multiple of hop={hop}: the nearest valid size is "
                f"{near}"
            )
        return (samples // hop + 1,)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, T, C] -> [B, F, latent_dim]; of a piece of a stream F = T / hop."""
        self.grid(x.shape[1:-1])
        size = self.window or 2 * self.hop
        if not is_streaming(self):
            x = jnp.pad(x, ((0, 0), (0, self.hop), (0, 0)))  # [B, T + hop, C]
        x = with_past(self, x, size - self.hop)  # [B, F hop + size - hop, C]
        frames = frame(jnp.swapaxes(x, 1, 2), size, self.hop)  # [B, C, F, size]
        h = self._body()(spectra(frames))  # [B, F, width]
        return nn.Dense(self.latent_dim, dtype=self.dtype, name="out")(h)


def spectra(frames: jax.Array) -> jax.Array:
    """frames [B, C, F, size] -> their spectra as a network takes them, [B, F, C 3 bins]: of each
    frequency the logarithm of its magnitude, its real and its imaginary part.
    """
    size = frames.shape[-1]
    spectrum = jnp.fft.rfft(windowed(at_least_float32(frames)))  # [B, C, F, bins]
    real, imag = (part * (SCALE / np.sqrt(size)) for part in (spectrum.real, spectrum.imag))
    logs = 0.25 * jnp.log(jnp.square(real) + jnp.square(imag) + (FLOOR * SCALE / 2.0) ** 2)
    features = jnp.concatenate([logs, real, imag], -1)  # [B, C, F, 3 bins]
    return jnp.moveaxis(features, 1, 2).reshape(frames.shape[0], frames.shape[2], -1)


class OverlapAdd(nn.Module):
    """A vector for each frame -> its spectrum -> sound.

    The spectrum is a linear map of the vector, times a gain for each frequency whose logarithm is
    another one: so quiet frames cost no precision.

    Attributes:
        hop: samples from frame to frame, half of a frame.
        channels: C.
        dtype: to compute in; None: that of input and parameters.
    """

    hop: int
    channels: int
    dtype: str | None = None

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        """h [B, F, width] -> [B, (F - 1) hop, C]; of a piece of a stream F hop samples, which are
        late by one hop.
        """
        hop, size = self.hop, 2 * self.hop
        bins = hop + 1
        parts = nn.Dense(self.channels * 2 * bins, dtype=self.dtype, name="spectrum")(h)
        gains = nn.Dense(
            self.channels * bins, kernel_init=nn.initializers.zeros, dtype=self.dtype, name="gain"
        )(h)
        parts, gains = (
            jnp.moveaxis(at_least_float32(v).reshape(*h.shape[:2], self.channels, -1, bins), 1, 2)
            for v in (parts, gains)
        )  # [B, C, F, 2 or 1, bins]
        parts = parts * jnp.exp(jnp.clip(gains, *GAINS)) * np.float32(np.sqrt(size))
        spectrum = jax.lax.complex(parts[..., 0, :], parts[..., 1, :])  # [B, C, F, bins]
        frames = windowed(jnp.fft.irfft(spectrum, size))  # [B, C, F, size]
        y = overlap_add(frames, hop)  # [B, C, (F + 1) hop]
        if not is_streaming(self):
            return jnp.swapaxes(y[..., hop:-hop], 1, 2)  # [B, (F - 1) hop, C]
        tail = kept(self, "tail", (*y.shape[:2], hop), y.dtype)
        y = y.at[..., :hop].add(tail.value)
        tail.value = y[..., -hop:]
        return jnp.swapaxes(y[..., :-hop], 1, 2)  # [B, F hop, C]


class FrameDecoder(_Frames):
    """Latents [B, F, latent_dim] -> sound [B, (F - 1) hop, channels], the encoder's mirror.

    Attributes:
        hop: samples from frame to frame.
        width: channels of the blocks.
        blocks: ConvNeXt blocks.
        kernel: frames that each of them sees.
        padding: as the encoder's.
        latent_dim: channels of the latents.
        channels: of the result.
        dtype: to compute in; None: the experiment's `compute_dtype`.
    """

    hop: int = 160
    width: int = 192
    blocks: int = 4
    kernel: int = 7
    padding: str | None = CAUSAL
    latent_dim: int = 192
    channels: int = 1
    dtype: str | None = None

    def setup(self) -> None:
        self.to_output = OverlapAdd(self.hop, self.channels, self.dtype)

    def __call__(self, z: jax.Array) -> jax.Array:
        """z [B, F, latent_dim] -> [B, (F - 1) hop, channels]."""
        return self.to_output(self.to_features(z))

    @nn.compact
    def to_features(self, z: jax.Array) -> jax.Array:
        """z [B, F, latent_dim] -> the input of `to_output`, [B, F, width]."""
        if z.shape[-1] != self.latent_dim:
            raise ValueError(f"latents have {z.shape[-1]} channels; latent_dim={self.latent_dim}")
        return self._body()(z)
