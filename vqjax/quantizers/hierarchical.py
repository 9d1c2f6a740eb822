"""Hierarchies of grids: the layout in a coarse one, the details in a fine one."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.config.annotations import check_fields
from vqjax.nn.blocks import Stage
from vqjax.nn.conv import Conv, Upsample
from vqjax.ops import codes as ops
from vqjax.quantizers.codebook import check_sizes
from vqjax.quantizers.combined import Combined, level_metrics
from vqjax.types import Quantized, Tree, UsageError


class Hierarchical(Combined):
    """Codes on grids each twice as fine as the one before (arXiv 1906.00446, algorithm 1).

    Features of every grid come from the next finer one, e_{l-1} = down(e_l), the finest being z.
    From coarse to fine, each level quantizes what it sees of its features and of all that the
    coarser ones decode to, h_0 = 0:

        q_l = quantize(mix(h_l, e_l));  h_{l+1} = up(h_l + in(q_l)).

    z_q is all codes side by side, the coarse ones enlarged. Losses are sums over levels. One level
    of indices per grid, coarse to fine, so a prior draws the layout first. Pick it where pictures
    are large against what a code sees.

    Attributes:
        template: the quantizer of a level; each has a codebook of its own.
        levels: L, at least 2. Each coarser grid has ceil(n / 2) positions along each axis.
        width: channels of the features, those of z too.
        blocks: residual blocks beside each change of the grid.
        dtype: of the networks; None: the experiment's `compute_dtype`.
    """

    template: nn.Module
    levels: int = 2
    width: int = 64
    blocks: int = 1
    dtype: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        check_sizes(width=self.width)
        if self.levels < 2 or self.blocks < 0:
            raise UsageError(
                f"quantizer.levels={self.levels}, blocks={self.blocks}: wanted at least 2 levels, "
                "and 0 blocks"
            )
        super().__post_init__()

    @property
    def num_codebooks(self) -> int:
        return self.levels

    @property
    def codebook_dim(self) -> int:
        """Channels of z_q: those of all levels."""
        return self.levels * self.template.codebook_dim

    @property
    def input_dim(self) -> int:
        return self.width

    def grids(self, grid: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """The grid of every level for latents of `grid`, coarse to fine."""
        halved = [2**level for level in reversed(range(self.levels))]
        return tuple(tuple(-(-n // factor) for n in grid) for factor in halved)

    def vectors_for_start(self, shape: tuple[int, ...]) -> int:
        """See `Quantizer.vectors_for_start`: those of the coarsest grid."""
        return shape[0] * math.prod(self.grids(shape[1:])[0])

    def setup(self) -> None:
        coarser = range(self.levels - 1)
        wide = {"dtype": self.dtype}
        self.parts = self._copies(self.levels)
        self.shrink = [Conv(self.width, 3, 2, **wide) for _ in coarser]
        self.encode = [Stage(self.width, self.blocks, **wide) for _ in coarser]
        self.project = [nn.Dense(self.template.input_dim, **wide) for _ in range(self.levels)]
        self.take = [nn.Dense(self.width, **wide) for _ in coarser]
        self.decode = [Stage(self.width, self.blocks, **wide) for _ in coarser]
        self.enlarge = [Upsample(self.width, **wide) for _ in coarser]
        self.mix = [Conv(self.width, **wide) for _ in coarser]
        dim = self.template.codebook_dim
        self.spread = [Upsample(dim, 2 ** (self.levels - 1 - level), **wide) for level in coarser]

    def _features(self, z: jax.Array) -> list[jax.Array]:
        """e_l [B, *s_l, width] of z, coarse to fine."""
        features = [z]
        for level in reversed(range(self.levels - 1)):
            features.append(self.encode[level](self.shrink[level](features[-1])))
        return features[::-1]

    def _seen(self, h: jax.Array | None, e: jax.Array, level: int) -> jax.Array:
        """What level `level` quantizes [B, *s_l, d], of features e and the decoded h."""
        if h is not None:
            e = nn.silu(self.mix[level - 1](jnp.concatenate([h.astype(e.dtype), e], axis=-1)))
        return ops.at_least_float32(self.project[level](e))

    def _decoded(self, h: jax.Array | None, codes: jax.Array, level: int, like: jax.Array):
        """h of the next level [B, *s_{l+1}, width], on the grid of `like`."""
        taken = self.take[level](codes)
        h = self.enlarge[level](self.decode[level](taken if h is None else h + taken))
        return _cut(h, like.shape[1:-1])

    def _together(self, codes: list[jax.Array]) -> jax.Array:
        """z_q [B, *S, L d] of the codes of all levels [B, *s_l, d]."""
        grid = codes[-1].shape[1:-1]
        wide = [_cut(grow(q), grid) for grow, q in zip(self.spread, codes[:-1], strict=True)]
        return jnp.concatenate([*map(ops.at_least_float32, wide), codes[-1]], axis=-1)

    def __call__(self, z: jax.Array, *, train: bool, step: jax.Array) -> Quantized:
        """Quantizes z [B, *S, width]; see `Quantized`."""
        features, h, outputs = self._features(z), None, []
        for level, e in enumerate(features):
            outputs.append(self.parts[level](self._seen(h, e, level), train=train, step=step))
            if level + 1 < self.levels:
                h = self._decoded(h, outputs[-1].z_q, level, features[level + 1])
        return Quantized(
            z_q=self._together([out.z_q for out in outputs]),
            indices=tuple(out.indices[0] for out in outputs),  # one [B, *s_l] per level
            losses={name: sum(out.losses[name] for out in outputs) for name in self.loss_weights},
            metrics=level_metrics(outputs),
        )

    def lookup(self, indices: tuple[jax.Array, ...]) -> jax.Array:
        """Codes [B, *S, L d] of one int32[B, *s_l] per level; the last has the grid of z."""
        pairs = zip(self.parts, indices, strict=True)
        return self._together([part.lookup((index,)) for part, index in pairs])

    def before(self, z: jax.Array, level: int) -> jax.Array:
        """What `level` quantizes of z [B, *S, width]: [B, *s_l, d]."""
        features, h = self._features(z), None
        for coarser in range(level):
            seen = self._seen(h, features[coarser], coarser)
            codes = self.parts[coarser](seen, train=False, step=0).z_q
            h = self._decoded(h, codes, coarser, features[coarser + 1])
        return self._seen(h, features[level], level)

    def init_codebook(self, params: Tree, codebook: Tree, z: jax.Array, rng: jax.Array) -> tuple:
        """Starts level after level from what it sees of z, the coarser ones being started. Called
        unbound.
        """
        for level in range(self.levels):
            variables = {"params": params, "codebook": codebook}
            seen = self.apply(variables, z, level, method="before")
            key = jax.random.fold_in(rng, level)
            params, codebook = self._init_part(f"parts_{level}", params, codebook, seen, key)
        return params, codebook


def _cut(x: jax.Array, grid: tuple[int, ...]) -> jax.Array:
    """The first `grid` positions of x [B, *S, C]: halves of odd sizes are rounded up."""
    return x[:, *(slice(size) for size in grid)]
