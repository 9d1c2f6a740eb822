"""What a joint prior draws for examples of each stream, of the eval split: all the others."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh

from vqjax.media.gallery import Gallery
from vqjax.media.stream_gallery import StreamGallery, Texts, row_name
from vqjax.ops.numerics import make_key
from vqjax.priors.joint_drawing import draw_others
from vqjax.sampling import Guidance, TokenSampling
from vqjax.tasks.base import LENGTH, inputs_of
from vqjax.tasks.frozen_tokens import Drawn
from vqjax.tasks.streams import TextStream, arrays_of
from vqjax.training.experiment import Experiment
from vqjax.training.sharding import replicated
from vqjax.types import ArraySpec, Batch, Tree

SAMPLING, GUIDANCE = TokenSampling(temperature=0.7), Guidance(2.0)
CONDITIONS = 8  # of each stream, the first examples of the eval split that have it


class StreamSamples:
    """Keeps the first examples of every stream that an evaluation meets, and draws all the others
    for each of them: texts first, then by name, each given those before it, with `SAMPLING` and
    `GUIDANCE`.

    Args:
        experiment: of the run.
        mesh: where programs run.
        frozen: arrays of the tokenizers.
    """

    def __init__(self, experiment: Experiment, mesh: Mesh, frozen: Tree) -> None:
        self._data, self._frozen = experiment.data, frozen
        self._task = experiment.network_task()
        self._network: nn.Module | None = None
        self._kept: dict[str, list[tuple[Any, ...]]] = {}
        self._first = jax.jit(self._first_of, out_shardings=replicated(mesh))
        self._draw = jax.jit(self._drawn, out_shardings=replicated(mesh))

    def restart(self) -> None:
        """Forgets the examples of an earlier evaluation."""
        self._kept = {name: [] for name in self._task.names}

    def add(self, batch: Batch, ids: Mapping[str, jax.Array], present: jax.Array) -> None:
        """Keeps examples of a global batch, as long as there are too few of any stream.

        Args:
            batch: its arrays.
            ids: {stream: int32[B, T]}.
            present: which streams its rows have, bool[B, n].
        """
        if len(self._kept) < 2 or all(len(k) >= CONDITIONS for k in self._kept.values()):
            return
        self._network = self._task.network_of(batch)
        found, there = jax.device_get(self._first(self._frozen, batch, ids, present))
        for number, (name, arrays) in enumerate(found.items()):
            for row in np.flatnonzero(there[:, number]).tolist():
                if len(self._kept[name]) < CONDITIONS:
                    self._kept[name].append(tuple(array[row] for array in arrays))

    def gallery(self, params: Tree) -> StreamGallery | None:
        """The examples and what is drawn for them; None: there is one stream alone, or there are no
        examples.
        """
        kept = {name: rows for name, rows in self._kept.items() if rows}
        if not kept:
            return None
        count = min(map(len, kept.values()))
        columns = {n: list(zip(*rows[:count], strict=True)) for n, rows in kept.items()}
        ids = {name: np.stack(own) for name, (own, _, _) in columns.items()}
        drawn = jax.device_get(self._draw(params, self._frozen, ids))
        streams = {}
        for name in self._task.names:
            rows: dict[str, Any] = {}
            if name in columns:
                _, examples, lengths = columns[name]
                rows[name] = (np.stack(examples), np.stack(lengths))
            for number, condition in enumerate(ids):
                if condition != name:
                    part = slice(number * count, (number + 1) * count)
                    rows[row_name(name, condition)] = tuple(array[part] for array in drawn[name])
            if rows:
                streams[name] = self._shown(name, rows)
        how = f"temperature {SAMPLING.temperature:g}, guidance {GUIDANCE.scale:g}"
        return StreamGallery(streams, how)

    def _first_of(
        self, frozen: Tree, batch: Batch, ids: Mapping[str, jax.Array], present: jax.Array
    ) -> Any:
        """{stream: (ids, examples, lengths) of the first rows}, and which of them have it."""
        found = {}
        for name in self._task.names:
            stream, own = self._task.streams[name], arrays_of(batch, name)
            first = {k: array[:CONDITIONS] for k, array in own.items()}
            own_ids = ids[name][:CONDITIONS]
            if isinstance(stream, TextStream) or stream.inputs not in first:
                examples, lengths = self._examples(name, frozen, own_ids)
            else:
                examples = inputs_of(first, stream.inputs)  # [B, *S, C]
                whole = jnp.full(len(examples), examples.shape[1], jnp.int32)
                lengths = first[LENGTH] if stream.ends else whole
            found[name] = (own_ids, examples, lengths)
        return found, present[:CONDITIONS]

    def _drawn(self, params: Tree, frozen: Tree, ids: Mapping[str, jax.Array]) -> Any:
        """{stream: (examples, lengths) for each condition, one after the other}."""
        streams, rows = self._task.streams, jnp.arange(sum(map(len, ids.values())))
        keys = jax.vmap(lambda i: jax.random.fold_in(make_key(0), i))(rows)
        targets = sorted(
            streams, key=lambda name: (not isinstance(streams[name], TextStream), name)
        )
        how = {"sampling": SAMPLING, "guidance": GUIDANCE}
        drawn = draw_others(self._network, params, keys, tuple(targets), ids, **how)
        return {name: self._examples(name, frozen, own) for name, own in drawn.items()}

    def _examples(self, name: str, frozen: Tree, ids: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What ids int32[n, T] of a stream mean, and its lengths int32[n]: examples [n, *S, C] in
        about [-1, 1]; of a text the ids, 0 after its end.
        """
        stream, order = self._task.streams[name], self._network.order(name)
        frames = order.frames_of(ids) if order.ends else None
        if isinstance(stream, TextStream):
            return jnp.where(ids == order.ended, 0, ids), frames
        drawn = Drawn(order.unflatten(ids), frames)
        return stream.decoded(frozen[self._task.frozen_path(name)], drawn)

    def _shown(self, name: str, rows: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Any:
        """The gallery of one stream's rows of examples and lengths."""
        stream = self._task.streams[name]
        if isinstance(stream, TextStream):
            return Texts({row: self._texts(name, ids) for row, (ids, _) in rows.items()})
        specs = arrays_of(self._data.example_spec(), name)
        spec: ArraySpec | None = {**(stream.tokenizer.inputs or {}), **specs}.get(stream.inputs)
        cut = {
            row: [x[: max(1, n)] for x, n in zip(x_hat, lengths.tolist(), strict=True)]
            if stream.ends
            else x_hat
            for row, (x_hat, lengths) in rows.items()
        }
        return Gallery(cut) if spec is None else Gallery(cut, spec.shown_as, spec.rate)

    def _texts(self, name: str, ids: np.ndarray) -> list[str]:
        """The texts of a stream's ids int32[n, T]; see `as_texts`."""
        source = self._data.texts_of(name) if hasattr(self._data, "texts_of") else self._data
        return as_texts(source, ids)


def as_texts(source: Any, ids: np.ndarray) -> list[str]:
    """The texts of ids int32[n, T], 0 after their end; the ids, where the source does not say what
    they mean.
    """
    if hasattr(source, "decode"):
        return list(source.decode(ids))
    return [" ".join(map(str, row[row != 0].tolist())) for row in ids]
