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
from vqjax.evaluation.editing import Editing
from vqjax.evaluation.run import as_trained, held_out, in_parts
from vqjax.ops.numerics import make_key
from vqjax.priors import ClassLabel, Text
from vqjax.sampling import Choice, Guidance
from vqjax.tasks.prior import FROZEN
from vqjax.training.experiment import Experiment
from vqjax.training.record import read_record
from vqjax.training.restore import OpenedRun
from vqjax.types import Level, Tree, UsageError

PLAIN, UNGUIDED = Choice(), Guidance()
BATCH = 64  # examples per call of the program


class PriorRun(Editing):
    """A prior and the tokenizer under it; made by `vqjax.load`. It edits, too: see `Editing`.

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
        prompts: Sequence[str] | None = None,
        choice: Choice = PLAIN,
        guidance: Guidance = UNGUIDED,
    ) -> np.ndarray:
        """Draws examples.

        Args:
            n: how many, at least 0.
            seed: example i is a pure function of (seed, i) and what the prior is told.
            classes: of a prior that is told a class: taken in turn; -1: told nothing; None: all
                classes in turn.
            prompts: of a prior that is told a text: taken in turn; "" or None: told nothing.
            choice: how one token is chosen.
            guidance: away from what needs no condition.

        Returns:
            [n, *S, C] of the run's `dtype`.

        Raises:
            UsageError: the prior takes no classes or has no such one, takes no prompts or not such
                long ones, or cannot be guided.
        """
        if n < 0 or not 0 <= seed < 2**32:
            raise UsageError(f"n={n}, seed={seed}: wanted n >= 0 and 0 <= seed < 2**32")
        given = self._given(n, classes, prompts)
        numbers, key = np.arange(n, dtype=np.int32), make_key(seed)

        def draw(numbers: np.ndarray, *given: np.ndarray) -> jax.Array:
            return self._sample(
                *self._variables, key, numbers, *given, choice=choice, guidance=guidance
            )

        with jax.set_mesh(self._mesh):
            return in_parts(draw, (numbers, *given), BATCH, "samples")

    def _given(
        self, n: int, classes: Sequence[int] | None, prompts: Sequence[str] | None = None
    ) -> tuple[np.ndarray, ...]:
        """What the prior is told of n examples: one array, or nothing."""
        condition = self._task.prior.condition
        kind = type(condition)
        for name, value, wanted in (("class", classes, ClassLabel), ("text", prompts, Text)):
            if value is not None and kind is not wanted:
                raise UsageError(f"this prior is told no {name}")
            if value is not None and not len(value):
                raise UsageError(f"name at least one {name}")
        if condition is None:
            return ()
        if kind is Text:
            if not hasattr(self.experiment.data, "encode"):
                raise UsageError(f"{type(self.experiment.data).__name__} cannot read prompts")
            rows = self.experiment.data.encode(prompts or [""])
            return (np.resize(rows, (n, *rows.shape[1:])),)
        labels = np.asarray(range(condition.classes) if classes is None else classes, np.int32)
        condition.check(labels)
        return (np.resize(labels, n),)

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
