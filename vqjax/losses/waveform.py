"""How much louder sound is than what is wrong with its reconstruction, in dB.

Each takes (x, x_hat, logits) as those of `vqjax.losses.reconstruction` do; sound is [B, T, C].
"""

import dataclasses
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp

from vqjax.config.annotations import check_fields
from vqjax.ops.audio import scale_invariant_ratio
from vqjax.ops.numerics import at_least_float32


@dataclasses.dataclass(frozen=True)
class SDR:
    """Minus the signal-to-distortion ratio in dB, the mean over examples:
    10 log10 of |x - x_hat|^2 / |x|^2.

    Attributes:
        most: dB that an example can gain at the most: 10^(-most / 10) is added to the quotient.
        floor: added to both energies; so silence counts for little.
    """

    most: float = 30.0
    floor: float = 0.01
    name: ClassVar[str] = "sdr"
    needs_logits: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, x: jax.Array, x_hat: jax.Array, logits: jax.Array) -> jax.Array:
        chex.assert_equal_shape((x, x_hat))
        x, x_hat = at_least_float32(x), at_least_float32(x_hat)
        axes = tuple(range(1, x.ndim))
        wrong = jnp.sum(jnp.square(x - x_hat), axes)  # [B]
        signal = jnp.sum(jnp.square(x), axes) + self.floor
        least = 10.0 ** (-self.most / 10.0)
        return jnp.mean(10.0 * jnp.log10((wrong + self.floor * least) / signal + least))


@dataclasses.dataclass(frozen=True)
class SISDR:
    """Minus the scale-invariant signal-to-distortion ratio in dB (arXiv 1811.02508, eq. 5), the
    mean over examples that are not silent.

    It leaves the level free: take another loss beside it. Far from any likeness its gradient is
    small, and `SDR` learns faster.

    Attributes:
        most: dB above which an example gains nothing.
    """

    most: float = 30.0
    name: ClassVar[str] = "si_sdr"
    needs_logits: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, x: jax.Array, x_hat: jax.Array, logits: jax.Array) -> jax.Array:
        chex.assert_equal_shape((x, x_hat))
        sounds = jnp.any(x != 0, axis=tuple(range(1, x.ndim)))  # [B]
        ratio = jnp.minimum(scale_invariant_ratio(x, x_hat), self.most)  # [B]
        return -jnp.sum(jnp.where(sounds, ratio, 0.0)) / jnp.maximum(jnp.sum(sounds), 1)
