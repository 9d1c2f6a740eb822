"""Sound piece by piece through causal networks: what comes in waits until there is enough for one
call of one program, so results do not depend on how it was cut, bit for bit.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vqjax.nn.streams import STREAM
from vqjax.tasks.parts import TOKENIZER
from vqjax.training.sharding import replicate, replicated
from vqjax.types import Tree

HOPS = 8  # of one call
LANES = 4  # signals of one call
ENCODE, DECODE = "encode", "decode"
Arrays = tuple[np.ndarray, ...]


class StreamPrograms:
    """The two programs of a tokenizer whose networks are causal.

    Args:
        task: a `SoundTokenizerTask` that `streams`.
        params: by player.
        collections: likewise.
        channels: C.
        mesh: where they run.
    """

    def __init__(
        self, task: Any, params: Tree, collections: Tree, channels: int, mesh: Mesh
    ) -> None:
        self._network, self._mesh = task.tokenizer, mesh
        self._variables = {"params": params[TOKENIZER], **collections[TOKENIZER]}
        self._sound = np.zeros((LANES, HOPS * task.hop, channels), np.float32)
        self._programs = {
            name: jax.jit(call, out_shardings=replicated(mesh))
            for name, call in ((ENCODE, self._encode), (DECODE, self._decode))
        }

    def _encode(self, variables: Tree, stream: Tree, x: jax.Array) -> tuple[Arrays, Tree]:
        """x [LANES, HOPS hop, C] -> indices or latents [LANES, HOPS, ..], and the stream after."""
        encoding, stream = self._network.apply(
            {**variables, **stream}, x, train=False, step=0, method="encode", mutable=[STREAM]
        )
        quantized = encoding.quantized
        return quantized.indices or (quantized.z_q,), dict(stream)

    def _decode(self, variables: Tree, stream: Tree, *tokens: jax.Array) -> tuple[Arrays, Tree]:
        """Indices or latents [LANES, HOPS, ..] -> sound [LANES, HOPS hop, C], one hop late."""
        discrete = np.issubdtype(tokens[0].dtype, np.integer)
        method, args = ("decode_indices", (tokens,)) if discrete else ("decode", tokens)
        x_hat, stream = self._network.apply(
            {**variables, **stream}, *args, method=method, mutable=[STREAM]
        )
        return (x_hat,), dict(stream)

    def encoder(self) -> "Pipe":
        """Sound, float32[LANES, n, C], in; its indices or latents out."""
        return self._pipe(ENCODE, (self._sound,))

    def decoder(self, like: Sequence[np.ndarray]) -> "Pipe":
        """Indices or latents such as `like`, [.., n, ..], in; sound float32[LANES, n, C] out."""
        inputs = (np.zeros((LANES, HOPS, *a.shape[2:]), a.dtype) for a in like)
        return self._pipe(DECODE, tuple(inputs))

    def _pipe(self, name: str, inputs: Arrays) -> "Pipe":
        call = self._programs[name]
        outputs, stream = jax.eval_shape(call, self._variables, {}, *inputs)
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), stream)
        return Pipe(call, self._variables, replicate(zeros, self._mesh), inputs, outputs)


def stream_call(task: Any, params: Tree, collections: Tree, x: jax.Array) -> jax.Array:
    """Encodes and decodes the first piece of a stream, pure: x [1, T, C], as networks take it ->
    [LANES, HOPS hop, C]. What is shorter is repeated.
    """
    network = task.tokenizer
    variables = {"params": params[TOKENIZER], **collections[TOKENIZER]}
    piece = jnp.resize(x[0], (HOPS * task.hop, x.shape[-1]))
    pieces = jnp.broadcast_to(piece, (LANES, *piece.shape))
    encoding, _ = network.apply(
        variables, pieces, train=False, step=0, method="encode", mutable=[STREAM]
    )
    indices = encoding.quantized.indices
    method, tokens = ("decode_indices", indices) if indices else ("decode", encoding.quantized.z_q)
    return network.apply(variables, tokens, method=method, mutable=[STREAM])[0]


class Pipe:
    """Pieces of `LANES` signals go in, results come out; made by `StreamPrograms`.

    Args:
        call: (variables, stream, *inputs) -> (outputs, stream).
        variables: of the network.
        stream: as it is before anything came.
        inputs: of one call, [LANES, size, ..].
        outputs: likewise, or their shapes.
    """

    def __init__(
        self, call: Any, variables: Tree, stream: Tree, inputs: Arrays, outputs: Sequence[Any]
    ) -> None:
        self._call, self._variables, self._stream = call, variables, stream
        self.size = inputs[0].shape[1]
        self._waiting = tuple(a[:, :0] for a in inputs)
        self._nothing = tuple(np.zeros((LANES, 0, *o.shape[2:]), o.dtype) for o in outputs)

    @property
    def waiting(self) -> int:
        """Positions that came and are not worked on yet."""
        return self._waiting[0].shape[1]

    def push(self, *arrays: np.ndarray) -> Arrays:
        """Takes [LANES, n, ..], any n; returns what is ready, [LANES, m, ..], or m = 0."""
        together = zip(self._waiting, arrays, strict=True)
        self._waiting = tuple(np.concatenate(pair, axis=1) for pair in together)
        results = [self._nothing]
        while self.waiting >= self.size:
            piece = tuple(a[:, : self.size] for a in self._waiting)
            self._waiting = tuple(a[:, self.size :] for a in self._waiting)
            ready, self._stream = self._call(self._variables, self._stream, *piece)
            results.append(tuple(np.asarray(a) for a in ready))
        return tuple(np.concatenate(parts, axis=1) for parts in zip(*results, strict=True))


def up_to(number: int, unit: int) -> int:
    return -(-number // unit) * unit


def lanes(array: np.ndarray) -> np.ndarray:
    """[n, ..] of at most `LANES` rows -> [LANES, ..]."""
    return np.pad(array, ((0, LANES - len(array)), *((0, 0),) * (array.ndim - 1)))


def edge(array: np.ndarray, count: int) -> np.ndarray:
    """[B, n, ..] -> [B, count, ..], the last frame repeated."""
    after = (0, count - array.shape[1])
    return np.pad(array, ((0, 0), after, *((0, 0),) * (array.ndim - 2)), mode="edge")
