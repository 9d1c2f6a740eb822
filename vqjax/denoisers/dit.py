"""DiT as it was published."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax import arguments
from vqjax.config.annotations import check_fields
from vqjax.denoisers.base import XAVIER, Denoiser, modulated, modulation
from vqjax.nn.attention import attend, rows_of
from vqjax.nn.patches import patch_grid
from vqjax.nn.timestep import sine_positions
from vqjax.ops.mesh_context import keep_rows
from vqjax.types import Tree, UsageError

EPSILON = 1e-6
MLP = 4  # channels inside, over the width
SIZES = {"S": (384, 12, 6), "B": (768, 12, 12), "L": (1024, 24, 16), "XL": (1152, 28, 16)}
VARIANCES = ("fixed", "learned")


def _norm(dtype: str | None) -> nn.LayerNorm:
    return nn.LayerNorm(EPSILON, dtype=dtype, use_bias=False, use_scale=False)


class _Block(nn.Module):
    """Attention and MLP, each behind a norm that time and condition modulate and before a gate that
    is shut at first; the body of `nn.scan`.
    """

    heads: int
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, vector: jax.Array) -> tuple[jax.Array, None]:
        """x [B, T, C], vector [B, C] -> [B, T, C]."""
        width = x.shape[-1]

        def dense(features: int, name: str) -> nn.Dense:
            return nn.Dense(features, kernel_init=XAVIER, dtype=self.dtype, name=name)

        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = modulation(
            vector, 6, self.dtype, "modulation"
        )
        x = keep_rows(x)
        y = modulated(_norm(self.dtype)(x), shift, scale)  # [B, T, C]
        qkv = dense(3 * width, "qkv")(rows_of(y))  # [B T, 3 C]
        query, key, value = jnp.split(qkv.reshape(*y.shape[:2], 3 * self.heads, -1), 3, axis=2)
        mixed = attend(query, key.swapaxes(1, 2), value.swapaxes(1, 2), None)  # [B, T, h, d]
        y = dense(width, "out")(mixed.reshape(-1, width)).reshape(x.shape)
        x = keep_rows(x + gate * y)
        y = modulated(_norm(self.dtype)(x), mlp_shift, mlp_scale)
        h = jax.nn.gelu(dense(MLP * width, "up")(rows_of(y)), approximate=True)  # [B T, 4 C]
        y = dense(width, "down")(h).reshape(x.shape)
        return keep_rows(x + mlp_gate * y), None


class DiT(Denoiser):
    """The diffusion transformer as it was published (arXiv 2212.09748): LayerNorm, GELU, fixed
    sines as positions, and time and condition in every block by adaLN-Zero, so that at first each
    block is the identity and the output zero. `RotaryDiT` is the one to train.

    Attributes:
        width: channels; `SIZES` has the published ones.
        layers: blocks.
        heads: of attention; they divide the width.
        patch: positions of a patch along each axis.
        condition: see `vqjax.priors.conditions`, by "prefix"; None: unconditional.
        variance: "fixed"; or "learned": as many channels again, which say where between its least
            and its largest value the logarithm of the posterior's variance lies (arXiv 2102.09672,
            eq. 15).
        remat: what of each block the backward pass recomputes (`vqjax.nn.remat`).
        dtype: to compute in; None: the experiment's `compute_dtype`. The result is float32.
    """

    width: int
    layers: int
    heads: int
    patch: int = 2
    condition: nn.Module | None = None
    variance: str = "fixed"
    remat: bool | str = False
    dtype: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        arguments.one_of("denoiser.variance", self.variance, VARIANCES)
        self.check_sizes()
        if self.condition is not None and self.condition.by == "cross":
            raise UsageError("denoiser.condition: DiT takes none by='cross', RotaryDiT does")
        super().__post_init__()

    def positions(self, grid: tuple[int, ...]) -> np.ndarray:
        """See `Denoiser.positions`: float32 [T, width]."""
        return sine_positions(grid, self.width)

    @nn.compact
    def __call__(self, x: jax.Array, t: jax.Array, cond: Tree | None = None) -> jax.Array:
        """x_t [B, *S, C], t [B] -> float32 [B, *S, C], of a learned variance [B, *S, 2 C]."""
        grid, channels = patch_grid(x.shape[1:-1], self.patch), x.shape[-1]
        channels *= 2 if self.variance == "learned" else 1
        vector = self.inputs(t, cond).vector  # [B, C]
        h = self.embedded(x)  # [B, T, C]
        h = h + jnp.asarray(self.positions(grid)).astype(h.dtype)[None]
        h, _ = self.scanned(_Block, self.heads, self.dtype)(h, vector)
        return self.read_out(_norm(self.dtype)(h), vector, grid, channels)
