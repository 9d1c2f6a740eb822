"""The blocks that convolutional encoders and decoders are made of."""

import jax
from flax import linen as nn

from vqjax.nn.activations import activation
from vqjax.nn.attention import SelfAttention
from vqjax.nn.conv import Conv
from vqjax.nn.norm import GroupNorm
from vqjax.nn.remat import rematerialised


class ResBlock(nn.Module):
    """Norm, activation and convolution, twice, beside the input (arXiv 1603.05027, fig. 4e).

    Where the channels change, the input goes through a linear layer ("shortcut").

    Attributes:
        features: channels of the result.
        activation: by name.
        dtype: to compute in; None: that of input and parameters.
    """

    features: int
    activation: str = "silu"
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, *S, C] -> [B, *S, features]."""
        act = activation(self.activation)
        h = act(GroupNorm(dtype=self.dtype, name="norm_1")(x))
        h = Conv(self.features, dtype=self.dtype, name="conv_1")(h)  # [B, *S, features]
        h = act(GroupNorm(dtype=self.dtype, name="norm_2")(h))
        h = Conv(self.features, dtype=self.dtype, name="conv_2")(h)
        if x.shape[-1] != self.features:
            x = nn.Dense(self.features, dtype=self.dtype, name="shortcut")(x)  # [B, *S, features]
        return x + h


class Stage(nn.Module):
    """`blocks` ResBlocks at one resolution, each followed by attention if `attention` is set.

    Attributes:
        features: channels of the result.
        blocks: number of ResBlocks.
        attention: whether attention follows each of them.
        activation: by name.
        dtype: to compute in; None: that of input and parameters.
        remat: what of each block the backward pass recomputes (`vqjax.nn.remat`).
    """

    features: int
    blocks: int
    attention: bool = False
    activation: str = "silu"
    dtype: str | None = None
    remat: bool | str = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, *S, C] -> [B, *S, features]."""
        block, attention = (rematerialised(c, self.remat) for c in (ResBlock, SelfAttention))
        for i in range(self.blocks):
            x = block(self.features, self.activation, self.dtype, name=f"block_{i}")(x)
            if self.attention:
                x = attention(dtype=self.dtype, name=f"attention_{i}")(x)
        return x


class Middle(nn.Module):
    """The bottom of an encoder or decoder: ResBlock, attention, ResBlock.

    Attributes:
        attention: whether attention is between the two.
        activation: by name.
        dtype: to compute in; None: that of input and parameters.
    """

    attention: bool = True
    activation: str = "silu"
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x [B, *S, C] -> [B, *S, C]."""
        channels = x.shape[-1]
        x = ResBlock(channels, self.activation, self.dtype, name="block_0")(x)
        if self.attention:
            x = SelfAttention(dtype=self.dtype, name="attention")(x)
        return ResBlock(channels, self.activation, self.dtype, name="block_1")(x)
