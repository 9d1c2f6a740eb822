"""The diffusion transformer to train: today's layers instead of those of 2022."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax.config.annotations import check_fields
from vqjax.denoisers.base import ZEROS, Denoiser, modulated, modulation
from vqjax.nn.attention import Attention, CrossAttention, CrossContext
from vqjax.nn.norm import RMSNorm
from vqjax.nn.patches import patch_grid
from vqjax.nn.rotary import rotary_angles
from vqjax.nn.transformer import SwiGLU
from vqjax.ops.mesh_context import keep_rows
from vqjax.types import Tree, UsageError


class _Block(nn.Module):
    """Attention, cross-attention where there is a context, SwiGLU, each behind a norm and before a
    gate that is shut at first; the body of `nn.scan`.
    """

    heads: int
    qk_norm: bool = True
    dropout: float = 0.0
    dtype: str | None = None

    @nn.compact
    def __call__(
        self, x: jax.Array, vector: jax.Array, angles: jax.Array, context: CrossContext | None
    ) -> tuple[jax.Array, None]:
        """x [B, T, C], vector [B, C], angles [T, d / 2] -> [B, T, C]."""
        dropout = nn.Dropout(self.dropout, deterministic=not self.has_rng("dropout"))
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = modulation(
            vector, 6, self.dtype, "modulation"
        )
        x = keep_rows(x)
        y = RMSNorm(dtype=self.dtype, name="attention_norm")(x)
        attention = Attention(
            self.heads, causal=False, qk_norm=self.qk_norm, dtype=self.dtype, name="attention"
        )
        y, _ = attention(modulated(y, shift, scale), angles)  # [B, T, C]
        x = keep_rows(x + gate * dropout(y))
        if context is not None:
            cross = CrossAttention(x.shape[-1], self.heads, self.dtype, name="cross")
            y = cross(RMSNorm(dtype=self.dtype, name="cross_norm")(x), context)
            opened = self.param("cross_gate", ZEROS, (x.shape[-1],), jnp.float32)
            x = x + opened.astype(y.dtype)[None, None] * dropout(y)
        y = RMSNorm(dtype=self.dtype, name="mlp_norm")(x)
        y = SwiGLU(dtype=self.dtype, name="mlp")(modulated(y, mlp_shift, mlp_scale))
        return keep_rows(x + mlp_gate * dropout(y)), None


class RotaryDiT(Denoiser):
    """A diffusion transformer with RMSNorm, SwiGLU, rotary positions, normalised queries and keys
    (arXiv 2501.01423, 2511.13720); time and condition enter by adaLN-Zero as in `DiT`: at first
    each block is the identity and the output zero.

    Attributes:
        width: channels.
        layers: blocks.
        heads: of attention; they divide the width.
        patch: positions of a patch along each axis.
        condition: see `vqjax.priors.conditions`; by "cross" every block attends to it, too. None:
            unconditional.
        qk_norm: whether queries and keys are normalised.
        dropout: of each residual branch.
        remat: what of each block the backward pass recomputes (`vqjax.nn.remat`).
        dtype: to compute in; None: the experiment's `compute_dtype`. The result is float32.
    """

    width: int
    layers: int
    heads: int
    patch: int = 1
    condition: nn.Module | None = None
    qk_norm: bool = True
    dropout: float = 0.0
    remat: bool | str = False
    dtype: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        self.check_sizes()
        if not 0.0 <= self.dropout < 1.0:
            raise UsageError(f"denoiser.dropout={self.dropout}: wanted 0 or more, below 1")
        super().__post_init__()

    def positions(self, grid: tuple[int, ...]) -> np.ndarray:
        """See `Denoiser.positions`: angles float32 [T, d / 2]."""
        axes = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1)
        return rotary_angles(axes.reshape(-1, len(grid)), self.width // self.heads)

    @nn.compact
    def __call__(self, x: jax.Array, t: jax.Array, cond: Tree | None = None) -> jax.Array:
        """x_t [B, *S, C], t [B] -> float32 [B, *S, C]; with dropout if there is its rng stream."""
        grid, channels = patch_grid(x.shape[1:-1], self.patch), x.shape[-1]
        vector, context = self.inputs(t, cond)
        angles = jnp.asarray(self.positions(grid))  # [T, d / 2]
        blocks = self.scanned(_Block, self.heads, self.qk_norm, self.dropout, self.dtype)
        h, _ = blocks(self.embedded(x), vector, angles, context)  # [B, T, C]
        h = RMSNorm(dtype=self.dtype, name="norm")(h)
        return self.read_out(h, vector, grid, channels)
