"""What all priors share: the order of tokens, conditioning, guidance."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax.config.annotations import check_fields
from vqjax.nn.attention import INIT, Context
from vqjax.nn.rotary import rotary_angles
from vqjax.nn.transformer import Transformer
from vqjax.ops.numerics import at_least_float32
from vqjax.priors.order import TokenOrder
from vqjax.sampling import Guidance
from vqjax.types import UsageError, did_you_mean

POSITIONS = ("grid", "sequence")
EDITS = ("inpaint", "outpaint", "outpaint below", "upscale", "variations")


class Conditioning(NamedTuple):
    """What a network has beside its tokens.

    Attributes:
        prefix: vectors at the positions before the tokens, [B, lead, width].
        mask: bool [B, lead + T], positions that count; None: all.
        context: what every block attends to; None: nothing.
    """

    prefix: jax.Array
    mask: jax.Array | None = None
    context: Context | None = None


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
        own = jnp.asarray(order.level_at)[positions][:, None] == jnp.asarray(order.level_of)[None]
        return jnp.where(own[None], logits, jnp.finfo(logits.dtype).min)

    def with_guidance(
        self, cond: jax.Array | None, count: int, guidance: Guidance
    ) -> tuple[jax.Array | None, Callable[[jax.Array, jax.Array], jax.Array]]:
        """The conditions with which the network draws `count` examples, and what makes one of its
        logits.

        With guidance everything is worked out twice: with the condition, and without.

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
        null = self.condition.null(count)
        cond = null if cond is None else cond
        return (jnp.concatenate([cond, null]), guidance) if guided else (cond, _plain)


class TransformerPrior(Prior):
    """Base of those that have the fields of `GPT`, if they like with others among them."""

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
        """Positions before the first token."""
        return self.condition.length if self.has_prefix else 1

    @property
    def has_prefix(self) -> bool:
        """Whether its condition stands before the tokens."""
        return self.condition is not None and self.condition.by == "prefix"

    def make_transformer(self, **settings: Any) -> Transformer:
        """Its transformer, with `settings` beside the fields that stand here."""
        fields = {"qk_norm": self.qk_norm, "dtype": self.dtype} | settings
        return Transformer(self.layers, self.heads, self.kv_heads, **fields)

    def angles(self) -> np.ndarray:
        """float32 [lead + T, head_dim / 2]; the prefix does not turn."""
        order = self.order
        positions = order.positions
        if self.positions == "sequence":
            positions = 1.0 + np.arange(order.length)[:, None]
        positions = np.concatenate([np.zeros((self.lead, positions.shape[1])), positions])
        return rotary_angles(positions, self.width // self.heads)

    def declare_start_vector(self) -> None:
        """Makes the vector that stands before the tokens where no condition does; called in
        `setup`.
        """
        if not self.has_prefix:
            self.start_vector = self.param("start", INIT, (1, 1, self.width))

    def condition_vectors(self, cond: jax.Array | None, batch: int) -> Conditioning:
        """What the condition makes of its array `cond`, of `batch` examples."""
        vectors = mask = None
        if self.condition is not None:
            vectors, mask = self.condition(cond, self.width)
        if not self.has_prefix:
            start = jnp.broadcast_to(self.start_vector, (batch, 1, self.width))
            return Conditioning(start, None, None if vectors is None else Context(vectors, mask))
        if mask is not None:
            mask = jnp.pad(mask, ((0, 0), (0, self.order.length)), constant_values=True)
        return Conditioning(vectors, mask)


def _plain(logits: jax.Array, done: jax.Array) -> jax.Array:
    return logits
