"""Next-scale prediction: all tokens of a scale at once, from those of the coarser scales."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax.config.annotations import check_fields
from vqjax.nn.attention import attend, rows_of
from vqjax.nn.remat import rematerialised
from vqjax.ops.mesh_context import keep_rows
from vqjax.priors.base import Prior, count_of
from vqjax.sampling import Guidance, TokenSampling, sample_scales
from vqjax.types import Level, Tree, UsageError

EPSILON = 1e-6  # of norms and lengths
MLP = 4  # channels inside, over the width
SHARPNESS, SHARPEST = np.log(4.0), np.log(100.0)  # of attention, at first and at most
GATES, MODULATION, HEAD = 1e-4, 0.5, 0.02  # weights that start smaller, by these factors
Grow = Callable[[jax.Array, jax.Array, int], tuple[jax.Array, jax.Array]]


def _init(width: int, factor: float = 1.0) -> Any:
    return nn.initializers.normal(factor * (3 * width) ** -0.5)


def _norm(dtype: str | None) -> nn.LayerNorm:
    return nn.LayerNorm(EPSILON, dtype=dtype, use_bias=False, use_scale=False)


def _unit(x: jax.Array) -> jax.Array:
    """x [.., d] of length 1, in float32."""
    x = x.astype(jnp.float32)
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


class _Block(nn.Module):
    """Attention and MLP, each behind a norm that the condition modulates and before a gate that is
    almost shut at first; the body of `nn.scan`.
    """

    layers: int
    heads: int
    dtype: str | None = None

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        keys: jax.Array,
        values: jax.Array,
        skip: jax.Array,
        vector: jax.Array,
        mask: jax.Array | None,
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """x [B, T, C] after positions whose keys and values [B, h, S, d] are those of the same
        block -> [B, T, C], and the keys and values of all S + T.

        Args:
            x, keys, values: as above.
            skip: the chance that a branch is left out in training.
            vector: of the condition, [B, C].
            mask: bool [1, T, S + T], what each position may attend to; None: all.
        """
        width, batch = x.shape[-1], len(x)
        out_init = _init(width, (2 * self.layers) ** -0.5)

        def dense(features: int, name: str, init: Any = None, bias: bool = True) -> nn.Dense:
            init = _init(width) if init is None else init
            return nn.Dense(features, bias, kernel_init=init, dtype=self.dtype, name=name)

        def kept(branch: jax.Array) -> jax.Array:
            if not self.has_rng("dropout"):
                return branch
            stays = jax.random.bernoulli(self.make_rng("dropout"), 1.0 - skip, (batch, 1, 1))
            return jnp.where(stays, branch / (1.0 - skip).astype(branch.dtype), 0)

        c = jax.nn.silu(vector)[:, None]  # [B, 1, C]
        gates = dense(2 * width, "gates", _init(width, GATES))(c)
        gate, mlp_gate = jnp.split(gates, 2, axis=-1)  # [B, 1, C] each
        moved = dense(4 * width, "modulation", _init(width, MODULATION))(c)
        scale, mlp_scale, shift, mlp_shift = jnp.split(moved, 4, axis=-1)
        x = keep_rows(x)
        y = rows_of(_norm(self.dtype)(x) * (1 + scale) + shift)  # [B T, C]

        def project(name: str, bias: bool) -> jax.Array:
            return dense(width, name, bias=bias)(y).reshape(*x.shape[:2], self.heads, -1)

        sharpness = self.param("sharpness", nn.initializers.constant(SHARPNESS), (self.heads,))
        query, key, value = project("query", True), project("key", False), project("value", True)
        query = _unit(query) * jnp.exp(jnp.minimum(sharpness, SHARPEST))[None, None, :, None]
        query = query * query.shape[-1] ** 0.5  # `attend` divides by it
        new_keys, new_values = (a.swapaxes(1, 2).astype(x.dtype) for a in (_unit(key), value))
        keys = jnp.concatenate([keys, new_keys], axis=2)  # [B, h, S + T, d]
        values = jnp.concatenate([values, new_values], axis=2)
        mixed = attend(query.astype(x.dtype), keys, values, mask).reshape(-1, width)  # [B T, C]
        x = keep_rows(x + gate * kept(dense(width, "out", out_init)(mixed).reshape(x.shape)))
        y = rows_of(_norm(self.dtype)(x) * (1 + mlp_scale) + mlp_shift)
        h = jax.nn.gelu(dense(MLP * width, "up")(y), approximate=True)  # [B T, 4 C]
        y = dense(width, "down", out_init)(h).reshape(x.shape)
        return keep_rows(x + mlp_gate * kept(y)), (keys, values)


class NextScale(Prior):
    """p(tokens | condition) as a product over scales, whose tokens are independent of each other
    given all coarser ones (arXiv 2404.02905, eq. 6): as many passes as scales, and an exact
    likelihood.

    The network of the paper: a scale's positions read the tokenizer's sum of all coarser scales,
    shrunk to their grid (`MultiScaleResidual.sums`); learned positions and scales; LayerNorms that
    the condition modulates; attention of unit queries and keys, sharpened by a number per head.
    Over tokens of `MultiScaleResidual` alone, whose scales share a codebook.

    Attributes:
        width: channels.
        layers: blocks.
        heads: of attention; they divide the width.
        condition: see `vqjax.priors.conditions`, as one vector: the mean of those that count; None:
            unconditional.
        drop_path: chance that a residual branch of the last block is left out in training
            (arXiv 1603.09382); of those before it less, in proportion.
        remat: what of each block the backward pass recomputes (`vqjax.nn.remat`).
        levels: of the tokenizer; filled in by the task.
        dtype: to compute in; None: the experiment's `compute_dtype`. Logits are float32 at least.
    """

    width: int
    layers: int
    heads: int
    condition: nn.Module | None = None
    drop_path: float = 0.0
    remat: bool | str = False
    levels: tuple[Level, ...] = ()
    dtype: str | None = None

    reads_sums = True

    def __post_init__(self) -> None:
        check_fields(self)
        if self.heads < 1 or self.width < 1 or self.width % self.heads:
            raise UsageError(f"prior.heads={self.heads} does not divide width={self.width}")
        if self.layers < 1 or not 0.0 <= self.drop_path < 1.0:
            raise UsageError(
                f"prior: layers={self.layers}, drop_path={self.drop_path}: wanted at least one "
                "layer and a chance below 1"
            )
        super().__post_init__()

    @property
    def evaluations(self) -> int:
        """See `Prior.evaluations`: one for each scale."""
        return len(self.levels)

    @property
    def sizes(self) -> tuple[int, ...]:
        """t_k, tokens of each scale."""
        return tuple(int(np.prod(level.grid)) for level in self.levels)

    def firsts_at(self) -> jax.Array:
        """The first id of every token's level, int32[1, T]."""
        return jnp.asarray(np.asarray(self.order.firsts)[self.order.level_at], jnp.int32)[None]

    def check_levels(self) -> None:
        """See `Prior.check_levels`."""
        sizes = self.sizes
        if len({level.codebook_size for level in self.levels}) != 1 or list(sizes) != sorted(
            set(sizes)
        ):
            raise UsageError(
                "prior: NextScale is over growing scales of one codebook, got grids "
                f"{', '.join('x'.join(map(str, level.grid)) for level in self.levels) or 'none'}"
            )

    def setup(self) -> None:
        size = self.levels[0].codebook_size
        length = sum(self.sizes)
        self.sum_features = nn.Dense(self.width, kernel_init=_init(self.width), dtype=self.dtype)
        self.scale_table = self.param("scales", _init(self.width), (len(self.levels), self.width))
        self.position_table = self.param("positions", _init(self.width), (length, self.width))
        if self.condition is None:
            self.start = self.param("start", _init(self.width), (1, self.width))
        scanned: Any = nn.scan(
            rematerialised(_Block, self.remat, scanned=True),
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=(0, 0, 0, nn.broadcast, nn.broadcast),
            length=self.layers,
        )
        self.blocks = scanned(self.layers, self.heads, self.dtype)
        self.norm = _norm(self.dtype)
        self.final = nn.Dense(
            2 * self.width, kernel_init=_init(self.width, MODULATION), dtype=self.dtype
        )
        self.head = nn.Dense(size, kernel_init=_init(self.width, HEAD), dtype=self.dtype)

    def vector(self, cond: Tree | None, batch: int) -> jax.Array:
        """The condition of `batch` examples as one vector, [B, C]."""
        if self.condition is None:
            return jnp.broadcast_to(self.start, (batch, self.width))
        vectors, mask = self.condition(cond, self.width)  # [B, M, C], [B, M] or None
        return vectors.mean(1, where=None if mask is None else mask[..., None])

    def embedded(self, vector: jax.Array, number: int, small: jax.Array | None) -> jax.Array:
        """The inputs of a scale's positions, [B, t_k, C].

        Args:
            vector: of the condition, [B, C].
            number: of the scale.
            small: what it reads, [B, *s_k, D]; None for the first one, which reads the condition.
        """
        size, first = self.sizes[number], sum(self.sizes[:number])
        if small is None:
            x = jnp.broadcast_to(vector[:, None], (len(vector), size, self.width))
        else:
            flat = small.reshape(-1, small.shape[-1])  # [B t_k, D]
            x = self.sum_features(flat).reshape(len(small), size, self.width)
        own = self.position_table[first : first + size] + self.scale_table[number][None]  # [t_k, C]
        return x + own[None].astype(x.dtype)

    def run_blocks(
        self,
        x: jax.Array,
        vector: jax.Array,
        caches: tuple[jax.Array, jax.Array] | None = None,
        mask: jax.Array | None = None,
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """Logits [B, T, V] of inputs [B, T, C], and the keys and values [L, B, h, S + T, d] of all
        blocks, those of S earlier positions, `caches`, first.
        """
        if caches is None:
            shape = (self.layers, len(x), self.heads, 0, self.width // self.heads)
            caches = (jnp.zeros(shape, x.dtype),) * 2
        skips = self.drop_path * jnp.linspace(0.0, 1.0, self.layers)
        x, caches = self.blocks(x, *caches, skips, vector.astype(x.dtype), mask)
        scale, shift = jnp.split(self.final(jax.nn.silu(vector))[:, None], 2, axis=-1)
        h = self.norm(x) * (1 + scale) + shift
        return self.head(h).astype(jnp.float32), caches

    def __call__(
        self, tokens: jax.Array, cond: Tree | None, sums: tuple[jax.Array, ...]
    ) -> jax.Array:
        """Logits of every token from the coarser scales; branches drop out if there is an rng
        stream "dropout".

        Args:
            tokens: ids int32[B, T], of which only the number is looked at.
            cond: the input of `condition`, such as labels int32[B].
            sums: what each scale but the first reads, [B, *s_k, D].

        Returns:
            [B, T, K], of the K codes.
        """
        vector = self.vector(cond, len(tokens))
        inputs = enumerate((None, *sums))
        x = jnp.concatenate([self.embedded(vector, n, small) for n, small in inputs], axis=1)
        scale_at = np.repeat(np.arange(len(self.levels)), self.sizes)  # [T]
        mask = jnp.asarray(scale_at[:, None] >= scale_at[None])[None]  # [1, T, T]
        return self.run_blocks(x, vector, None, mask)[0]

    def objective(
        self,
        tokens: jax.Array,
        cond: Tree | None = None,
        example_ids: jax.Array | None = None,
        sums: tuple[jax.Array, ...] = (),
    ) -> tuple[jax.Array, jax.Array]:
        """-log p of every token from the coarser scales, in nats [B, T], and how much each counts;
        see `OrderedPrior.objective`.
        """
        del example_ids
        codes = tokens - self.firsts_at()
        log_p = jax.nn.log_softmax(self(tokens, cond, sums))  # [B, T, K]
        nats = -jnp.take_along_axis(log_p, codes[..., None], axis=-1)[..., 0]
        return nats, jnp.ones_like(nats)

    def sample(
        self,
        params: Tree,
        keys: jax.Array,
        cond: Tree | None = None,
        *,
        sampling: TokenSampling,
        guidance: Guidance,
        grow: Grow,
        features: int,
    ) -> jax.Array:
        """Draws tokens, ids int32[B, T], scale after scale. Called unbound.

        Args:
            params, keys, cond, sampling, guidance: see `OrderedPrior.sample`.
            grow: see `MultiScaleResidual.grow`.
            features: D, of its sums.
        """
        cond, combine = self.with_guidance(cond, len(keys), guidance)
        count, grids = count_of(cond, len(keys)), [level.grid for level in self.levels]
        variables = {"params": params}
        vector = self.apply(variables, cond, count, method="vector")
        total = jnp.zeros((count, *grids[-1], features), jnp.float32)

        def step(state: tuple, number: int, codes: jax.Array | None) -> tuple[tuple, jax.Array]:
            total, caches = state
            small = None
            if codes is not None:
                index = codes.reshape(len(codes), *grids[number - 1])
                total, small = grow(total, index, number - 1)
            x = self.apply(variables, vector, number, small, method="embedded")
            logits, caches = self.apply(variables, x, vector, caches, method="run_blocks")
            return (total, caches), logits

        codes = sample_scales(
            (total, None), step, sizes=self.sizes, keys=keys, choose=sampling, combine=combine
        )
        return codes + self.firsts_at()
