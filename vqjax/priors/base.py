"""What all priors share: the order of tokens, conditioning, guidance."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax.config.annotations import check_fields
from vqjax.nn.attention import INIT, Cache, CrossContext
from vqjax.nn.rotary import rotary_angles
from vqjax.nn.transformer import Transformer, unstack_params
from vqjax.ops.numerics import at_least_float32
from vqjax.priors.order import TokenOrder
from vqjax.sampling import Guidance, with_null
from vqjax.types import Tree, UsageError, did_you_mean

POSITIONS = ("grid", "sequence")
EDITS = ("inpaint", "outpaint", "outpaint below", "upscale", "variations")


class Conditioning(NamedTuple):
    """A network's inputs beside its tokens.

    Attributes:
        prefix: vectors at the positions before the tokens, [B, P, C].
        mask: bool [B, P + S], positions that count; None: all.
        context: for cross-attention in every block; None: there is none.
    """

    prefix: jax.Array
    mask: jax.Array | None = None
    context: CrossContext | None = None


class Prior(nn.Module):
    """Base. Subclasses have the fields `condition`, `levels` and `dtype`, and others of their own.

    A prior offers `objective(tokens, cond, example_ids)`, which its task minimises;
    `sample(params, keys, cond, ...)`, called unbound; `is_bound`, whether its likelihood is only
    bounded; `ends`, whether examples are clips that may end early (it then has a field `shortest`,
    the frames that each has at least, and its order `cut` and `frames_of`); and `edits`, those of
    `EDITS` for which `sample` sees all tokens that stay.
    """

    is_bound = False
    ends = False
    edits: ClassVar[frozenset[str]] = frozenset()

    @property
    def order(self) -> TokenOrder:
        return TokenOrder(self.levels)

    @property
    def evaluations(self) -> int:
        """How often the network runs to draw an example, without guidance; a step counts as one
        where what comes before it is cached.
        """
        return self.order.steps

    def check_levels(self) -> None:
        """Refuses levels that it cannot be over, with UsageError."""

    def mask_other_levels(self, logits: jax.Array, positions: jax.Array | np.ndarray) -> jax.Array:
        """Logits [B, t, V] at `positions` int[t], in float32 at least: other levels' are lowest."""
        logits, order = at_least_float32(logits), self.order
        if len(order.levels) == 1:
            return logits
        level_at = jnp.asarray(order.level_at)[positions]  # [t]
        in_level = level_at[:, None] == jnp.asarray(order.level_of)[None]  # [t, V]
        return jnp.where(in_level[None], logits, jnp.finfo(logits.dtype).min)  # [B, t, V]

    def with_guidance(
        self, cond: Tree | None, count: int, guidance: Guidance
    ) -> tuple[Tree | None, Callable[[jax.Array, jax.Array], jax.Array]]:
        """The conditions with which the network samples `count` examples, and the function that
        combines its logits.

        With guidance the network runs on 2 B examples: with their condition, and without.

        Raises:
            UsageError: guidance, or a condition's array, of an unconditional prior; or guidance of
                a prior that never did without its condition.
        """
        return with_null(self.condition, cond, count, guidance)


class TransformerSizes:
    """Base of networks with a transformer: they have the fields `width`, `layers`, `heads`,
    `kv_heads`, `qk_norm`, `dropout` and `dtype`.
    """

    def check_sizes(self) -> None:
        """Refuses sizes that do not fit each other, with UsageError."""
        if self.heads < 1 or self.width % self.heads:
            raise UsageError(f"prior.heads={self.heads} does not divide width={self.width}")
        if self.kv_heads is not None and (self.kv_heads < 1 or self.heads % self.kv_heads):
            raise UsageError(f"prior.kv_heads={self.kv_heads} does not divide heads={self.heads}")
        if self.layers < 1 or not 0.0 <= self.dropout < 1.0:
            raise UsageError(
                f"prior: layers={self.layers}, dropout={self.dropout}: wanted at least one layer "
                "and a chance below 1"
            )

    def make_transformer(self, **settings: Any) -> Transformer:
        """Its transformer; `settings` are further fields, or replace these."""
        fields = {"qk_norm": self.qk_norm, "dtype": self.dtype} | settings
        return Transformer(self.layers, self.heads, self.kv_heads, **fields)


