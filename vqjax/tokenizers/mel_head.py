"""`MelHead`: what the first codebook of a sound codec is to know by itself."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.nn.activations import activation
from vqjax.nn.checked import Checked
from vqjax.ops.audio import frame, mel_matrix, windowed
from vqjax.ops.numerics import at_least_float32
from vqjax.types import UsageError


class MelHead(Checked):
    """Vectors of frames, [B, F, D] -> the log mel bands of these frames, [B, F, mels].

    A codec of waveforms spends its first codebook on phase. Where this head has to predict, from
    the first code of a frame alone, how loud each band is there, the codebook becomes one of sounds
    instead, as a prior over tokens needs it.

    Attributes:
        rate: samples per second.
        hop: samples from frame to frame, the tokenizer's.
        window: samples of a frame, which ends as the encoder's does, with its hop.
        mels: bands.
        width: channels between its two layers.
        dtype: to compute in; None: the experiment's `compute_dtype`.
    """

    rate: float
    hop: int = 160
    window: int = 256
    mels: int = 40
    width: int = 128
    dtype: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.hop, self.mels, self.width) < 1 or self.window < self.hop:
            raise UsageError(
                f"MelHead: hop={self.hop}, window={self.window}, mels={self.mels}, "
                f"width={self.width}: wanted at least 1 each, and a window of at least the hop"
            )

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """z [B, F, D] -> [B, F, mels]."""
        h = activation("gelu")(nn.Dense(self.width, dtype=self.dtype, name="up")(z))
        return nn.Dense(self.mels, dtype=self.dtype, name="out")(h)

    def target(self, x: jax.Array) -> jax.Array:
        """Sound x [B, T, C], T a multiple of the hop -> what is predicted, float32[B, T / hop + 1,
        mels]: log10 of the bands of the channels' mean, near 0 for speech at -24 dB.
        """
        signal = at_least_float32(x).mean(-1)  # [B, T]
        signal = jnp.pad(signal, ((0, 0), (self.window - self.hop, self.hop)))
        frames = windowed(frame(signal, self.window, self.hop))  # [B, F, window]
        bands = jnp.abs(jnp.fft.rfft(frames)) @ mel_matrix(self.rate, self.window, self.mels)
        return jnp.log10(jnp.maximum(bands, 1e-4)) + 2.0
