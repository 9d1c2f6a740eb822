"""The residual generator of today's plain GAN."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.config.annotations import check_fields
from vqjax.nn.conv import Conv
from vqjax.nn.residual import ResidualBlock, condition_vector, resampled, scaled_init
from vqjax.types import Tree, UsageError


class ResidualGenerator(nn.Module):
    """Noise to examples, by residual blocks without normalisation (arXiv 2501.05441, section 3).

    A learned pattern of the coarsest grid, whose channels noise and condition weigh; then for each
    of `widths` its blocks, the grid doubling in between, and a convolution 1x1 to the channels of
    examples. Any rank.

    Attributes:
        widths: channels of each grid, from the coarsest on, which has 1 / 2^(n - 1) of the
            positions of an example along each axis, n being how many there are.
        blocks: of each grid.
        latents: Z, of the noise.
        condition: of `vqjax.priors.conditions`, as one vector: the mean of those that count; None:
            unconditional.
        expansion: see `ResidualBlock`.
        shape: of an example, (*S, C); filled in by the task.
        dtype: to compute in; None: the experiment's `compute_dtype`. The result is float32.
    """

    widths: tuple[int, ...] = (64, 32, 16)
    blocks: int = 1
    latents: int = 64
    condition: nn.Module | None = None
    expansion: int = 2
    shape: tuple[int, ...] = ()
    dtype: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        sizes = (*self.widths, self.latents, self.expansion)
        if not self.widths or min(sizes) < 1 or self.blocks < 0:
            raise UsageError(
                f"generator: widths={self.widths}, blocks={self.blocks}, latents={self.latents}, "
                f"expansion={self.expansion}: wanted at least one width, and 1 of each"
            )
        super().__post_init__()

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuses examples (*S, C) that it cannot make, with UsageError."""
        self._coarsest(shape)

    def _coarsest(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        factor = 2 ** (len(self.widths) - 1)
        if any(size % factor for size in shape[:-1]):
            raise UsageError(
                f"generator.widths={self.widths}: {len(self.widths)} grids need sizes that "
                f"{factor} divides, the data has {' x '.join(map(str, shape[:-1]))}"
            )
        return tuple(size // factor for size in shape[:-1])

    @nn.compact
    def __call__(self, z: jax.Array, cond: Tree | None = None) -> jax.Array:
        """z [B, Z], and what the condition takes -> float32 [B, *S, C], about [-1, 1]."""
        if self.condition is not None:
            vector = condition_vector(*self.condition(cond, self.latents))  # [B, Z]
            z = jnp.concatenate([z, vector.astype(z.dtype)], axis=1)  # [B, 2 Z]
        width, grid = self.widths[0], self._coarsest(self.shape)
        weights = nn.Dense(width, kernel_init=scaled_init(1.0), dtype=self.dtype, name="weigh")(z)
        pattern = self.param("pattern", nn.initializers.normal(1.0), (*grid, width), jnp.float32)
        h = pattern.astype(weights.dtype)[None] * weights.reshape(-1, *(1,) * len(grid), width)
        count = self.blocks * len(self.widths)
        for number, width in enumerate(self.widths):
            if number:
                if width != self.widths[number - 1]:
                    h = _to_channels(width, self.dtype, f"change_{number}")(h)
                h = resampled(h, 2)
            for block in range(self.blocks):
                name = f"block_{number}_{block}"
                h = ResidualBlock(count, self.expansion, self.dtype, name=name)(h)
        return _to_channels(self.shape[-1], self.dtype, "to_output")(h).astype(jnp.float32)


def _to_channels(features: int, dtype: str | None, name: str) -> Conv:
    init = scaled_init(1.0)
    return Conv(features, 1, use_bias=False, kernel_init=init, dtype=dtype, name=name)
