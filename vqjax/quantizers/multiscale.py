"""Multi-scale residual quantization: the whole picture in few tokens, then in more."""

import fractions

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.lax import Precision, stop_gradient

from vqjax.config.annotations import check_fields
from vqjax.nn.conv import Conv
from vqjax.ops import codes as ops
from vqjax.quantizers.codebook import mean_square
from vqjax.quantizers.combined import Combined, level_metrics
from vqjax.types import Quantized, Tree, UsageError

LOSSES = {"commitment": 0.25, "codebook": 1.0}


class MultiScaleResidual(Combined):
    """Residuals of growing resolution from one codebook (arXiv 2404.02905, algorithms 1 and 2).

    For every scale k: r_k = z - f; the codes of r_k averaged over the cells of the scale's grid;
    f += phi_k(codes enlarged bicubically), phi a partly trained 3-tap convolution. z_q is the last
    f.
    Losses, means over scales: `commitment` |z - sg(f_k)|^2 and `codebook` |sg(z) - f_k|^2, which
    trains phi, and the codes where they are parameters. One level of indices per scale, coarse to
    fine, so a prior can predict scale after scale. Pick it for that kind of prior.

    Attributes:
        template: the quantizer all scales share; its own losses have no other names than these.
        scales: side of every scale's grid, in the same unit; the last is the grid of z itself.
            Other grids than trained on get scales in proportion.
        convolutions: how many phi there are; scales are assigned to them in order.
        blend: phi(h) = (1 - blend) h + blend conv(h).
        published: whether phi are assigned, and codes enlarged, as the published weights need it:
            each scale has the phi whose place is nearest, of places that keep a distance from both
            ends, and the bicubic kernel is that of a = -0.75.
        dtype: of the convolutions; None: the experiment's `compute_dtype`.
    """

    template: nn.Module
    scales: tuple[int, ...]
    convolutions: int = 4
    blend: float = 0.5
    published: bool = False
    dtype: str | None = None

    loss_weights = LOSSES

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.scales or min(self.scales) < 1 or list(self.scales) != sorted(self.scales):
            raise UsageError(f"quantizer.scales={self.scales}: wanted sides of at least 1, growing")
        super().__post_init__()
        if extra := set(self.template.loss_weights) - set(LOSSES):
            raise UsageError(f"quantizer.template: its loss {min(extra)!r} has no place here")
        if self.template.input_dim != self.codebook_dim:
            kind = type(self.template).__name__
            raise UsageError(
                f"quantizer.template: {kind} cannot be stacked: its input and output differ in size"
            )

    @property
    def num_codebooks(self) -> int:
        return len(self.scales)

    def grids(self, grid: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """The grid of every level for latents of `grid`."""
        last = self.scales[-1]
        return tuple(tuple(-(-n * scale // last) for n in grid) for scale in self.scales)

    def setup(self) -> None:
        self.parts = self._copies(1)
        count = self.convolutions
        count = count if self.published else min(count, len(self.scales))
        self.phi = [Conv(self.codebook_dim, dtype=self.dtype) for _ in range(count)]

    def _enlarged(self, codes: jax.Array, level: int, grid: tuple[int, ...]) -> jax.Array:
        """What `level` adds: codes [B, *s, D] on the whole grid, through phi."""
        codes = _grown(codes, grid, self.published)  # [B, *S, D]
        if not self.phi:
            return codes
        phi = self.phi[phi_of(level, len(self.scales), len(self.phi), self.published)]
        return (1.0 - self.blend) * codes + self.blend * ops.at_least_float32(phi(codes))

    def grow(self, total: jax.Array, index: jax.Array, level: int) -> tuple[jax.Array, jax.Array]:
        """f after one more level, and what a prior reads to predict the next one: the means of f
        over the cells of that level's grid.

        Args:
            total: f before it, [B, *S, D]; zeros at first.
            index: of this level, int32[B, *s_k].
            level: k, not the last one.
        """
        grid = total.shape[1:-1]
        total = total + self._enlarged(self.parts[0].lookup((index,)), level, grid)
        return total, _shrunk(total, self.grids(grid)[level + 1])

    def sums(self, indices: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        """What a prior reads of indices int32[B, *s_k], one per scale, to predict each but the
        first: [B, *s_k, D] each. See `grow`.
        """
        total = jnp.zeros((*indices[-1].shape, self.codebook_dim), jnp.float32)
        found = []
        for level, index in enumerate(indices[:-1]):
            total, small = self.grow(total, index, level)
            found.append(small)
        return tuple(found)

    def __call__(self, z: jax.Array, *, train: bool, step: jax.Array) -> Quantized:
        """Quantizes z [B, *S, D]; see `Quantized`."""
        z = ops.at_least_float32(z)
        grid, fixed = z.shape[1:-1], stop_gradient(z)
        total, outputs = jnp.zeros_like(z), []
        losses = dict.fromkeys(LOSSES, 0.0)
        for level, small in enumerate(self.grids(grid)):
            shrunk = _shrunk(fixed - stop_gradient(total), small)  # r_k [B, *s_k, D]
            out = self.parts[0](shrunk, train=train, step=step)
            # Looked up once more: what `out` holds has no gradient to the codes.
            codes = self.parts[0].lookup(out.indices)  # [B, *s_k, D]
            total = total + self._enlarged(codes, level, grid)  # f [B, *S, D]
            losses["commitment"] += mean_square(z - stop_gradient(total)) / len(self.scales)
            losses["codebook"] += mean_square(fixed - total) / len(self.scales)
            outputs.append(out)
        estimator = self.template.estimator
        return Quantized(
            z_q=estimator(z, total),
            indices=tuple(out.indices[0] for out in outputs),  # one [B, *s_k] per scale
            losses=losses,
            metrics=level_metrics(outputs),
        )

    def lookup(self, indices: tuple[jax.Array, ...]) -> jax.Array:
        """Codes [B, *S, D] of one int32[B, *s] per scale; the last has the grid of the result."""
        grid, total = indices[-1].shape[1:], 0.0
        for level, index in enumerate(indices):
            total = total + self._enlarged(self.parts[0].lookup((index,)), level, grid)
        return total

    def init_codebook(self, params: Tree, codebook: Tree, z: jax.Array, rng: jax.Array) -> tuple:
        """Starts the codebook from what each scale leaves to the next, were its codes exact and phi
        the identity. Called unbound.
        """
        left, pieces = ops.at_least_float32(z), []
        for small in self.grids(z.shape[1:-1]):
            shrunk = _shrunk(left, small)  # [B, *s_k, D]
            left = left - _grown(shrunk, z.shape[1:-1], self.published)  # [B, *S, D]
            pieces.append(shrunk.reshape(-1, z.shape[-1]))  # [N_k, D]
        return self._init_part("parts_0", params, codebook, jnp.concatenate(pieces), rng)


def phi_of(level: int, levels: int, count: int, published: bool) -> int:
    """Which of `count` phi a level has: see `MultiScaleResidual.published`."""
    if not published:
        return level * count // levels
    place, edge = fractions.Fraction(level, max(levels - 1, 1)), fractions.Fraction(1, 3 * count)
    places = [edge + i * (1 - 2 * edge) / max(count - 1, 1) for i in range(count)]
    return min(range(count), key=lambda i: (abs(places[i] - place), -i))


def _grown(codes: jax.Array, grid: tuple[int, ...], published: bool) -> jax.Array:
    """Codes [B, *s, D] on another grid, bicubically."""
    if codes.shape[1:-1] == grid:
        return codes
    if not published:
        return jax.image.resize(codes, (len(codes), *grid, codes.shape[-1]), "cubic")
    for axis, new in enumerate(grid, start=1):
        taps = jnp.asarray(_cubic(codes.shape[axis], new), codes.dtype)  # [new, old]
        codes = _along(taps, codes, axis)
    return codes  # [B, *grid, D]


def _cubic(old: int, new: int, a: float = -0.75) -> np.ndarray:
    """Weights [new, old] of a cubic convolution whose positions beyond an end are that end."""
    places = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(places).astype(int)
    weights = np.zeros((new, old))
    for tap in range(-1, 3):
        d = np.abs(places - (first + tap))
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        np.add.at(
            weights,
            (np.arange(new), np.clip(first + tap, 0, old - 1)),
            np.where(d <= 1, near, np.where(d < 2, far, 0.0)),
        )
    return weights


def _along(weights: jax.Array, x: jax.Array, axis: int) -> jax.Array:
    """weights [new, old] times an axis of x."""
    product = jnp.tensordot(weights, x, axes=(1, axis), precision=Precision.HIGHEST)  # [new, ...]
    return jnp.moveaxis(product, 0, axis)  # the axis in its place, of length `new`


def _shrunk(x: jax.Array, grid: tuple[int, ...]) -> jax.Array:
    """Means of x [B, *S, D] over the cells of a coarser grid, parts of positions in proportion."""
    for axis, (old, new) in enumerate(zip(x.shape[1:-1], grid, strict=True), start=1):
        if old == new:
            continue
        edges = np.arange(new + 1) * old / new
        cells = np.minimum(edges[1:, None], np.arange(1, old + 1))  # [new, old]
        cells = np.maximum(cells - np.maximum(edges[:-1, None], np.arange(old)), 0.0)
        cells = jnp.asarray(cells * new / old, x.dtype)  # [new, old], rows sum to 1
        x = _along(cells, x, axis)
    return x
