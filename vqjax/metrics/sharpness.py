"""How much of the fine detail comes back: blurred reconstructions show here, not in PSNR.

The energy of a picture's fine detail is the sum of |F|^2 over all frequencies farther from zero
than a quarter cycle per pixel (half of Nyquist, in any direction), F the two-dimensional Fourier
transform of each channel after its mean is taken off and a Hann window is laid over it (without
the window, the jump between opposite borders would count as detail).
"""

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from vqjax.metrics.state import State, counted, ratio, unit_range

CUTOFF = 0.25  # cycles per pixel


def _hann(size: int) -> np.ndarray:
    return np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2


def detail_energy(x: jax.Array) -> jax.Array:
    """Energy beyond `CUTOFF` of pictures [B, H, W, C]; returns float[B]."""
    chex.assert_rank(x, 4)
    height, width = x.shape[1:3]
    window = np.outer(_hann(height), _hann(width))[None, :, :, None]  # [1, H, W, 1]
    distance = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])  # [H, W]
    fine = jnp.asarray(distance > CUTOFF, x.dtype)
    centred = x - x.mean(axis=(1, 2), keepdims=True)  # [B, H, W, C]
    spectrum = jnp.fft.fft2(centred * jnp.asarray(window, x.dtype), axes=(1, 2))  # [B, H, W, C]
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    return (power * fine[None, :, :, None]).sum(axis=(1, 2, 3))  # [B]


@flax.struct.dataclass
class HighFrequency(State):
    """Energy of fine detail in all reconstructions over that in all originals.

    1.0: as sharp as the originals; below: blurred; above: detail that is not there. No number
    where the originals have no fine detail at all.
    """

    reconstructed: jax.Array | np.ndarray
    original: jax.Array | np.ndarray

    @classmethod
    def empty(cls) -> "HighFrequency":
        return cls(np.zeros((), np.float64), np.zeros((), np.float64))

    @classmethod
    def of(cls, x: jax.Array, x_hat: jax.Array, mask: jax.Array | None = None) -> "HighFrequency":
        """`x`, `x_hat`: [B, H, W, C] in [-1, 1] (what lies outside is clipped); `mask`: bool[B]."""
        chex.assert_equal_shape([x, x_hat])
        energies = (counted(detail_energy(unit_range(a)), mask)[0] for a in (x_hat, x))
        return cls(*energies)

    def compute(self) -> dict[str, float]:
        if float(self.original) == 0.0:
            return {}
        return {"high_frequency_ratio": ratio(self.reconstructed, self.original)}
