"""`TextTask`: learn texts as the ids of a vocabulary, with no tokenizer, to draw new ones."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

from vqjax.config.annotations import check_fields
from vqjax.ops.schedules import Schedule
from vqjax.tasks.frozen_tokens import Drawn
from vqjax.tasks.streams import CAPTION, check_caption
from vqjax.tasks.tokens import TokenTask
from vqjax.types import ArraySpec, Batch, Bound, Level, Tree, UsageError


@dataclasses.dataclass(frozen=True)
class TextTask(TokenTask):
    """Maximum likelihood of texts, under a condition where the prior takes one: by `GPT` one id
    after the other, by `AbsorbingDiffusion` masked ids from the others.

    Player: "prior". Loss term: "nll", nats per id of the prior's `objective`.

    A text is the ids of the batch's "caption", int32[B, length] (`vqjax.data.Captions`): always
    `length` of them, for 0, which follows its last one to the end, is an id like any other. So a
    likelihood and a bound on it are of the same ids. A row of zeros is the empty text.

    Attributes:
        prior: the network; `vqjax.priors`.
        vocabulary: V, of the ids, 0 among them (`Captions.vocabulary.size`).
        length: T, of the longest text (`Captions.length`).
        loss_weights: of "nll".
    """

    prior: nn.Module
    vocabulary: int
    length: int
    loss_weights: Mapping[str, float | Schedule] = dataclasses.field(
        default_factory=lambda: {"nll": 1.0}
    )

    inputs = CAPTION

    def __post_init__(self) -> None:
        self.check_prior()
        check_fields(self)
        if self.vocabulary < 2 or self.length < 1:
            raise UsageError(
                f"task: vocabulary={self.vocabulary}, length={self.length}: wanted at least 2 ids "
                "and a length of at least 1"
            )
        if getattr(self.prior, "ends", False):
            raise UsageError("prior.ends=True: a text ends with the id 0: wanted False")
        if CAPTION in self._conditions.specs:
            raise UsageError(f"prior.condition reads {CAPTION!r}, which is what the prior learns")

    def check_arrays(self, inputs: Mapping[str, ArraySpec]) -> tuple[Level, ...]:
        """See `TokenTask.check_arrays`."""
        check_caption("task", self.length, inputs)
        return self.levels_of({})

    def levels_of(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Level, ...]:
        """The one level of all texts."""
        del shapes
        return (Level(CAPTION, (self.length,), self.vocabulary),)

    @property
    def token_bounds(self) -> dict[str, Bound]:
        """Which numbers a batch may hold."""
        return {CAPTION: Bound(0, self.vocabulary, f"task.vocabulary={self.vocabulary}")}

    def tokens(self, frozen: Tree, batch: Batch) -> dict[str, jax.Array]:
        """The ids of a batch, {"caption": int32[B, T]}."""
        del frozen
        return {CAPTION: batch[CAPTION]}

    def decode_drawn(self, frozen: Tree, drawn: Drawn) -> tuple[jax.Array, jax.Array]:
        """The ids of drawn texts int32[B, T], 0 from the first 0 on, and their `text_lengths`."""
        del frozen
        ids = drawn.indices[CAPTION]  # [B, T]
        lengths = text_lengths(ids)  # [B]
        inside = jnp.arange(self.length)[None] < lengths[:, None]  # [B, T]
        return jnp.where(inside, ids, 0), lengths


def text_lengths(ids: jax.Array) -> jax.Array:
    """How many ids of int32[B, T] stand before the first 0, int32[B]."""
    return jnp.sum(jnp.cumprod(ids != 0, axis=1), axis=1)
