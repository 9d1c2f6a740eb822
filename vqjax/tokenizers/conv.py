"""The convolutional encoder and decoder of VQGAN (arXiv 2012.09841, table 7), for any rank.

The published f16 networks are `ConvEncoder(multipliers=(1, 1, 2, 2, 4), attention_factors=(16,))`
and the `ConvDecoder` of the same arguments.
"""

import dataclasses
import math

import jax
from flax import linen as nn

from vqjax.nn.activations import activation
from vqjax.nn.blocks import Middle, Stage
from vqjax.nn.checked import Checked
from vqjax.nn.conv import Conv, Downsample, Factor, Upsample, per_axis
from vqjax.nn.norm import GroupNorm
from vqjax.types import UsageError


@dataclasses.dataclass(frozen=True)
class Levels:
    """The resolutions of a network: level 0 is the data's own, each next one is coarser.

    Attributes:
        count: number of levels.
        strides: factor from each level to the next, count - 1 of them; None: 2 everywhere.
        attention_factors: total factors at whose level there is attention.
    """

    count: int
    strides: tuple[Factor, ...] | None
    attention_factors: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.strides is not None and len(self.strides) != self.count - 1:
            raise UsageError(
                f"strides={self.strides} has {len(self.strides)} entries: "
                f"{self.count} multipliers need {self.count - 1}"
            )
        missing = set(self.attention_factors) - set(self._sizes())
        if missing:
            raise UsageError(
                f"attention_factors={self.attention_factors}: no level has the factor "
                f"{min(missing)} (valid: {', '.join(map(str, dict.fromkeys(self._sizes())))})"
            )

    @property
    def steps(self) -> tuple[Factor, ...]:
        """The factor from each level to the next."""
        return (2,) * (self.count - 1) if self.strides is None else self.strides

    def total(self, level: int | None = None) -> Factor:
        """The factor from the data to `level` (None: the last): an int, or a tuple as strides are.

        Raises:
            UsageError: tuples of different length.
        """
        steps = self.steps[:level]
        axes = {len(step) for step in steps if not isinstance(step, int)}
        if not axes:
            return math.prod(steps)
        columns = zip(*(per_axis(step, max(axes)) for step in steps), strict=True)
        return tuple(math.prod(column) for column in columns)

    def _sizes(self) -> list[int]:
        totals = [self.total(level) for level in range(self.count)]
        return [total if isinstance(total, int) else max(total) for total in totals]

    def attends(self, level: int) -> bool:
        """Whether there is attention at `level`."""
        return self._sizes()[level] in self.attention_factors

    def grid(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The spatial shape at the last level of data of spatial shape `shape`.

        Raises:
            UsageError: the factor does not divide it; the line names the nearest valid sizes.
        """
        factors = per_axis(self.total(), len(shape))
        for axis, (size, factor) in enumerate(zip(shape, factors, strict=True)):
            if size % factor or size < 1:
                below = size // factor * factor
                near = f"{below} or {below + factor}" if below > 0 else str(factor)
                raise UsageError(
                    f"size {size} of spatial axis {axis} in {tuple(shape)} is not a multiple of "
                    f"the factor {factor}: the nearest valid size is {near}"
                )
        return tuple(size // factor for size, factor in zip(shape, factors, strict=True))


class ConvEncoder(Checked):
    """x [B, *S, C] -> latents [B, *(S / factor), latent_dim].

    Attributes:
        width: channels at level 0, before its multiplier.
        multipliers: channels of each level, in units of `width`; one level each.
        blocks: ResBlocks per level.
        strides: factor from each level to the next, one number or one per axis; None: 2.
        attention_factors: total downsampling factors (the largest over the axes) at whose level
            attention follows each ResBlock.
        mid_attention: whether there is attention in the middle.
        latent_dim: channels of the result.
        downsample: "strided" or "average", see `vqjax.nn.conv.Downsample`.
        activation: by name.
        dtype: to compute in; None: the experiment's `compute_dtype`.
        remat: what of each block the backward pass works out again (`vqjax.nn.remat`).
    """

    width: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    blocks: int = 2
    strides: tuple[int | tuple[int, ...], ...] | None = None
    attention_factors: tuple[int, ...] = ()
    mid_attention: bool = True
    latent_dim: int = 256
    downsample: str = "strided"
    activation: str = "silu"
    dtype: str | None = None
    remat: bool | str = False

    def _levels(self) -> Levels:
        return Levels(len(self.multipliers), self.strides, self.attention_factors)

    @property
    def factors(self) -> int | tuple[int, ...]:
        """Positions of the data per token along each axis: a tuple where `strides` has one."""
        return self._levels().total()

    def grid(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Spatial shape of the data -> of the latents.

        Raises:
            UsageError: the factor does not divide it; the line names the nearest valid sizes.
        """
        return self._levels().grid(shape)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, *S, C] -> [B, *s, latent_dim]."""
        levels = self._levels()
        levels.grid(x.shape[1:-1])
        act, dtype = self.activation, self.dtype
        h = Conv(self.width, dtype=dtype, name="conv_in")(x)  # [B, *S, width]
        for level, multiplier in enumerate(self.multipliers):
            features = self.width * multiplier
            settings = (features, self.blocks, levels.attends(level), act, dtype, self.remat)
            h = Stage(*settings, name=f"level_{level}")(h)  # [B, *S / total(level), features]
            if level < levels.count - 1:
                settings = features, levels.steps[level], self.downsample, dtype
                h = Downsample(*settings, name=f"downsample_{level}")(h)  # S / factor
        h = Middle(self.mid_attention, act, dtype, name="mid")(
            h
        )  # [B, *s, width * multipliers[-1]]
        h = activation(act)(GroupNorm(dtype=dtype, name="norm_out")(h))
        return Conv(self.latent_dim, dtype=dtype, name="conv_out")(h)  # [B, *s, latent_dim]


class ConvDecoder(Checked):
    """Latents [B, *s, latent_dim] -> x_hat [B, *(s * factor), channels], the encoder's mirror.

    Levels are numbered and listed as the encoder's are, level 0 being the data's own resolution:
    `width`, `multipliers`, `strides` and `attention_factors` are those of the encoder.

    Attributes:
        width: channels at level 0, before its multiplier.
        multipliers: channels of each level, in units of `width`.
        blocks: ResBlocks per level; published is one more than the encoder's.
        strides: factor from each level to the next, one number or one per axis; None: 2.
        attention_factors: total factors (the largest over the axes) at whose level attention
            follows each ResBlock.
        mid_attention: whether there is attention in the middle.
        latent_dim: channels of the latents.
        channels: of the result.
        activation: by name.
        dtype: to compute in; None: the experiment's `compute_dtype`.
        remat: what of each block the backward pass works out again (`vqjax.nn.remat`).
    """

    width: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    blocks: int = 3
    strides: tuple[int | tuple[int, ...], ...] | None = None
    attention_factors: tuple[int, ...] = ()
    mid_attention: bool = True
    latent_dim: int = 256
    channels: int = 3
    activation: str = "silu"
    dtype: str | None = None
    remat: bool | str = False

    def setup(self) -> None:
        self.to_output = Conv(self.channels, dtype=self.dtype)

    def _levels(self) -> Levels:
        return Levels(len(self.multipliers), self.strides, self.attention_factors)

    @property
    def factors(self) -> int | tuple[int, ...]:
        """Positions of the data per token along each axis: a tuple where `strides` has one."""
        return self._levels().total()

    def __call__(self, z: jax.Array) -> jax.Array:
        """z [B, *s, latent_dim] -> [B, *S, channels]."""
        return self.to_output(self.to_features(z))

    @nn.compact
    def to_features(self, z: jax.Array) -> jax.Array:
        """z [B, *s, latent_dim] -> the input of `to_output`, [B, *S, width * multipliers[0]]."""
        if z.shape[-1] != self.latent_dim:
            raise ValueError(f"latents have {z.shape[-1]} channels; latent_dim={self.latent_dim}")
        levels = self._levels()
        act, dtype = self.activation, self.dtype
        width = self.width * self.multipliers[-1]
        h = Conv(width, dtype=dtype, name="conv_in")(z)  # [B, *s, width * multipliers[-1]]
        h = Middle(self.mid_attention, act, dtype, name="mid")(h)
        for level, multiplier in reversed(list(enumerate(self.multipliers))):
            features = self.width * multiplier
            settings = (features, self.blocks, levels.attends(level), act, dtype, self.remat)
            h = Stage(*settings, name=f"level_{level}")(h)  # [B, *S / total(level), features]
            if level > 0:
                settings = features, levels.steps[level - 1], dtype
                h = Upsample(*settings, name=f"upsample_{level - 1}")(h)  # S * factor
        return activation(act)(GroupNorm(dtype=dtype, name="norm_out")(h))  # [B, *S, features]
