"""What all priors share: the order of tokens, conditioning, guidance."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax.config.annotations import check_fields
from vqjax.nn.attention import INIT, CrossContext
from vqjax.nn.rotary import rotary_angles
from vqjax.nn.transformer import Transformer
from vqjax.ops.numerics import at_least_float32
from vqjax.priors.order import TokenOrder
from vqjax.sampling import Guidance
from vqjax.types import UsageError, did_you_mean

POSITIONS = ("grid", "sequence")
EDITS = ("inpaint", "outpaint", "outpaint below", "upscale", "variations")


class Conditioning(NamedTuple):
    """A network's inputs beside its tokens.

    Attributes:
        prefix: vectors at the positions before the tokens, [B, P, C].
        mask: bool [B, P + T], positions that count; None: all.
        context: for cross-attention in every block; None: there is none.
    """

    prefix: jax.Array
    mask: jax.Array | None = None
    context: CrossContext | None = None


class Prior(nn.Module):
    """Base. Subclasses have the fields `condition`, `levels` and `dtype`, and others of their own.

    A prior offers `objective(tokens, cond, example_ids)`, which its task minimises;
    `sample(params, keys, cond, ...)`, called unbound; `is_bound`, whether its likelihood is only
    bounded; and `edits`, those of `EDITS` for which `sample` sees all tokens that stay.
    """

    is_bound = False
    edits: ClassVar[frozenset[str]] = frozenset()

    @property
    def order(self) -> TokenOrder:
        return TokenOrder(self.levels)

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
        self, cond: jax.Array | None, count: int, guidance: Guidance
    ) -> tuple[jax.Array | None, Callable[[jax.Array, jax.Array], jax.Array]]:
        """The conditions with which the network samples `count` examples, and the function that
        combines its logits.

        With guidance the network runs on 2 B examples: with their condition, and without.

        Raises:
            UsageError: guidance, or a condition's array, of an unconditional prior; or guidance of
                a prior that never did without its condition.
        """
        guided = guidance != Guidance()
        if self.condition is None:
            if guided or cond is not None:
                raise UsageError("this prior is unconditional: there is nothing to guide towards")
            return None, _plain
        if guided and self.condition.dropout == 0.0:
            raise UsageError(
                "no guidance: with prior.condition.dropout=0 the prior never learned to do without "
                "its condition"
            )
        null = self.condition.null(count)  # [B, ...]
        cond = null if cond is None else cond
        if not guided:
            return cond, _plain
        return jnp.concatenate([cond, null]), guidance  # [2 B, ...]


class TransformerPrior(Prior):
    """Base of priors by a transformer: they have the fields of `GPT`, and may have others."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.positions not in POSITIONS:
            hint = did_you_mean(self.positions, POSITIONS)
            raise UsageError(f"prior.positions={self.positions!r}: {hint}")
        if self.heads < 1 or self.width % self.heads:
            raise UsageError(f"prior.heads={self.heads} does not divide width={self.width}")
        if self.kv_heads is not None and (self.kv_heads < 1 or self.heads % self.kv_heads):
            raise UsageError(f"prior.kv_heads={self.kv_heads} does not divide heads={self.heads}")
        if self.layers < 1 or not 0.0 <= self.dropout < 1.0:
            raise UsageError(
                f"prior: layers={self.layers}, dropout={self.dropout}: wanted at least one layer "
                "and a chance below 1"
            )
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

    def make_transformer(self, **settings: Any) -> Transformer:
        """Its transformer; `settings` are further fields, or replace these."""
        fields = {"qk_norm": self.qk_norm, "dtype": self.dtype} | settings
        return Transformer(self.layers, self.heads, self.kv_heads, **fields)

    def angles(self) -> np.ndarray:
        """float32 [P + T, d / 2]; zero for the prefix."""
        order = self.order
        positions = order.positions  # [T, axes]
        if self.positions == "sequence":
            positions = 1.0 + np.arange(order.length)[:, None]  # [T, 1]
        prefix = np.zeros((self.lead, positions.shape[1]))  # [P, axes]
        positions = np.concatenate([prefix, positions])  # [P + T, axes]
        return rotary_angles(positions, self.width // self.heads)

    def declare_start_vector(self) -> None:
        """Creates the learned vector before the tokens where the condition is no prefix; called in
        `setup`.
        """
        if not self.has_prefix:
            self.start_vector = self.param("start", INIT, (1, 1, self.width))  # [1, P=1, C]

    def conditioning(self, cond: jax.Array | None, batch: int) -> Conditioning:
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
            after = (0, self.order.length)
            mask = jnp.pad(mask, ((0, 0), after), constant_values=True)  # [B, P + T], P = M
        return Conditioning(vectors, mask)


def _plain(logits: jax.Array, done: jax.Array) -> jax.Array:
    return logits
