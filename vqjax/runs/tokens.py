"""`TokenRun`: what the runs of priors share that draw token after token, or all at once."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from vqjax.ops.numerics import make_key
from vqjax.runs.base import Opening, Run
from vqjax.runs.conditions import keywords_for, main_classes
from vqjax.runs.editing import UNGUIDED
from vqjax.runs.examples import in_parts
from vqjax.sampling import Guidance, TokenSampling
from vqjax.types import Level, Tree

CALL_BATCH = 64  # examples per call of the program


class TokenRun(Run):
    """Base of the runs of a `TokenTask`."""

    shows = "Samples"
    next_commands = ("vqjax sample RUN --out out", "vqjax report RUN")

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        self._variables = (opening.opened.params, opening.frozen)
        self._sample = jax.jit(self._sample_batch, static_argnames=("sampling", "guidance"))

    def network(self) -> nn.Module:
        """The prior over the levels of its tokens."""
        return self.task.network(self.token_layout())

    @property
    def conditions(self) -> tuple[str, ...]:
        """See `Run.conditions`."""
        return keywords_for(self.task.prior.condition)

    @property
    def classes(self) -> int | None:
        """How many classes it is conditioned on; None: it is not class-conditional."""
        main = main_classes(self.task.prior.condition)
        return None if main is None else main.classes

    def token_layout(self) -> tuple[Level, ...]:
        """Levels of tokens of one example."""
        return self._levels

    @functools.cached_property
    def _levels(self) -> tuple[Level, ...]:
        shapes = {name: tuple(spec.shape) for name, spec in self._opening.opened.inputs.items()}
        return self.task.levels_of(shapes)

    def network_evaluations(self, options: Mapping[str, Any]) -> int:
        """See `Run.network_evaluations`."""
        guided = options.get("guidance", UNGUIDED) != UNGUIDED
        return self.network().evaluations * (2 if guided else 1)

    def _drawn(
        self, n: int, seed: int, cond: Tree | None, sampling: TokenSampling, guidance: Guidance
    ) -> tuple[np.ndarray, np.ndarray]:
        """Examples [n, ...], zero after their end, and how long each of them is, int32[n]: its
        first axis, where they do not end.
        """
        ids, key = np.arange(n, dtype=np.int32), make_key(seed)
        leaves, structure = jax.tree.flatten(cond)

        def draw(ids: np.ndarray, *leaves: np.ndarray) -> Any:
            cond = jax.tree.unflatten(structure, leaves)
            return self._sample(
                *self._variables, key, ids, cond, sampling=sampling, guidance=guidance
            )

        with self._context():
            return in_parts(draw, (ids, *leaves), CALL_BATCH, "samples")

    def _sample_batch(
        self,
        params: Tree,
        frozen: Tree,
        key: jax.Array,
        ids: jax.Array,
        cond: Tree | None = None,
        *,
        sampling: TokenSampling,
        guidance: Guidance,
    ) -> tuple[jax.Array, jax.Array]:
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(ids)
        levels, how = self.token_layout(), {"sampling": sampling, "guidance": guidance}
        drawn = self.task.draw(params, keys, cond, levels, frozen, **how)
        examples, length = self.task.decode_drawn(frozen, drawn)
        return self._finished(examples), length

    def _finished(self, examples: jax.Array) -> jax.Array:
        """What a task decodes as this run's examples are."""
        return examples
