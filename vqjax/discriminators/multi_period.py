"""The multi-period discriminator of HiFi-GAN."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.nn.checked import Checked
from vqjax.nn.conv import Conv
from vqjax.types import UsageError, Verdict

KERNEL, STRIDE = 5, 3
WIDEST = 32  # multiple of `width` at which the channels stop growing
SLOPE = 0.1  # of LeakyReLU


class MultiPeriod(Checked):
    """Judges sound by every p-th of its samples, for several p (arXiv 2010.05646, section 2.3).

    For each period its samples lie as [T / p, p], the end reflected where p does not divide T;
    convolutions with kernel 5 run along the first axis: `layers` of stride 3, whose channels grow
    fourfold from `width` up to 32 times `width`, one of stride 1, and one to logits. Features
    are what each of them but the last gives.

    Attributes:
        width: channels after the first layer; published is 32.
        layers: convolutions of stride 3; published are 4.
        periods: p, in samples.
        dtype: to compute in; None: the experiment's `compute_dtype`.
    """

    width: int = 16
    layers: int = 3
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    dtype: str | None = None

    gives_features = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.width, self.layers, len(self.periods), *self.periods) < 1:
            raise UsageError(
                f"MultiPeriod: width={self.width}, layers={self.layers}, periods={self.periods}: "
                "wanted at least 1 each, and a period"
            )

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[Verdict, ...]:
        """x [B, T, C] -> a verdict for each period: logits [B p, t, 1], features [B p, t, F].

        Raises:
            UsageError: no sound, or less of it than a period.
        """
        if x.ndim != 3 or x.shape[1] <= max(self.periods):
            raise UsageError(
                f"MultiPeriod takes sound [B, T, C] of more than {max(self.periods)} samples, not "
                f"{list(x.shape)}"
            )
        return tuple(self._verdict(x, period) for period in self.periods)

    def _verdict(self, x: jax.Array, period: int) -> Verdict:
        batch, samples, channels = x.shape
        x = jnp.pad(x, ((0, 0), (0, -samples % period), (0, 0)), mode="reflect")
        h = x.reshape(batch, -1, period, channels).swapaxes(1, 2)  # [B, p, T / p, C]
        h = h.reshape(batch * period, -1, channels)  # [B p, T / p, C]
        features = []
        for i in range(self.layers + 1):
            width = self.width * min(4**i, WIDEST)
            stride = STRIDE if i < self.layers else 1
            name = f"period_{period}_conv_{i}"
            conv = Conv(width, KERNEL, stride, KERNEL // 2, dtype=self.dtype, name=name)
            h = nn.leaky_relu(conv(h), SLOPE)  # [B p, t, width]
            features.append(h)
        to_logits = Conv(1, 3, padding=1, dtype=self.dtype, name=f"period_{period}_to_logits")
        return Verdict(to_logits(h), tuple(features))  # [B p, t, 1]
