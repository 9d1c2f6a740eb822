"""The streams of a `JointTask`: tokens of a frozen tokenizer, or a text."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from vqjax.config import FrozenRun
from vqjax.config.annotations import check_fields
from vqjax.priors.codebook_order import PATTERNS, CodebookOrder
from vqjax.tasks.base import LENGTH, inputs_of, within_length
from vqjax.tasks.frozen_tokens import FrozenTokens
from vqjax.types import ArraySpec, Batch, Bound, Level, Tree, UsageError, did_you_mean

CAPTION = "caption"  # a text as ids, 0 after its end, in a batch
PRESENT = "present"  # whether a row has the stream, likewise


@dataclasses.dataclass(frozen=True)
class TokenStream(FrozenTokens):
    """The tokens of a frozen tokenizer of images, sound or anything else. It is applied inside the
    step.

    Attributes:
        tokenizer: the run whose tokens they are.
        codebooks: how many of its levels, the first ones; None: all.
        pattern: of several codebooks, "delay" or "flat"; see `CodebookOrder`.
        ends: whether examples are clips that may end early, as the batch's "length" says.
        noise: the largest standard deviation of Gaussian noise on its inputs, whose range is
            [-1, 1], in training; 0: none.
    """

    tokenizer: FrozenRun
    codebooks: int | None = None
    pattern: str = "delay"
    ends: bool = False
    noise: float = 0.0

    where, ends_where = "stream", "stream.ends"

    def __post_init__(self) -> None:
        self.check_own_fields()
        if self.pattern not in PATTERNS:
            raise UsageError(
                f"stream.pattern={self.pattern!r}: {did_you_mean(self.pattern, PATTERNS)}"
            )
        if self.noise < 0.0:
            raise UsageError(f"stream.noise={self.noise}: wanted at least 0")

    def check(self, arrays: Mapping[str, ArraySpec]) -> None:
        """Refuses settings that cannot work on examples of these arrays, with UsageError."""
        self.check_arrays(arrays)
        if self.noise and self.inputs not in arrays:
            raise UsageError(f"stream.noise={self.noise}: the data has tokens, not {self.inputs!r}")

    @property
    def bounds(self) -> dict[str, Bound]:
        """Which numbers a batch may hold, by the names of arrays."""
        return self.token_bounds

    def order(self, shapes: Mapping[str, tuple[int, ...]]) -> CodebookOrder:
        """That of the tokens of examples with arrays of these shapes."""
        shortest = self.shortest if self.ends else 1
        return CodebookOrder(self.levels_of(shapes), self.pattern, self.ends, shortest)

    def present(self, batch: Batch) -> jax.Array:
        """Which rows of a batch have the stream, bool[B]: all, where the batch does not say."""
        count = len(next(iter(batch.values())))
        return batch.get(PRESENT, jnp.ones(count, bool))

    def ids(
        self, order: CodebookOrder, arrays: Tree, batch: Batch, noise: jax.Array, key: jax.Array
    ) -> jax.Array:
        """The tokens of a batch, int32[B, T].

        Args:
            order: of them.
            arrays: of the frozen run.
            batch: with the inputs, or with tokens, which stay as they are.
            noise: float[B], the standard deviation on the inputs.
            key: of the noise.
        """
        if self.inputs not in batch or not self.noise:
            ids = order.flatten(self.tokens_of(arrays, batch))
        else:
            x = inputs_of(batch, self.inputs)  # [B, *S, C]
            x = with_noise(x, noise, key)
            x = within_length(batch, x) if self.ends else x
            ids = order.flatten(self.encoded(arrays, x))
        if not self.ends:
            return ids
        frames = self.tokenizer_task.frames_of(batch[LENGTH])  # [B]
        return order.cut(ids, jnp.maximum(frames, order.shortest))


@dataclasses.dataclass(frozen=True)
class TextStream:
    """A text as the ids of a vocabulary, 0 after its end, in the batch's "caption" int32[B, length]
    (`vqjax.data.Captions`). An empty text is none: the row does not have the stream.

    Attributes:
        vocabulary: V, of the ids (`Captions.vocabulary.size`).
        length: T, of the longest text.
        noise: the largest chance, from 0 to 1, that an id is replaced by any other in training.
    """

    vocabulary: int
    length: int
    noise: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.vocabulary < 2 or self.length < 1 or not 0.0 <= self.noise <= 1.0:
            raise UsageError(
                f"stream: vocabulary={self.vocabulary}, length={self.length}, noise={self.noise}: "
                "wanted at least 2 ids, a length of at least 1 and a chance from 0 to 1"
            )

    @property
    def inputs(self) -> str:
        """The batch's array."""
        return CAPTION

    def check(self, arrays: Mapping[str, ArraySpec]) -> None:
        """Refuses settings that cannot work on examples of these arrays, with UsageError."""
        check_caption("stream", self.length, arrays)

    @property
    def bounds(self) -> dict[str, Bound]:
        """See `TokenStream.bounds`."""
        return {CAPTION: Bound(0, self.vocabulary, f"stream.vocabulary={self.vocabulary}")}

    def order(self, shapes: Mapping[str, tuple[int, ...]]) -> CodebookOrder:
        """See `TokenStream.order`."""
        del shapes
        level = Level(CAPTION, (self.length,), self.vocabulary)
        return CodebookOrder((level,), "flat", ends=True)

    def present(self, batch: Batch) -> jax.Array:
        """See `TokenStream.present`."""
        has_text = (batch[CAPTION] != 0).any(axis=1)  # [B]
        return batch.get(PRESENT, True) & has_text

    def ids(
        self, order: CodebookOrder, arrays: Tree, batch: Batch, noise: jax.Array, key: jax.Array
    ) -> jax.Array:
        """See `TokenStream.ids`; `noise` is the chance that an id is replaced."""
        del arrays
        ids = batch[CAPTION]  # [B, T]
        frames = jnp.sum(ids != 0, axis=1)  # [B]
        ids = self.replaced(ids, noise, key) if self.noise else ids
        return order.cut(ids, jnp.maximum(frames, 1))

    def replaced(self, ids: jax.Array, noise: jax.Array, key: jax.Array) -> jax.Array:
        """ids int32[B, T], each but the zeros replaced by any other with the chances float[B]."""
        replaced_key, id_key = jax.random.split(key)
        replaced = jax.random.uniform(replaced_key, ids.shape) < noise[:, None]
        others = jax.random.randint(id_key, ids.shape, 1, self.vocabulary)
        return jnp.where(replaced & (ids != 0), others, ids)


