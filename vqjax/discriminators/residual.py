"""The residual discriminator of today's plain GAN."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.config.annotations import check_fields
from vqjax.nn.conv import Conv
from vqjax.nn.residual import ResidualBlock, condition_vector, resampled, scaled_init
from vqjax.types import Tree, UsageError, check_offers

QUANTIZATION = "quantization"  # the collection of what its quantizer gets and returns


class ResidualDiscriminator(nn.Module):
    """Examples to one logit each, by residual blocks without normalisation (arXiv 2501.05441,
    section 3): `ResidualGenerator` backwards. A class is known by the product of its vector with
    the features (arXiv 1802.05637, eq. 3). Any rank.

    Attributes:
        widths: channels of each grid, from the finest on, that of examples; each other one has half
            as many positions along each axis.
        blocks: of each grid.
        condition: of `vqjax.priors.conditions`, as one vector: the mean of those that count; None:
            unconditional.
        expansion: see `ResidualBlock`.
        quantizer: what its coarsest features become, `vqjax.quantizers`, of as many channels
            (arXiv 2004.02088, section 3.2: FQ-GAN); None: they stay as they are.
        dtype: to compute in; None: the experiment's `compute_dtype`. Logits are float32.
    """

    widths: tuple[int, ...] = (16, 32, 64)
    blocks: int = 1
    condition: nn.Module | None = None
    expansion: int = 2
    quantizer: nn.Module | None = None
    dtype: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.widths or min(*self.widths, self.expansion) < 1 or self.blocks < 0:
            raise UsageError(
                f"discriminator: widths={self.widths}, blocks={self.blocks}, "
                f"expansion={self.expansion}: wanted at least one width, and 1 of each"
            )
        if self.quantizer is not None:
            check_offers("discriminator.quantizer", self.quantizer, ("codebook_dim", "input_dim"))
            sizes = {self.quantizer.input_dim, self.quantizer.codebook_dim}
            if sizes != {self.widths[-1]}:
                raise UsageError(
                    f"discriminator.quantizer: wanted one of {self.widths[-1]} channels, the last "
                    f"of widths={self.widths}"
                )
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        cond: Tree | None = None,
        *,
        train: bool = False,
        step: jax.Array | int = 0,
    ) -> jax.Array:
        """x [B, *S, C], and what the condition takes -> float32 [B, 1]. What the quantizer gets and
        returns is sown in the collection "quantization", as "features" and "quantized".
        """
        factor = 2 ** (len(self.widths) - 1)
        if any(size % factor for size in x.shape[1:-1]):
            raise UsageError(
                f"discriminator.widths={self.widths}: {len(self.widths)} grids need sizes that "
                f"{factor} divides, got {' x '.join(map(str, x.shape[1:-1]))}"
            )
        h = _to_channels(self.widths[0], self.dtype, "from_input")(x)
        count = self.blocks * len(self.widths)
        for number, width in enumerate(self.widths):
            if number:
                h = resampled(h, 0.5)
                if width != self.widths[number - 1]:
                    h = _to_channels(width, self.dtype, f"change_{number}")(h)
            for block in range(self.blocks):
                name = f"block_{number}_{block}"
                h = ResidualBlock(count, self.expansion, self.dtype, name=name)(h)
        if self.quantizer is not None:
            quantized = self.quantizer(h, train=train, step=step)
            self.sow(QUANTIZATION, "features", h)
            self.sow(QUANTIZATION, "quantized", quantized)
            h = quantized.z_q
        width, positions = h.shape[-1], math.prod(h.shape[1:-1])
        init = nn.initializers.normal(positions**-0.5)
        pattern = self.param("pattern", init, (*h.shape[1:-1], width), jnp.float32)
        axes = tuple(range(1, h.ndim - 1))
        features = (h.astype(jnp.float32) * pattern[None]).sum(axis=axes)  # [B, width]
        if self.condition is None:
            return nn.Dense(1, kernel_init=scaled_init(1.0), name="head")(features)
        features = nn.Dense(width, kernel_init=scaled_init(1.0), name="head")(features)
        vector = condition_vector(*self.condition(cond, width))  # [B, width]
        return (features * vector).sum(axis=1, keepdims=True) * width**-0.5


def _to_channels(features: int, dtype: str | None, name: str) -> Conv:
    return Conv(features, 1, use_bias=False, kernel_init=scaled_init(1.0), dtype=dtype, name=name)
