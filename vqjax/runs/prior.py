"""A trained prior from Python, numpy in and numpy out.

run = vqjax.load("runs/mnist_gpt")
images = run.sample(64, classes=[3, 7])
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from vqjax import arguments, config
from vqjax.evaluation.prior import PriorEvaluator
from vqjax.format import shorten
from vqjax.ops.numerics import make_key
from vqjax.priors import ClassLabel, Text
from vqjax.priors.base import EDITS
from vqjax.priors.conditions import NULL
from vqjax.runs.base import Opening, Run, Sizes
from vqjax.runs.editing import PLAIN, UNGUIDED, Editing, check_sampling
from vqjax.runs.examples import as_trained, checked_count, in_parts
from vqjax.runs.footprint import Footprint
from vqjax.sampling import Guidance, TokenSampling
from vqjax.tasks.prior import FROZEN
from vqjax.training.experiment import Experiment
from vqjax.training.record import load_record
from vqjax.types import ArraySpec, Level, Tree, UsageError

CALL_BATCH = 64  # examples per call of the program
MAX_NAME = 60  # characters of a tokenizer's name in a sentence
CONDITIONS = {"caption": "a text", "label": "the class"}  # by array


class PriorRun(Editing, Run):
    """A prior and its tokenizer; made by `vqjax.load`. It edits, too: see `Editing`.

    Attributes: see `Run`.
    """

    kind = "prior"
    headline = ("nats_per_token",)
    shows = "Samples"
    next_commands = ("vqjax sample RUN --out out", "vqjax report RUN")
    evaluator = PriorEvaluator

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        opened = opening.opened
        spec = opened.inputs.get(self.task.inputs)
        if spec is None:  # trained on a token set
            tokenizer = config.find_frozen(opened.experiment)[FROZEN]
            inputs = tokenizer.inputs or load_record(tokenizer.path, opening.trust).inputs
            spec = inputs[self.task.inputs]
        self.dtype: str = "uint8" if spec.dtype == "uint8" else "float32"
        self._variables = (opened.params, opening.frozen)
        self.shape: tuple[int, ...] = self.task.example_shape(self.token_layout())
        self._sample = jax.jit(self._sample_batch, static_argnames=("sampling", "guidance"))

    def network(self) -> nn.Module:
        """The prior over the levels of its tokens."""
        return self.task.network(self.token_layout())

    @classmethod
    def abilities(cls, experiment: Experiment) -> dict[str, str | None]:
        """Also the edits that its network can make: see `Run.abilities`."""
        prior = experiment.task.prior
        declared = [edit for edit in EDITS if edit in getattr(prior, "edits", ())]
        missing = {e.partition(" ")[0] for e in EDITS} - {e.partition(" ")[0] for e in declared}
        reason = f"{type(prior).__name__} can {' or '.join(declared) or 'do no edit'} alone"
        return super().abilities(experiment) | dict.fromkeys(missing, reason)

    @classmethod
    def footprint(cls, experiment: Experiment, inputs: Mapping[str, ArraySpec]) -> Footprint:
        """Also its tokens: see `Run.footprint`.

        Raises:
            UsageError: `inputs` are neither tokens nor examples that become tokens.
        """
        task = experiment.network_task()
        levels = task.levels_of({name: tuple(spec.shape) for name, spec in inputs.items()})
        sizes = super().footprint(experiment, inputs)
        return dataclasses.replace(sizes, levels=levels, shape=task.example_shape(levels))

    @classmethod
    def learned(cls, experiment: Experiment, sizes: Sizes, data: str, short: bool) -> str:
        """See `Run.learned`."""
        task = experiment.task
        key = getattr(getattr(task.prior, "condition", None), "batch_key", None)
        condition = "" if key is None else f", conditioned on {CONDITIONS.get(key, 'other inputs')}"
        tokenizer = shorten(pathlib.PurePath(str(task.tokenizer.path)).name, MAX_NAME)
        tokens = "tokens of"
        if not short and sizes is not None and sizes.levels:
            tokens = f"{sizes.grids} of the tokenizer"
        examples = "examples" if sizes is None else sizes.examples
        return (
            f" that learns to make new {examples} like those in {data}{condition}, by drawing "
            f"{tokens} {tokenizer}"
        )

    @functools.cached_property
    def tokenizer(self) -> Run:
        """Its tokenizer's run, at the sealed step that it was trained on; opened at first use."""
        frozen = config.find_frozen(self.experiment)[FROZEN]
        return self._opening.load(frozen.path, step=frozen.step, trust=self._opening.trust)

    @property
    def conditions(self) -> tuple[str, ...]:
        """See `Run.conditions`."""
        kinds = {ClassLabel: ("classes",), Text: ("prompts",)}
        condition = self.task.prior.condition
        return next((names for kind, names in kinds.items() if isinstance(condition, kind)), ())

    @property
    def classes(self) -> int | None:
        """How many classes it is conditioned on; None: it is not class-conditional."""
        condition = self.task.prior.condition
        return condition.classes if isinstance(condition, ClassLabel) else None

    def token_layout(self) -> tuple[Level, ...]:
        """Levels of tokens of one example."""
        return self._levels

    @functools.cached_property
    def _levels(self) -> tuple[Level, ...]:
        shapes = {name: tuple(spec.shape) for name, spec in self._opening.opened.inputs.items()}
        return self.task.levels_of(shapes)

    def sample(
        self,
        n: int = 64,
        seed: int = 0,
        *,
        classes: Sequence[int] | None = None,
        prompts: Sequence[str] | None = None,
        sampling: TokenSampling = PLAIN,
        guidance: Guidance = UNGUIDED,
    ) -> np.ndarray:
        """Draws examples.

        Args:
            n: how many, at least 0 and no more than memory has room for.
            seed: from 0 to 2**32 - 1; example i is a pure function of (seed, i) and its
                condition.
            classes: of a class-conditional prior: used in turn; -1: unconditional; None: all
                classes in turn.
            prompts: of a text-conditional prior: used in turn; "" or None: unconditional.
            sampling: temperature, top-k and top-p of the tokens.
            guidance: classifier-free guidance.

        Returns:
            [n, *S, C] of the run's `dtype`.

        Raises:
            UsageError: the prior takes no classes or has no such class, takes no prompts or none
                so long, or cannot be guided; or an argument is of the wrong kind.
        """
        self._check_process()
        n, seed = checked_count(n, self.shape, self.dtype), arguments.seed_of(seed)
        check_sampling(sampling, guidance)
        cond = self._condition_arrays(n, classes, prompts)
        ids, key = np.arange(n, dtype=np.int32), make_key(seed)

        def draw(ids: np.ndarray, *cond: np.ndarray) -> jax.Array:
            return self._sample(
                *self._variables, key, ids, *cond, sampling=sampling, guidance=guidance
            )

        with self._context():
            return in_parts(draw, (ids, *cond), CALL_BATCH, "samples")

    def _condition_arrays(
        self, n: int, classes: Sequence[int] | None, prompts: Sequence[str] | None = None
    ) -> tuple[np.ndarray, ...]:
        """The conditions of n examples: one array, or nothing."""
        condition = self.task.prior.condition
        for name, value, kind in (("class", classes, ClassLabel), ("text", prompts, Text)):
            if value is not None and not isinstance(condition, kind):
                raise UsageError(f"this prior is not {name}-conditional")
        if condition is None:
            return ()
        if isinstance(condition, Text):
            rows = self._encode_prompts(prompts)
            return (np.resize(rows, (n, *rows.shape[1:])),)
        labels = range(condition.classes)
        if classes is not None:
            labels = arguments.wholes("classes", classes, NULL, condition.classes - 1, "[3, 7]")
        if not len(labels):
            raise UsageError("classes are empty: name at least one class")
        return (np.resize(np.asarray(labels, np.int32), n),)

    def _encode_prompts(self, prompts: Sequence[str] | None) -> np.ndarray:
        """Prompts as ids, int32[len(prompts), T]."""
        if not hasattr(self.experiment.data, "encode"):
            raise UsageError(f"{type(self.experiment.data).__name__} cannot read prompts")
        texts = [""] if prompts is None else arguments.items("prompts", prompts, '["a red circle"]')
        for i, prompt in enumerate(texts):
            if not isinstance(prompt, str) or not _is_unicode(prompt):
                raise UsageError(f"prompts[{i}]={arguments.got(prompt)}: wanted a text")
        if not texts:
            raise UsageError("prompts are empty: name at least one text")
        return self.experiment.data.encode(texts)

    def _sample_batch(
        self,
        params: Tree,
        frozen: Tree,
        key: jax.Array,
        ids: jax.Array,
        cond: jax.Array | None = None,
        *,
        sampling: TokenSampling,
        guidance: Guidance,
    ) -> Any:
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(ids)
        levels = self.token_layout()
        indices = self.task.sample_tokens(
            params, keys, cond, levels, sampling=sampling, guidance=guidance
        )
        return as_trained(self.task.decode(frozen, indices), self.dtype)


def _is_unicode(text: str) -> bool:
    """Whether it has no half of a surrogate pair."""
    return all(not "\ud800" <= letter <= "\udfff" for letter in text)