def check_caption(where: str, length: int, arrays: Mapping[str, ArraySpec]) -> None:
    """Refuses, with UsageError, arrays without a "caption" of `length` ids; `where`: the path of
    the field `length`.
    """
    spec = arrays.get(CAPTION)
    if spec is None or (spec.shape, spec.dtype) != ((length,), "int32"):
        found = ", ".join(arrays) if spec is None else f"{spec.dtype}{list(spec.shape)}"
        raise UsageError(
            f"{where}.length={length}: wanted {CAPTION!r} of Captions(length={length}): the data "
            f"has {found}"
        )


def with_noise(x: jax.Array, noise: jax.Array, key: jax.Array) -> jax.Array:
    """x [B, *S, C] with Gaussian noise of the standard deviations float[B], within [-1, 1]; rows
    without noise stay as they are.
    """
    level = noise.astype(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))
    noisy = jnp.clip(x + level * jax.random.normal(key, x.shape, x.dtype), -1.0, 1.0)
    return jnp.where(level > 0.0, noisy, x)


def arrays_of(batch: Mapping[str, object], stream: str) -> dict[str, object]:
    """The arrays of a batch that a stream reads, by their own names: those of `Paired` that begin
    with its name, and those of no stream.
    """
    shared = {name: array for name, array in batch.items() if "." not in name}
    first = f"{stream}."
    own = {name.removeprefix(first): a for name, a in batch.items() if name.startswith(first)}
    return {**shared, **own}
