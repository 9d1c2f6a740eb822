"""`LogMelEncoder`: sound as one is told to hear it, for what is to know more of it than its waves.

Log mel frames, as a picture of time and frequency, go through stages of ConvNeXt blocks; each stage
but the first has half the frames and half the bands.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.nn.checked import Checked
from vqjax.nn.convnext import ConvNeXtBlock
from vqjax.ops.audio import frame, mel_matrix, windowed
from vqjax.ops.numerics import at_least_float32
from vqjax.types import UsageError


class LogMelEncoder(Checked):
    """Sound [B, T, C] -> latents [B, f, m, latent_dim], of frames and bands.

    Attributes:
        rate: samples per second.
        hop: samples from frame to frame.
        window: samples of a frame, in whose middle its hop is.
        mels: bands.
        floor: the magnitude of a band below which there is silence, at the level of training.
        patch: frames and bands of a vector of the first stage.
        widths: channels of each stage.
        blocks: ConvNeXt blocks of each stage.
        kernel: of their convolutions, along both axes.
        latent_dim: channels of the latents.
        dtype: to compute in; None: the experiment's `compute_dtype`.
    """

    rate: float
    hop: int = 80
    window: int = 256
    mels: int = 40
    floor: float = 0.03
    patch: tuple[int, int] = (4, 4)
    widths: tuple[int, ...] = (48, 96, 128)
    blocks: int = 1
    kernel: int = 5
    latent_dim: int = 64
    dtype: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("hop", "mels", "kernel", "latent_dim"):
            if getattr(self, name) < 1:
                raise UsageError(f"LogMelEncoder.{name}={getattr(self, name)}: wanted at least 1")
        if not self.rate > 0 or not self.floor > 0 or self.window < self.hop or self.blocks < 0:
            raise UsageError(
                f"LogMelEncoder: rate={self.rate}, floor={self.floor}, window={self.window}, "
                f"blocks={self.blocks}: wanted above 0, a window of at least the hop, and 0 blocks "
                "or more"
            )
        if not self.widths or min(*self.widths, *self.patch) < 1:
            raise UsageError(
                f"LogMelEncoder: widths={self.widths}, patch={self.patch}: wanted at least 1 each"
            )

    @property
    def factors(self) -> tuple[int, int]:
        """Frames and bands per vector of the latents."""
        halved = 1 << (len(self.widths) - 1)
        return self.patch[0] * halved, self.patch[1] * halved

    def grid(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """(T,) -> (f, m): what is not a whole number of them is padded.

        Raises:
            UsageError: these are no examples of sound.
        """
        if len(shape) != 1 or shape[0] < 1:
            raise UsageError(f"{list(shape)}: log mel frames are of sound [T, C], with one axis T")
        frames, bands = self.factors
        return -(-shape[0] // (self.hop * frames)), -(-self.mels // bands)

    def log_mel(self, x: jax.Array) -> jax.Array:
        """x [B, T, C] -> the log10 of the bands of the channels' mean, in units of `floor`, at
        least 0: float32[B, F, mels], as many frames as `grid` has room for.
        """
        samples = self.grid(x.shape[1:-1])[0] * self.factors[0] * self.hop
        before = (self.window - self.hop) // 2
        after = samples - x.shape[1] + self.window - self.hop - before
        signal = jnp.pad(at_least_float32(x).mean(-1), ((0, 0), (before, after)))
        frames = windowed(frame(signal, self.window, self.hop))  # [B, F, window]
        bands = jnp.abs(jnp.fft.rfft(frames)) @ mel_matrix(self.rate, self.window, self.mels)
        return 0.5 * jnp.log10(1.0 + jnp.square(bands / self.floor))

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, T, C] -> [B, f, m, latent_dim]."""
        h = self.log_mel(x)  # [B, F, mels]
        missing = -self.mels % self.factors[1]
        h = jnp.pad(h, ((0, 0), (0, 0), (0, missing)))[..., None]
        for stage, width in enumerate(self.widths):
            h = _folded(h, self.patch if stage == 0 else (2, 2))  # [B, f, m, patch]
            h = nn.Dense(width, dtype=self.dtype, name=f"reduce_{stage}")(h)
            h = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name=f"norm_{stage}")(h)
            for block in range(self.blocks):
                name = f"block_{stage}_{block}"
                h = ConvNeXtBlock(kernel=self.kernel, dtype=self.dtype, name=name)(h)
        return nn.Dense(self.latent_dim, dtype=self.dtype, name="out")(nn.gelu(h))


def _folded(x: jax.Array, patch: tuple[int, int]) -> jax.Array:
    """x [B, F, M, C] -> [B, F / p, M / q, p q C], its patches."""
    batch, frames, bands, channels = x.shape
    p, q = patch
    x = x.reshape(batch, frames // p, p, bands // q, q, channels)
    return jnp.swapaxes(x, 2, 3).reshape(batch, frames // p, bands // q, -1)
