"""The patch discriminator of pix2pix."""

import jax
from flax import linen as nn

from vqjax.nn.checked import Checked
from vqjax.nn.conv import Conv
from vqjax.nn.norm import BatchNorm, GroupNorm
from vqjax.types import UsageError, did_you_mean

NORMS = ("batch", "group", "none")
WIDEST = 8  # multiple of `width` at which the channels stop doubling
_KERNEL = 4


def _scale_init(key: jax.Array, shape: tuple[int, ...], dtype: str = "float32") -> jax.Array:
    return 1.0 + 0.02 * jax.random.normal(key, shape, dtype)


class PatchGAN(Checked):
    """Judges overlapping patches, one logit each (arXiv 1611.07004, section 3.2.2).

    `layers` convolutions of stride 2 and two of stride 1, all with kernel 4: channels double from
    `width` up to eight times `width`; all but the first and the last are normalised; LeakyReLU
    with slope 0.2. Kernels start from N(0, 0.02^2). With 3 layers each patch is 70 positions wide;
    with 1 layer 16, with 2 layers 34.

    Each call normalises by its own input alone, in training as elsewhere; no running averages are
    kept.

    Attributes:
        width: channels after the first layer.
        layers: convolutions of stride 2, at least 1.
        norm: "group", statistics of each example, the same on any number of devices and in
            microbatches of any size; "batch", as published, statistics of all examples of the
            call; or "none".
        dtype: to compute in; None: the experiment's `compute_dtype`.
    """

    width: int = 64
    layers: int = 3
    norm: str = "group"
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, *S, C] -> logits [B, *s, 1], with s = floor(S / 2^layers) - 2.

        Raises:
            UsageError: fewer than 1 layer, more than the input has room for, or an unknown norm.
        """
        self._check(x.shape[1:-1])
        h = self._conv(self.width, 2, "conv_0", use_bias=True)(x)  # [B, *s, width], s = S // 2
        h = nn.leaky_relu(h, 0.2)
        for i in range(1, self.layers + 1):
            features = self.width * min(2**i, WIDEST)
            stride = 2 if i < self.layers else 1
            conv = self._conv(features, stride, f"conv_{i}", use_bias=self.norm == "none")
            h = conv(h)  # [B, *s, features]; s: s // 2 with stride 2, s - 1 with stride 1
            h = nn.leaky_relu(self._normalized(h, f"norm_{i}"), 0.2)
        return self._conv(1, 1, "to_logits", use_bias=True)(h)  # [B, *s, 1]

    def _conv(self, features: int, stride: int, name: str, *, use_bias: bool) -> Conv:
        init = nn.initializers.normal(0.02)
        return Conv(features, _KERNEL, stride, 1, use_bias, init, self.dtype, name=name)

    def _normalized(self, h: jax.Array, name: str) -> jax.Array:
        if self.norm == "group":
            return GroupNorm(dtype=self.dtype, name=name)(h)
        if self.norm == "batch":
            return BatchNorm(dtype=self.dtype, scale_init=_scale_init, name=name)(h)
        return h

    def _check(self, sizes: tuple[int, ...]) -> None:
        if self.norm not in NORMS:
            raise UsageError(f"norm={self.norm!r}: {did_you_mean(self.norm, NORMS)}")
        most = 0
        while min(sizes) >> (most + 1) >= 3:  # the two layers of stride 1 need 3 positions
            most += 1
        if most == 0:
            raise UsageError(f"PatchGAN needs at least 6 positions along each axis, not {sizes}")
        if not 1 <= self.layers <= most:
            raise UsageError(
                f"PatchGAN: layers={self.layers} is not between 1 and {most}, the most that an "
                f"input of {sizes} has room for"
            )