class TransformerPrior(TransformerSizes, Prior):
    """Base of priors by a transformer: they have the fields of `GPT`, and may have others."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.positions not in POSITIONS:
            hint = did_you_mean(self.positions, POSITIONS)
            raise UsageError(f"prior.positions={self.positions!r}: {hint}")
        self.check_sizes()
        super().__post_init__()

    def check_levels(self) -> None:
        self.angles()

    @property
    def lead(self) -> int:
        """P, the positions before the first token."""
        return self.condition.length if self.has_prefix else 1

    @property
    def has_prefix(self) -> bool:
        """Whether its condition is a prefix of the sequence."""
        return self.condition is not None and self.condition.by == "prefix"

    def angles(self) -> np.ndarray:
        """float32 [P + S, d / 2], of the steps of its order; zero for the prefix."""
        order = self.order
        positions = order.step_positions  # [S, axes]
        if self.positions == "sequence":
            positions = 1.0 + np.arange(order.steps)[:, None]  # [S, 1]
        prefix = np.zeros((self.lead, positions.shape[1]))  # [P, axes]
        positions = np.concatenate([prefix, positions])  # [P + S, axes]
        return rotary_angles(positions, self.width // self.heads)

    def declare_start_vector(self) -> None:
        """Creates the learned vector before the tokens where the condition is no prefix; called in
        `setup`.
        """
        if not self.has_prefix:
            self.start_vector = self.param("start", INIT, (1, 1, self.width))  # [1, P=1, C]

    def conditioning(self, cond: Tree | None, batch: int) -> Conditioning:
        """The network's other inputs, from the condition's array `cond` of `batch` examples."""
        vectors = mask = None
        if self.condition is not None:
            vectors, mask = self.condition(cond, self.width)  # [B, M, C], [B, M] or None
        if not self.has_prefix:
            start = jnp.broadcast_to(self.start_vector, (batch, 1, self.width))  # [B, P=1, C]
            return Conditioning(
                start, None, None if vectors is None else CrossContext(vectors, mask)
            )
        if mask is not None:
            after = (0, self.order.steps)
            mask = jnp.pad(mask, ((0, 0), after), constant_values=True)  # [B, P + S], P = M
        return Conditioning(vectors, mask)

    def cached(
        self, params: Tree, cond: Tree | None, batch: int
    ) -> tuple[tuple[Cache, ...], jax.Array, Callable]:
        """The transformer, one step's input after the other. Called unbound.

        Args:
            params: of this module.
            cond: what `condition` takes, of `batch` examples.
            batch: B.

        Returns:
            Keys and values of the prefix, its last output [B, 1, C], and
            `run(caches, x [B, 1, C], step) -> (caches, output [B, 1, C])`, x being the input that
            follows `step`.
        """
        variables = {"params": params}
        blocks = unstack_params(params["transformer"], self.layers)
        norm = params["transformer"]["norm"]
        transformer = self.make_transformer(parent=None)
        angles = jnp.asarray(self.angles())  # [P + S, d / 2]
        prefix, mask, context = self.apply(
            variables, cond, batch, method="conditioning"
        )  # as in `__call__`
        cross_caches = transformer.cross_caches(blocks, context)
        lead = prefix.shape[1]  # P
        total = lead + self.order.steps - 1  # P + S - 1: nothing follows the last step
        mask = None if mask is None else mask[:, :total]  # [B, P + S - 1]

        def run(x: jax.Array, caches: tuple[Cache, ...], offset: Any):
            """x [B, t, C] from `offset` in the caches: the prefix, or one input."""
            x_angles = jax.lax.dynamic_slice_in_dim(angles, offset, x.shape[1])  # [t, d / 2]
            h, caches = transformer.decode_step(  # [B, t, C]
                blocks, norm, x, x_angles, caches, offset, mask, cross_caches
            )
            return caches, h[:, -1:]  # [B, 1, C]

        caches = transformer.caches(batch, total, self.width, self.dtype or prefix.dtype)
        caches, h = run(prefix, caches, 0)  # [B, kv, P + S - 1, d] each, [B, 1, C]
        dtype = prefix.dtype
        return caches, h, lambda caches, x, step: run(x.astype(dtype), caches, lead + step)


def count_of(cond: Tree | None, count: int) -> int:
    """B', of how many examples `cond` is: with guidance twice `count`."""
    return count if cond is None else len(jax.tree.leaves(cond)[0])
