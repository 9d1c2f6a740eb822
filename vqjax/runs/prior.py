"""A trained prior from Python, numpy in and numpy out.

run = vqjax.load("runs/mnist_gpt")
images = run.sample(64, classes=[3, 7])
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from vqjax import arguments, config
from vqjax.ops.numerics import make_key
from vqjax.priors import ClassLabel, Text
from vqjax.priors.conditions import NULL
from vqjax.runs.base import TrainedRun, as_trained, checked_count, in_parts
from vqjax.runs.editing import PLAIN, UNGUIDED, Editing, check_drawing
from vqjax.runs.tokenizer import Run
from vqjax.sampling import Choice, Guidance
from vqjax.tasks.prior import FROZEN, PRIOR
from vqjax.training.record import read_record
from vqjax.training.restore import OpenedRun
from vqjax.types import Level, Tree, UsageError

BATCH = 64  # examples per call of the program


class PriorRun(Editing, TrainedRun):
    """A prior and the tokenizer under it; made by `vqjax.load`. It edits, too: see `Editing`.

    Attributes (see `TrainedRun` for the others):
        shape: of one example, (*S, C).
        dtype: "uint8", or "float32" for values in [-1, 1].
    """

    def __init__(
        self,
        opened: OpenedRun,
        mesh: Mesh,
        frozen: Tree,
        trust: Sequence[str] = (),
        open_below: Callable[..., Run] | None = None,
    ) -> None:
        task = opened.experiment.network_task()
        spec = opened.inputs.get(task.inputs)  # absent where it learned from a token set
        self._levels = task.levels_of({k: tuple(v.shape) for k, v in opened.inputs.items()})
        super().__init__(opened, mesh, task.network(self._levels), PRIOR)
        self._trust, self._open_below = tuple(trust), open_below
        if spec is None:
            below = config.find_frozen(opened.experiment)[FROZEN]
            spec = read_record(below.path, trust).inputs[task.inputs]
        self.dtype: str = "uint8" if spec.dtype == "uint8" else "float32"
        self._task = task
        self._variables = (opened.params, frozen)
        self.shape: tuple[int, ...] = task.example_shape(self._levels)
        self._sample = jax.jit(self._sample_batch, static_argnames=("choice", "guidance"))

    @functools.cached_property
    def tokenizer(self) -> Run:
        """The run under it, at the sealed step that it learned from; opened at the first use."""
        below = config.find_frozen(self.experiment)[FROZEN]
        return self._open_below(below.path, step=below.step, trust=self._trust)

    def token_layout(self) -> tuple[Level, ...]:
        """Levels of tokens of one example."""
        return self._levels

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
            n: how many, at least 0 and no more than memory has room for.
            seed: from 0 to 2**32 - 1; example i is a pure function of (seed, i) and what the prior
                is told.
            classes: of a prior that is told a class: taken in turn; -1: told nothing; None: all
                classes in turn.
            prompts: of a prior that is told a text: taken in turn; "" or None: told nothing.
            choice: how one token is chosen.
            guidance: away from what needs no condition.

        Returns:
            [n, *S, C] of the run's `dtype`.

        Raises:
            UsageError: the prior takes no classes or has no such one, takes no prompts or not such
                long ones, or cannot be guided; or an argument is not of its kind.
        """
        self._check_process()
        n, seed = checked_count(n, self.shape, self.dtype), arguments.seed_of(seed)
        check_drawing(choice, guidance)
        given = self._given(n, classes, prompts)
        numbers, key = np.arange(n, dtype=np.int32), make_key(seed)

        def draw(numbers: np.ndarray, *given: np.ndarray) -> jax.Array:
            return self._sample(
                *self._variables, key, numbers, *given, choice=choice, guidance=guidance
            )

        with self._at_home():
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
        if condition is None:
            return ()
        if kind is Text:
            rows = self._read(prompts)
            return (np.resize(rows, (n, *rows.shape[1:])),)
        labels = range(condition.classes)
        if classes is not None:
            labels = arguments.wholes("classes", classes, NULL, condition.classes - 1, "[3, 7]")
        if not len(labels):
            raise UsageError("classes are empty: name at least one class")
        return (np.resize(np.asarray(labels, np.int32), n),)

    def _read(self, prompts: Sequence[str] | None) -> np.ndarray:
        """Prompts as ids, int32[len(prompts), T]."""
        if not hasattr(self.experiment.data, "encode"):
            raise UsageError(f"{type(self.experiment.data).__name__} cannot read prompts")
        found = [""] if prompts is None else arguments.items("prompts", prompts, '["a red circle"]')
        for place, prompt in enumerate(found):
            if not isinstance(prompt, str) or not _is_unicode(prompt):
                raise UsageError(f"prompts[{place}]={arguments.got(prompt)}: wanted a text")
        if not found:
            raise UsageError("prompts are empty: name at least one text")
        return self.experiment.data.encode(found)

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


def _is_unicode(text: str) -> bool:
    """Whether it has no half of a surrogate pair."""
    return all(not "\ud800" <= letter <= "\udfff" for letter in text)
