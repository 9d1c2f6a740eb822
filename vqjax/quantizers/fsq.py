"""Finite scalar quantization: a grid instead of a codebook."""

import math
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vqjax.config.annotations import check_fields
from vqjax.ops import codes as ops
from vqjax.quantizers.codebook import Discrete, Watch, declare_ledger, observe
from vqjax.types import Quantized, UsageError, did_you_mean

BOUNDS = ("tanh", "clip")
EPSILON = 1e-3  # keeps the outermost levels within reach of the bound


def _channels(values: Any, like: jax.Array) -> jax.Array:
    """One number per channel, in the dtype of `like` [..., D] and ready to meet it."""
    return jnp.asarray(values, like.dtype).reshape((1,) * (like.ndim - 1) + (-1,))


class FSQ(Discrete):
    """Every channel is bounded and rounded to one of a few levels (arXiv 2309.15505, eq. 1-2).

    z^_i = round(f(z_i)) with f onto an interval that holds just `levels[i]` integers; the codes are
    the grid of all combinations, the uniform quantizer of a hypercube, in units of half its width.
    No codebook to learn, no loss, no dead weight, and most codes get used: pick it for a robust
    tokenizer without tuning. Published levels: 2^8 codes (8, 6, 5), 2^10 (8, 5, 5, 5), 2^12
    (7, 5, 5, 5, 5), 2^14 (8, 8, 8, 6, 5), 2^16 (8, 8, 8, 5, 5, 5); at least 5 each is advised.

    Attributes:
        levels: of each channel, even or odd, at least 3; their product is K, their number D.
        bound: "tanh", as published, but that z = 0 is exactly the middle of a cell; or "clip", for
            residuals, which have a bound already.
        watch: when codes count as alive.
    """

    levels: tuple[int, ...]
    bound: str = "tanh"
    watch: Watch = Watch()

    loss_weights = {}
    remedies = ("fewer or smaller quantizer.levels", "a wider encoder")

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.levels or min(self.levels) < 3:
            text = "wanted numbers of at least 3 (LFQ and BSQ have two levels)"
            raise UsageError(f"quantizer.levels={self.levels}: {text}")
        if math.prod(self.levels) > 2**30:
            raise UsageError(f"quantizer.levels={self.levels}: more than 2^30 codes")
        if self.bound not in BOUNDS:
            raise UsageError(f"quantizer.bound={self.bound!r}: {did_you_mean(self.bound, BOUNDS)}")
        super().__post_init__()

    @property
    def codebook_size(self) -> int:
        return math.prod(self.levels)

    @property
    def codebook_dim(self) -> int:
        return len(self.levels)

    @property
    def residual_scale(self) -> tuple[float, ...]:
        """Width of a cell over the width of the whole, by channel: what a residual is within.

        Raises:
            UsageError: an even number of levels, which lie off the middle, and so do residuals.
        """
        if even := [n for n in self.levels if n % 2 == 0]:
            raise UsageError(f"FSQ of residuals takes odd levels, not {even[0]}")
        return tuple(1.0 / (n - 1) for n in self.levels)

    def setup(self) -> None:
        declare_ledger(self)

    def _bounded(self, z: jax.Array) -> jax.Array:
        """z [..., D] -> in (-0.5, L - 0.5), to be rounded to the digits 0 to L - 1."""
        levels = np.asarray(self.levels)
        half = (levels - 1) * (1 + EPSILON) / 2
        offset = np.where(levels % 2 == 0, 0.5, 0.0)
        # The shift makes z = 0 the middle of a cell also where the number of levels is even.
        if self.bound == "tanh":
            bounded = jnp.tanh(z + _channels(np.arctanh(offset / half), z))
        else:
            bounded = jnp.clip(z + _channels(offset / half, z), -1.0, 1.0)
        return bounded * _channels(half, z) + _channels(levels // 2 - offset, z)

    def _codes(self, digits: jax.Array) -> jax.Array:
        """Digits [..., D] as floats -> codes in about [-1, 1]."""
        half = _channels(np.asarray(self.levels) // 2, digits)
        return (digits - half) / half

    def __call__(self, z: jax.Array, *, train: bool, step: jax.Array) -> Quantized:
        """Quantizes z [B, *S, D]; see `Quantized`."""
        chex.assert_axis_dimension(z, -1, self.codebook_dim)
        bounded = self._bounded(ops.at_least_float32(z))  # [B, *S, D]
        top = _channels(np.asarray(self.levels) - 1, bounded)
        digits = jnp.clip(jnp.round(bounded), 0.0, top)  # [B, *S, D]
        basis = jnp.asarray(self._basis())  # [D]
        indices = jnp.tensordot(digits.astype(jnp.int32), basis, axes=1)  # [B, *S]
        return Quantized(
            z_q=ops.straight_through(self._codes(bounded), self._codes(digits)),
            indices=(indices,),
            losses={},
            metrics=observe(self, indices.reshape(-1), train=train),  # of [N]
        )

    def _basis(self) -> np.ndarray:
        return np.cumprod([1, *self.levels[:-1]]).astype(np.int32)

    def lookup(self, indices: tuple[jax.Array, ...]) -> jax.Array:
        """Codes [B, *S, D] of indices (int32[B, *S],)."""
        above = indices[0][..., None]  # [B, *S, 1]
        digits = (
            above // _channels(self._basis(), above) % _channels(self.levels, above)
        )  # [B, *S, D]
        return self._codes(digits.astype(jnp.float32))
