"""The tokens of a frozen tokenizer: those that its run makes of a batch, and examples of them."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from vqjax.config import FrozenRun
from vqjax.config.annotations import check_fields
from vqjax.ops.numerics import make_key
from vqjax.tasks.base import LENGTH, inputs_of, last_repeated, within_length
from vqjax.types import ArraySpec, Batch, Bound, Level, Tree, UsageError, check_offers

TOKENIZER_NEEDS = ("encode", "decode_indices", "token_layout")
FRAMES_NEEDS = ("frames_of", "samples_of")  # of a tokenizer's task, where clips end


class Drawn(NamedTuple):
    """New tokens.

    Attributes:
        indices: {level name: int32[B, *grid]}; 0 after the end of a clip.
        frames: how many frames each clip has, int32[B]; None: all have as many as the grid.
    """

    indices: dict[str, jax.Array]
    frames: jax.Array | None = None


class FrozenTokenizer:
    """Base of what learns from the networks of a frozen run. A subclass has the field `tokenizer`,
    a `FrozenRun`.

        where: the path of this field, for messages.
    """

    where: ClassVar[str]

    def check_tokenizer(self) -> None:
        """Refuses another object in the field, with UsageError."""
        if not isinstance(self.tokenizer, FrozenRun):
            kind = type(self.tokenizer).__name__
            raise UsageError(f"{self.where}.tokenizer: wanted a FrozenRun, got {kind}")

    @property
    def tokenizer_task(self) -> Any:
        """What turns examples into tokens and back."""
        experiment = self.tokenizer.experiment
        if experiment is None:
            raise UsageError(
                f"{self.where}.tokenizer: {self.tokenizer.path} has not been opened, and the "
                "experiment names no stand-in"
            )
        task = experiment.network_task()
        check_offers(f"{self.where}.tokenizer: its task", task, TOKENIZER_NEEDS)
        return task

    def check_channels(self, shape: tuple[int, ...]) -> None:
        """Refuses, with UsageError, examples (*S, C) with other channels than it was trained on."""
        channels = getattr(self.tokenizer_task.tokenizer.decoder, "channels", shape[-1])
        if shape[-1] != channels:
            raise UsageError(
                f"{self.where}.tokenizer: {self.tokenizer.path} was trained on {channels} channels,"
                f" the data's {self.tokenizer_task.inputs!r} has {shape[-1]}"
            )


class FrozenTokens(FrozenTokenizer):
    """Base of what learns the tokens of a frozen run. A subclass has also the field `codebooks`,
    how many of its levels are meant, the first ones (None: all); and `ends`, whether examples are
    clips that may end early.

        ends_where: the path of `ends`.
    """

    ends_where: ClassVar[str]

    def check_own_fields(self) -> None:
        """Refuses fields of other kinds, with UsageError."""
        self.check_tokenizer()
        check_fields(self)
        if self.codebooks is not None and self.codebooks < 1:
            raise UsageError(
                f"{self.where}.codebooks={self.codebooks}: wanted at least 1, or None for all"
            )

    @property
    def inputs(self) -> str:
        """The batch's array that is tokenized."""
        return self.tokenizer_task.inputs

    @property
    def level_names(self) -> tuple[str, ...]:
        """Those of the levels that are meant.

        Raises:
            UsageError: there are fewer than `codebooks`, or the quantizer needs all.
        """
        tokenizer = self.tokenizer_task.tokenizer
        names, count = tokenizer.level_names, self.codebooks
        if count is None or count == len(names):
            return names
        if count > len(names):
            raise UsageError(
                f"{self.where}.codebooks={count}: {self.tokenizer.path} has {len(names)} levels "
                "of tokens"
            )
        if not getattr(tokenizer.quantizer, "decodes_first_levels", False):
            kind = type(tokenizer.quantizer).__name__
            raise UsageError(
                f"{self.where}.codebooks={count}: {kind} decodes from all {len(names)} levels alone"
            )
        return names[:count]

    def token_layout(self, shape: tuple[int, ...]) -> tuple[Level, ...]:
        """Levels of tokens, those that are meant, of one example of `shape` (*S, C)."""
        names = self.level_names
        return tuple(v for v in self.tokenizer_task.token_layout(shape) if v.name in names)

    def levels_of(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Level, ...]:
        """Levels of examples with arrays of these shapes: inputs of the tokenizer, or its tokens.

        Raises:
            UsageError: they have neither.
        """
        names = self.level_names
        if all(name in shapes for name in names):
            size = self.tokenizer_task.tokenizer.quantizer.codebook_size
            return tuple(Level(name, tuple(shapes[name]), size) for name in names)
        if self.inputs not in shapes:
            raise UsageError(
                f"the prior needs {self.inputs!r} or {', '.join(names)}: the data has "
                f"{', '.join(shapes)}"
            )
        return self.token_layout(shapes[self.inputs])

    def example_shape(self, levels: tuple[Level, ...]) -> tuple[int, ...]:
        """(*S, C) of an example with these levels of tokens."""
        tokenizer = self.tokenizer_task.tokenizer
        tokens = tuple(jnp.zeros((1, *level.grid), jnp.int32) for level in levels)
        shapes = jax.eval_shape(
            lambda: tokenizer.init(
                {name: make_key(0) for name in ("params", "quantizer")},
                tokens,
                method="decode_indices",
            )
        )
        made = jax.eval_shape(lambda v: tokenizer.apply(v, tokens, method="decode_indices"), shapes)
        return made.shape[1:]

    def check_arrays(self, inputs: Mapping[str, ArraySpec]) -> tuple[Level, ...]:
        """The levels of examples of these arrays.

        Raises:
            UsageError: they are not what the tokenizer takes, or have no tokens, or do not say
                where clips end.
        """
        levels = self.levels_of({name: tuple(spec.shape) for name, spec in inputs.items()})
        if self.inputs in inputs:
            self.check_channels(tuple(inputs[self.inputs].shape))
        if not levels:
            raise UsageError(
                f"{self.where}.tokenizer: {self.tokenizer.path} has no tokens, only latents"
            )
        if self.ends:
            self._check_ends(inputs)
        return levels

    def _check_ends(self, inputs: Mapping[str, Any]) -> None:
        if LENGTH not in inputs:
            raise UsageError(
                f"{self.ends_where}: nothing says where clips end, the data has no {LENGTH!r} (it "
                f"has {', '.join(inputs)})"
            )
        what = f"{self.ends_where}: {self.where}.tokenizer: its task"
        check_offers(what, self.tokenizer_task, FRAMES_NEEDS)

    @property
    def shortest(self) -> int:
        """Frames that every clip has, where clips end."""
        return max(1, int(self.tokenizer_task.frames_of(1)))

    @property
    def token_bounds(self) -> dict[str, Bound]:
        """Which numbers a batch may hold, by the names of levels."""
        size = self.tokenizer_task.tokenizer.quantizer.codebook_size
        bound = Bound(0, size, f"the tokenizer's codebook_size={size}")
        return dict.fromkeys(self.level_names, bound)

    def tokens_of(self, arrays: Tree, batch: Batch) -> dict[str, jax.Array]:
        """Those of the batch, or of its inputs: {level name: int32[B, *grid]}.

        Args:
            arrays: of the frozen run.
            batch: with tokens, or inputs.
        """
        names = self.level_names
        if all(name in batch for name in names):
            return {name: batch[name] for name in names}
        return self.encoded(arrays, inputs_of(batch, self.inputs))

    def encoded(self, arrays: Tree, x: jax.Array) -> dict[str, jax.Array]:
        """Tokens of examples as networks take them, x [B, *S, C]: {level name: int32[B, *grid]}."""
        indices = self.tokenizer_task.encode(arrays["params"], arrays["collections"], x).indices
        return {name: indices[name] for name in self.level_names}

    def decoded(self, arrays: Tree, drawn: Drawn) -> tuple[jax.Array, jax.Array]:
        """x_hat [B, *S, C] in [-1, 1] of drawn tokens, zero after the end of each clip, and the
        lengths int32[B] along its first axis.
        """
        task, params, collections = self.tokenizer_task, arrays["params"], arrays["collections"]
        if drawn.frames is None:
            x_hat = task.decode_indices(params, collections, drawn.indices)
            return x_hat, jnp.full(len(x_hat), x_hat.shape[1], jnp.int32)
        # A decoder that is not causal hears what follows: the last frame, as its own run repeats.
        indices = {k: last_repeated(i, drawn.frames) for k, i in drawn.indices.items()}
        length = task.samples_of(drawn.frames).astype(jnp.int32)  # [B]
        x_hat = task.decode_indices(params, collections, indices)
        return within_length({LENGTH: length}, x_hat), length
