"""Examples of one stream of a joint prior as people have them, and as its tokens."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqjax import arguments
from vqjax.format import printable, times
from vqjax.priors.codebook_order import CodebookOrder
from vqjax.runs.base import Run
from vqjax.runs.examples import as_trained, in_parts
from vqjax.tasks.frozen_tokens import Drawn
from vqjax.tasks.streams import TokenStream
from vqjax.types import ArraySpec, Tree, UsageError

CALL_BATCH = 64  # examples decoded at a time


class TextExamples:
    """Texts and the ids of their tokens.

    Args:
        name: of the stream.
        order: of its tokens.
        source: what encodes and decodes texts: `vqjax.data.Captions` or `TextColumn`.
    """

    medium = "text"

    def __init__(self, name: str, order: CodebookOrder, source: Any) -> None:
        self.name, self._order, self._source = name, order, source

    def ids(self, values: Any) -> np.ndarray:
        """One text or several as ids int32[m, T].

        Raises:
            UsageError: no texts, an empty one, one that is no UTF-8 or that is too long.
        """
        texts = [values] if isinstance(values, str) else arguments.items(self.name, values, '["a"]')
        for i, text in enumerate(texts):
            if not isinstance(text, str) or not text:
                raise UsageError(f"{self.name}[{i}]={arguments.got(text)}: wanted a text")
            if any("\ud800" <= letter <= "\udfff" for letter in text):  # as Python reads them
                raise UsageError(f"{self.name}[{i}]={arguments.got(text)}: not UTF-8")
        codes = self._source.encode(texts)  # [m, T], 0 after the end
        frames = (codes != 0).sum(axis=1)
        inside = np.arange(codes.shape[1])[None] < frames[:, None]
        return np.where(inside, codes, self._order.ended).astype(np.int32)

    def examples(self, ids: np.ndarray) -> list[str]:
        """The texts of drawn ids int32[n, T]."""
        return self._source.decode(np.where(ids == self._order.ended, 0, ids))


class TokenExamples:
    """Examples of a frozen tokenizer and the ids of their tokens.

    Args:
        name: of the stream.
        stream: its settings.
        order: of its tokens.
        run: the tokenizer's.
        arrays: of it.
        spec: of an example in training.
    """

    def __init__(
        self,
        name: str,
        stream: TokenStream,
        order: CodebookOrder,
        run: Run,
        arrays: Tree,
        spec: ArraySpec,
    ) -> None:
        self.name, self.run, self.spec = name, run, spec
        self._stream, self.order, self._arrays = stream, order, arrays
        self._decode = jax.jit(self._decoded)

    @property
    def medium(self) -> str:
        """ "image", "audio" or "video"."""
        return self.spec.shown_as

    def ids(self, values: Any) -> np.ndarray:
        """One example or several as ids int32[m, T]: images [*S, C] or [m, *S, C] of the shape of
        training; clips of sound [T] or a list of them, of which the window of training counts.

        Raises:
            UsageError: other shapes, dtypes or ranges than the tokenizer takes.
        """
        if self.order.ends:
            one = isinstance(values, np.ndarray) and values.ndim == 1
            clips = [values] if one else arguments.items(self.name, values, "[clip]")
            return np.concatenate([self._clip_ids(clip) for clip in clips])
        array = np.asarray(values)
        array = array[None] if array.ndim == len(self.spec.shape) else array
        if array.shape[1:] != tuple(self.spec.shape):
            raise UsageError(
                f"{self.name}: {times(array.shape)}: wanted examples of {times(self.spec.shape)}"
            )
        return np.asarray(self.order.flatten(self._named(self.run.encode(array))))

    def _clip_ids(self, clip: np.ndarray) -> np.ndarray:
        """Ids int32[1, T] of one clip [T]."""
        window = self.spec.shape[0]
        tokens = self._named(self.run.encode(np.asarray(clip)[:window]))  # [F'] each
        most = self.order.frames
        frames = min(len(next(iter(tokens.values()))), most)
        padded = {k: np.pad(v[:most], (0, most - frames))[None] for k, v in tokens.items()}
        ids = self.order.cut(self.order.flatten(padded), jnp.asarray([frames]))
        return np.asarray(ids)

    def _named(self, tokens: Any) -> dict[str, np.ndarray]:
        """The levels that are meant, by name."""
        names = self._stream.level_names
        tokens = tokens if isinstance(tokens, dict) else {names[0]: tokens}
        return {name: np.asarray(tokens[name]) for name in names}

    def examples(self, ids: np.ndarray) -> Any:
        """Examples of drawn ids int32[n, T], as in training: [n, *S, C] of the tokenizer's dtype;
        of sound a list of int16[T], each of its own length, at the level of training.
        """
        examples, lengths = in_parts(self._decode, (np.asarray(ids),), CALL_BATCH)
        if self.medium != "audio":
            return examples
        pairs = zip(examples, lengths.tolist(), strict=True)
        return [example[:length, 0] for example, length in pairs]

    def _decoded(self, ids: jax.Array) -> tuple[jax.Array, jax.Array]:
        order = self.order
        frames = order.frames_of(ids) if order.ends else None
        x_hat, lengths = self._stream.decoded(self._arrays, Drawn(order.unflatten(ids), frames))
        dtype = self.spec.dtype if self.spec.dtype in ("uint8", "int16") else "float32"
        return as_trained(x_hat, dtype), lengths


def in_turn(ids: np.ndarray, n: int) -> np.ndarray:
    """`ids` [m, T] in turn, [n, T]."""
    return np.resize(ids, (n, *ids.shape[1:]))


def named_streams(names: Sequence[str], valid: Sequence[str], what: str) -> tuple[str, ...]:
    """Streams as a caller names them.

    Raises:
        UsageError: one does not exist, or is named twice.
    """
    found = tuple(arguments.texts(what, names, '["text"]'))
    for i, name in enumerate(found):
        arguments.one_of(f"{what}[{i}]", name, valid)
        if name in found[:i]:
            raise UsageError(f"{what}: {printable(name)} is named twice")
    return found
