"""A trained prior from Python, numpy in and numpy out.

run = vqjax.load("runs/mnist_gpt")
images = run.sample(64, classes=[3, 7])
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from vqjax import config
from vqjax.evaluation.run import as_trained, held_out, in_parts
from vqjax.sampling import Choice, Guidance
from vqjax.tasks.prior import FROZEN
from vqjax.training.experiment import Experiment
from vqjax.training.record import read_record
from vqjax.training.restore import OpenedRun
from vqjax.types import Level, Tree, UsageError

PLAIN, UNGUIDED = Choice(), Guidance()
BATCH = 64  # examples per call of the program


class PriorRun:
    """A prior and the tokenizer under it; made by `vqjax.load`.

    Attributes:
        path: the run directory.
        experiment: what was trained.
        step: finished updates of the parameters in use.
        params_kind: "ema" or "raw".
        shape: of one example, (*S, C).
        dtype: "uint8", or "float32" for values in [-1, 1].
        lines: what opening the run had to say.
    """

    def __init__(
        self, opened: OpenedRun, mesh: Mesh, frozen: Tree, trust: Sequence[str] = ()
    ) -> None:
        task = opened.experiment.network_task()
        spec = opened.inputs.get(task.inputs)  # absent where it learned from a token set
        self._levels = task.levels_of({k: tuple(v.shape) for k, v in opened.inputs.items()})
        self.path: str = str(opened.path)
        self.experiment: Experiment = opened.experiment
        self.step: int = opened.step
        self.params_kind: str = opened.params_kind
        self.lines: list[str] = list(opened.lines)
        if spec is None:
            below = config.find_frozen(opened.experiment)[FROZEN]
            spec = read_record(below.path, trust).inputs[task.inputs]
        self.dtype: str = "uint8" if spec.dtype == "uint8" else "float32"
        self._task, self._mesh = task, mesh
        self._variables = (opened.params, frozen)
        self.shape: tuple[int, ...] = task.example_shape(self._levels)
        self._sample = jax.jit(self._sample_batch, static_argnames=("choice", "guidance"))

    def token_layout(self) -> tuple[Level, ...]:
        """Levels of tokens of one example."""
        return self._levels

    def held_out(self, count: int) -> np.ndarray:
        """The first `count` examples that training never saw, or all there are: [n, *S, C].

        Raises:
            DataError: the data is not at hand.
        """
        return held_out(self.experiment, count)

    def sample(
        self,
        n: int = 64,
        seed: int = 0,
        *,
        classes: Sequence[int] | None = None,
        choice: Choice = PLAIN,
        guidance: Guidance = UNGUIDED,
    ) -> np.ndarray:
        """Draws examples.

        Args:
            n: how many, at least 0.
            seed: example i is a pure function of (seed, i) and its class.
            classes: of a prior that is told a class: taken in turn; -1: told nothing; None: all
                classes in turn.
            choice: how one token is chosen.
            guidance: away from what needs no condition.

        Returns:
            [n, *S, C] of the run's `dtype`.

        Raises:
            UsageError: the prior takes no classes or has no such one, or cannot be guided.
        """
        if n < 0 or not 0 <= seed < 2**32:
            raise UsageError(f"n={n}, seed={seed}: wanted n >= 0 and 0 <= seed < 2**32")
        given = self._given(n, classes)
        numbers, key = np.arange(n, dtype=np.int32), jax.random.key(seed)

        def draw(numbers: np.ndarray, *given: np.ndarray) -> jax.Array:
            return self._sample(
                *self._variables, key, numbers, *given, choice=choice, guidance=guidance
            )

        with jax.set_mesh(self._mesh):
            return in_parts(draw, (numbers, *given), BATCH, "samples")

    def _given(self, n: int, classes: Sequence[int] | None) -> tuple[np.ndarray, ...]:
        condition = self._task.prior.condition
        if condition is None:
            if classes is not None:
                raise UsageError("this prior is told no class")
            return ()
        wanted = list(range(condition.classes)) if classes is None else list(classes)
        for label in wanted:
            if not -1 <= label < condition.classes:
                raise UsageError(
                    f"class {label}: wanted 0 to {condition.classes - 1}, or -1 for none"
                )
        if not wanted:
            raise UsageError("classes: name at least one")
        return (np.resize(np.asarray(wanted, np.int32), n),)

    def _sample_batch(
        self,
        params: Tree,
        frozen: Tree,
        key: jax.Array,
        numbers: jax.Array,
        given: jax.Array | None = None,
        *,
        choice: Choice,
        guidance: Guidance,
    ) -> Any:
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(numbers)
        levels = self.token_layout()
        indices = self._task.sample_tokens(
            params, keys, given, levels, choice=choice, guidance=guidance
        )
        return as_trained(self._task.decode(frozen, indices), self.dtype)
