"""What a denoiser is conditioned on: examples of another medium, by the tokens of their own run."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from vqjax import config
from vqjax.runs.stream_examples import TokenExamples
from vqjax.tasks.diffusion import SOURCE
from vqjax.tasks.streams import arrays_of
from vqjax.types import UsageError


class SourceConditions:
    """Base of `DiffusionRun`: what `sample(source=...)` needs where `task.source` is there."""

    @property
    def media(self) -> dict[str, str]:
        """{name of the source: its medium}; {} where there is none."""
        return {} if self.task.source is None else {self.task.stream: self._source.medium}

    def rate_of(self, name: str) -> int:
        """Samples per second of the source's sound."""
        del name
        return round(self._source.spec.rate or 0)

    def shape_of(self, name: str) -> tuple[int, ...]:
        """(*S, C) of an example of the source."""
        del name
        return tuple(self._source.spec.shape)

    def source_tokens(self, source: Any) -> np.ndarray:
        """What the condition takes of examples of the source, int32[m, T, Q]; see `sample`.

        Raises:
            UsageError: other shapes, dtypes or ranges than its tokenizer takes; or the run is
                conditioned on no tokens.
        """
        if self.task.source is None:
            raise UsageError(f"source: wanted none: {self.path} is conditioned on no tokens")
        examples = self._source
        order, ids = examples.order, jnp.asarray(examples.ids(source))
        levels = order.unflatten(ids)
        tokens = np.stack([np.asarray(levels[v.name]) for v in order.levels], axis=-1)
        if not order.ends:
            return tokens
        frames = np.asarray(order.frames_of(ids))
        there = np.arange(tokens.shape[1])[None] < frames[:, None]
        return np.where(there[..., None], tokens, -1).astype(np.int32)

    @functools.cached_property
    def _source(self) -> TokenExamples:
        """Examples of what it is conditioned on, opened at first use."""
        task, opening = self.task, self._opening
        inputs = arrays_of(opening.opened.inputs, task.stream)
        order = task.source.order({name: tuple(spec.shape) for name, spec in inputs.items()})
        frozen = config.find_frozen(self.experiment)[SOURCE]
        run = opening.load(frozen.path, step=frozen.step, trust=opening.trust)
        spec = inputs[task.source.inputs]
        return TokenExamples(task.stream, task.source, order, run, opening.frozen[SOURCE], spec)
