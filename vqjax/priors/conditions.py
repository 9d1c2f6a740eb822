"""What a prior is conditioned on: a class, a text, or several of them.

A condition embeds one array of the batch, `batch_key`, as vectors: `by` "prefix" they come before
the tokens, by "cross" every block attends to them. If there is an rng stream "dropout", the
condition is dropped from some examples, so that the prior learns the unconditional distribution
for classifier-free guidance, too (arXiv 2207.12598).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vqjax.config.annotations import check_fields
from vqjax.nn.attention import INIT
from vqjax.nn.rotary import rotary_angles
from vqjax.nn.transformer import Transformer
from vqjax.types import ArraySpec, Bound, UsageError, check_offers, did_you_mean

WAYS = ("prefix", "cross")
NULL = -1  # the label of an example that has none, and of guidance's unconditional half
LABEL = "label"  # the batch's array of the main classes
PART_NEEDS = ("batch_key", "by", "length", "spec", "check_spec", "null")


class ClassLabel(nn.Module):
    """A class as one learned vector before the tokens.

    Attributes:
        classes: how many; labels are 0 to classes - 1, or -1 for none.
        dropout: chance that a label is dropped in training.
        batch_key: the batch's array.
        names: of the classes, for those who ask for samples; (): they have numbers alone.
    """

    classes: int
    dropout: float = 0.1
    batch_key: str = LABEL
    names: tuple[str, ...] = ()

    by = "prefix"
    length = 1  # vectors

    def __post_init__(self) -> None:
        check_fields(self)
        if self.classes < 1 or not 0.0 <= self.dropout <= 1.0:
            raise UsageError(
                f"condition: classes={self.classes}, dropout={self.dropout}: wanted at least one "
                "class and a chance from 0 to 1"
            )
        if self.names and len(set(self.names)) != self.classes:
            raise UsageError(
                f"condition: {len(set(self.names))} different names, classes={self.classes}: "
                "wanted one name for each, or none"
            )
        super().__post_init__()

    @property
    def spec(self) -> ArraySpec:
        """Of that array, in one example."""
        return ArraySpec((), "int32")

    @property
    def bound(self) -> Bound:
        """Of the numbers in that array."""
        return Bound(0, self.classes, f"prior.condition.classes={self.classes}", NULL)

    def check_spec(self, spec: ArraySpec) -> None:
        """Refuses arrays of another kind than this one takes, with UsageError."""
        if spec.shape:
            raise UsageError(f"{self.batch_key}s are numbers, not {spec.dtype}{list(spec.shape)}")

    def check(self, labels: np.ndarray) -> None:
        """Refuses labels that are no classes, with UsageError."""
        for label in np.unique(labels):
            if not NULL <= label < self.classes:
                raise UsageError(
                    f"{self.batch_key} {label}: wanted 0 to {self.classes - 1}, or {NULL} for none "
                    f"(prior.condition.classes={self.classes})"
                )

    @nn.compact
    def __call__(self, labels: jax.Array, features: int) -> tuple[jax.Array, None]:
        """int32[B] -> [B, 1, features], and which of these count: all.

        A label that is no class gives NaN rather than another class's vector.
        """
        if self.has_rng("dropout") and self.dropout > 0.0:
            withheld = jax.random.bernoulli(
                self.make_rng("dropout"), jnp.float32(self.dropout), labels.shape
            )
            labels = jnp.where(withheld, NULL, labels)
        init = nn.initializers.normal(0.02)
        table = self.param("table", init, (self.classes + 1, features), jnp.float32)
        rows = jnp.where(labels == NULL, self.classes, labels)
        rows = jnp.where(labels >= self.classes, self.classes + 1, rows)
        vectors = jnp.take(table, rows, axis=0, mode="fill", fill_value=jnp.nan)  # [B, features]
        return vectors[:, None], None  # [B, M=1, features]

    def null(self, count: int) -> jax.Array:
        """The array that means no condition: int32[count]."""
        return jnp.full((count,), NULL, jnp.int32)


def encoded(
    condition: nn.Module, x: jax.Array, mask: jax.Array, features: int
) -> tuple[jax.Array, jax.Array]:
    """A sequence x [B, T, width], of which those of `mask` bool [B, T] count, by the transformer of
    a condition, as vectors [B, T + 1, features] and their mask; the last one is of the whole. In a
    compact method.
    """
    width, (batch, length, _) = condition.width, x.shape
    whole = condition.param("whole", INIT, (1, 1, width), jnp.float32)
    whole = jnp.broadcast_to(whole, (batch, 1, width)).astype(x.dtype)  # [B, 1, width]
    mask = jnp.concatenate([mask, jnp.ones((batch, 1), bool)], axis=1)  # [B, M]
    positions = np.append(1.0 + np.arange(length), 0.0)[:, None]  # [M, 1]
    angles = jnp.asarray(rotary_angles(positions, width // condition.heads))  # [M, d / 2]
    encoder = Transformer(
        condition.layers, condition.heads, causal=False, dtype=condition.dtype, name="encoder"
    )
    h = encoder(jnp.concatenate([x, whole], axis=1), angles, mask)  # [B, M, width]
    out = nn.Dense(features, use_bias=False, kernel_init=INIT, dtype=condition.dtype, name="out")
    return out(h.reshape(-1, width)).reshape(*h.shape[:2], features), mask


class Text(nn.Module):
    """A caption, encoded by a transformer that is trained with the prior.

    A vector of the whole caption follows those of its tokens; of an empty caption it is the only
    one.

    Attributes:
        vocabulary: V, size of the captions' vocabulary (`BPE.size`).
        tokens: T, ids per caption (`Captions.length`); 0 is padding, which is masked.
        width: channels of the transformer.
        layers: blocks of the transformer.
        heads: of its attention.
        by: "prefix": the vectors come before the tokens; "cross": every block of the prior
            attends to them (arXiv 1706.03762), which costs parameters but no positions.
        dropout: chance that a caption is dropped in training.
        dtype: to compute in; None: the experiment's `compute_dtype`.
    """

    vocabulary: int
    tokens: int
    width: int
    layers: int = 2
    heads: int = 4
    by: str = "prefix"
    dropout: float = 0.1
    dtype: str | None = None

    batch_key = "caption"  # the batch's array

    def __post_init__(self) -> None:
        check_fields(self)
        if self.by not in WAYS:
            raise UsageError(f"condition.by={self.by!r}: {did_you_mean(self.by, WAYS)}")
        if min(self.vocabulary, self.tokens, self.layers) < 1 or not 0.0 <= self.dropout <= 1.0:
            raise UsageError(
                f"condition: vocabulary={self.vocabulary}, tokens={self.tokens}, "
                f"layers={self.layers}, dropout={self.dropout}: wanted at least 1 of each and a "
                "chance from 0 to 1"
            )
        if self.heads < 1 or self.width % (2 * self.heads):
            raise UsageError(
                f"condition.width={self.width}: wanted a multiple of 2 heads={2 * self.heads}"
            )
        super().__post_init__()

    @property
    def length(self) -> int:
        """Vectors that it makes."""
        return self.tokens + 1

    @property
    def spec(self) -> ArraySpec:
        """Of that array, in one example."""
        return ArraySpec((self.tokens,), "int32")

    @property
    def bound(self) -> Bound:
        """Of the numbers in that array."""
        return Bound(0, self.vocabulary, f"prior.condition.vocabulary={self.vocabulary}")

    def check_spec(self, spec: ArraySpec) -> None:
        """Refuses arrays of another kind than this one takes, with UsageError."""
        if spec.shape != (self.tokens,) or spec.dtype != "int32":
            raise UsageError(
                f"prior.condition.tokens={self.tokens}: the captions are "
                f"{spec.dtype}{list(spec.shape)}; wanted those of Captions(length={self.tokens})"
            )

    @nn.compact
    def __call__(self, ids: jax.Array, features: int) -> tuple[jax.Array, jax.Array]:
        """int32[B, T] -> [B, M, features], M = T + 1, and which of these count: bool [B, M]."""
        if self.has_rng("dropout") and self.dropout > 0.0:
            key = self.make_rng("dropout")
            chance = jnp.float32(self.dropout)
            withheld = jax.random.bernoulli(key, chance, (len(ids), 1))  # [B, 1]
            ids = jnp.where(withheld, 0, ids)
        embed = nn.Embed(
            self.vocabulary, self.width, embedding_init=INIT, dtype=self.dtype, name="embed"
        )
        return encoded(self, embed(ids), ids != 0, features)

    def null(self, count: int) -> jax.Array:
        """The array that means no condition: int32[count, T]."""
        return jnp.zeros((count, self.tokens), jnp.int32)


class Tokens(nn.Module):
    """Tokens of a frozen tokenizer, such as those of a recording, encoded by a transformer that is
    trained with the network; the codebooks of a position are added up. What is not there, as after
    the end of a clip, is -1.

    Attributes:
        codebooks: Q, the first ones of the tokenizer.
        positions: T, of its grid, in one row.
        width: channels of the transformer.
        codebook_size: K, of each codebook; None: that of the tokenizer, filled in by the task.
        layers: blocks of the transformer.
        heads: of its attention.
        by: see `Text`.
        dropout: chance that all are dropped in training.
        dtype: to compute in; None: the experiment's `compute_dtype`.
    """

    codebooks: int
    positions: int
    width: int
    codebook_size: int | None = None
    layers: int = 2
    heads: int = 4
    by: str = "cross"
    dropout: float = 0.1
    dtype: str | None = None

    batch_key = "source_tokens"  # the batch's array, which the task makes

    def __post_init__(self) -> None:
        check_fields(self)
        if self.by not in WAYS:
            raise UsageError(f"condition.by={self.by!r}: {did_you_mean(self.by, WAYS)}")
        sizes = {
            name: getattr(self, name)
            for name in ("codebook_size", "codebooks", "positions", "layers", "heads")
        }
        least = min(size for size in sizes.values() if size is not None)
        if least < 1 or not 0.0 <= self.dropout <= 1.0:
            words = ", ".join(f"{name}={size}" for name, size in sizes.items())
            raise UsageError(
                f"condition: {words}, dropout={self.dropout}: wanted at least 1 of each and a "
                "chance from 0 to 1"
            )
        if self.width % (2 * self.heads):
            raise UsageError(
                f"condition.width={self.width}: wanted a multiple of 2 heads={2 * self.heads}"
            )
        super().__post_init__()

    @property
    def length(self) -> int:
        """Vectors that it makes."""
        return self.positions + 1

    @property
    def spec(self) -> ArraySpec:
        """Of that array, in one example."""
        return ArraySpec((self.positions, self.codebooks), "int32")

    def check_spec(self, spec: ArraySpec) -> None:
        """Refuses arrays of another kind than this one takes, with UsageError."""
        if not self.spec.is_like(spec):
            raise UsageError(
                f"condition: positions={self.positions}, codebooks={self.codebooks}: the tokens "
                f"are {spec.dtype}{list(spec.shape)}"
            )

    @nn.compact
    def __call__(self, ids: jax.Array, features: int) -> tuple[jax.Array, jax.Array]:
        """int32[B, T, Q] -> [B, M, features], M = T + 1, and which of these count: bool [B, M]."""
        if self.has_rng("dropout") and self.dropout > 0.0:
            key, chance = self.make_rng("dropout"), jnp.float32(self.dropout)
            withheld = jax.random.bernoulli(key, chance, (len(ids), 1, 1))  # [B, 1, 1]
            ids = jnp.where(withheld, NULL, ids)
        size = self.codebooks * self.codebook_size
        embed = nn.Embed(size, self.width, embedding_init=INIT, dtype=self.dtype, name="embed")
        there = ids[..., 0] != NULL  # [B, T]
        rows = jnp.maximum(ids, 0) + self.codebook_size * jnp.arange(self.codebooks)[None, None]
        x = embed(rows).sum(axis=2)  # [B, T, width]
        return encoded(self, x, there, features)

    def null(self, count: int) -> jax.Array:
        """The array that means no condition: int32[count, T, Q]."""
        return jnp.full((count, self.positions, self.codebooks), NULL, jnp.int32)


class Several(nn.Module):
    """Several conditions at once: the vectors of each come before the tokens, in their order.

    It takes a dict of arrays, by the `batch_key` of each.

    Attributes:
        parts: conditions by "prefix", each of another array; each may be dropped alone by its own
            `dropout`.
        dropout: chance that all are dropped at once in training, as guidance needs it.
    """

    parts: tuple[nn.Module, ...]
    dropout: float = 0.1

    by = "prefix"

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0.0 <= self.dropout <= 1.0 or len(self.parts) < 2:
            raise UsageError(
                f"condition: {len(self.parts)} parts, dropout={self.dropout}: wanted two or more "
                "conditions and a chance from 0 to 1"
            )
        for i, part in enumerate(self.parts):
            check_offers(f"condition.parts.{i}", part, PART_NEEDS)
            if part.by != "prefix":
                raise UsageError(f"condition.parts.{i}: by={part.by!r}: wanted 'prefix'")
        keys = [part.batch_key for part in self.parts]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise UsageError(f"condition.parts: two read {twice[0]!r}: give one another batch_key")
        super().__post_init__()

    @property
    def length(self) -> int:
        """Vectors that they make."""
        return sum(part.length for part in self.parts)

    @nn.compact
    def __call__(
        self, arrays: Mapping[str, jax.Array], features: int
    ) -> tuple[jax.Array, jax.Array | None]:
        """{batch_key: [B, ...]} -> [B, M, features], and which of these count: bool [B, M] or None,
        all.
        """
        arrays = {part.batch_key: arrays[part.batch_key] for part in self.parts}
        count = len(next(iter(arrays.values())))
        if self.has_rng("dropout") and self.dropout > 0.0:
            key = self.make_rng("dropout")
            withheld = jax.random.bernoulli(key, jnp.float32(self.dropout), (count,))  # [B]
            nulls = self.null(count)
            arrays = {
                name: jnp.where(withheld.reshape(-1, *(1,) * (a.ndim - 1)), nulls[name], a)
                for name, a in arrays.items()
            }
        made = [part(arrays[part.batch_key], features) for part in self.parts]
        vectors = jnp.concatenate([v for v, _ in made], axis=1)  # [B, M, features]
        if all(mask is None for _, mask in made):
            return vectors, None
        masks = [jnp.ones(v.shape[:2], bool) if mask is None else mask for v, mask in made]
        return vectors, jnp.concatenate(masks, axis=1)  # [B, M]

    def null(self, count: int) -> dict[str, jax.Array]:
        """The arrays that mean no condition."""
        return {part.batch_key: part.null(count) for part in self.parts}


def parts_of(condition: nn.Module | None) -> tuple[Any, ...]:
    """The conditions that read one array each: itself, those of `Several`, or none."""
    if condition is None:
        return ()
    return condition.parts if isinstance(condition, Several) else (condition,)


def inputs_of(condition: nn.Module | None, arrays: Mapping[str, Any]) -> Any:
    """What the condition takes, out of the arrays of a batch; None: there is no condition."""
    if isinstance(condition, Several):
        return {part.batch_key: arrays[part.batch_key] for part in condition.parts}
    return None if condition is None else arrays[condition.batch_key]
