"""A trained prior from Python, numpy in and numpy out.

run = vqjax.load("runs/mnist_gpt")
images = run.sample(64, classes=[3, 7])
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from vqjax import arguments, config
from vqjax.evaluation.prior import PriorEvaluator
from vqjax.priors.base import EDITS
from vqjax.runs.base import Opening, Run, Sizes
from vqjax.runs.conditions import (
    Others,
    condition_arrays,
    in_words,
    tokenizer_name,
)
from vqjax.runs.editing import PLAIN, UNGUIDED, Editing, check_sampling
from vqjax.runs.examples import as_trained, checked_count
from vqjax.runs.footprint import Footprint, values_of
from vqjax.runs.tokens import TokenRun
from vqjax.sampling import Guidance, TokenSampling
from vqjax.tasks.prior import FROZEN
from vqjax.training.experiment import Experiment
from vqjax.training.record import load_record
from vqjax.types import ArraySpec, UsageError


class Sampled(NamedTuple):
    """What `sample(..., return_length=True)` returns.

    Attributes:
        examples: int16[n, T, C], zero after the end of each.
        length: samples of each, int32[n].
    """

    examples: np.ndarray
    length: np.ndarray


class PriorRun(Editing, TokenRun):
    """A prior and its tokenizer; made by `vqjax.load`. It edits, too: see `Editing`.

    Attributes: see `Run`.
    """

    kind = "prior"
    headline = ("nats_per_token",)
    evaluator = PriorEvaluator

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        opened = opening.opened
        spec = opened.inputs.get(self.task.inputs)
        if spec is None:  # trained on a token set
            tokenizer = config.find_frozen(opened.experiment)[FROZEN]
            inputs = tokenizer.inputs or load_record(tokenizer.path, opening.trust).inputs
            spec = inputs[self.task.inputs]
        self.dtype: str = spec.dtype if spec.dtype in ("uint8", "int16") else "float32"
        self.rate: int = round(spec.rate or 0)  # of sound, in Hz
        self.shape: tuple[int, ...] = self.task.example_shape(self.token_layout())

    @classmethod
    def abilities(cls, experiment: Experiment) -> dict[str, str | None]:
        """Also the edits that its network can make: see `Run.abilities`."""
        prior, tokenizer = experiment.task.prior, experiment.task.tokenizer.experiment
        if tokenizer is not None and hasattr(tokenizer.task, "samples_of"):
            edits = {edit.partition(" ")[0] for edit in EDITS}
            return super().abilities(experiment) | dict.fromkeys(edits, "edits are of pictures")
        declared = [edit for edit in EDITS if edit in getattr(prior, "edits", ())]
        missing = {e.partition(" ")[0] for e in EDITS} - {e.partition(" ")[0] for e in declared}
        can = f"can {' or '.join(declared)} alone" if declared else "makes no edits"
        reason = f"{type(prior).__name__} {can}"
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
        known = {**(task.tokenizer.inputs or {}), **inputs}  # where the run learns from tokens
        values = values_of(known.get(task.inputs))
        return dataclasses.replace(sizes, levels=levels, shape=task.example_shape(levels), **values)

    @classmethod
    def learned(cls, experiment: Experiment, sizes: Sizes, data: str, short: bool) -> str:
        """See `Run.learned`."""
        task = experiment.task
        condition = in_words(getattr(task.prior, "condition", None))
        tokenizer = tokenizer_name(task.tokenizer.path)
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

    def sample(
        self,
        n: int = 64,
        seed: int = 0,
        *,
        classes: Sequence[int] | None = None,
        prompts: Sequence[str] | None = None,
        conditions: Others | None = None,
        sampling: TokenSampling = PLAIN,
        guidance: Guidance = UNGUIDED,
        return_length: bool = False,
    ) -> np.ndarray | Sampled:
        """Draws examples; sound at the level of its tokenizer's training.

        Args:
            n: how many, at least 0 and no more than memory has room for.
            seed: from 0 to 2**32 - 1; example i is a pure function of (seed, i) and its
                condition.
            classes: of a class-conditional prior: used in turn; -1: unconditional; None: all
                classes in turn.
            prompts: of a text-conditional prior: used in turn; "" or None: unconditional.
            conditions: of a prior under several conditions: {array: classes, by number or name},
                such as {"speaker": ["jackson", 2]}, used in turn; -1: unconditional. Of one that is
                not named all classes come in turn, those of `classes` first.
            sampling: temperature, top-k and top-p of the tokens.
            guidance: classifier-free guidance.
            return_length: whether to return the samples of each sound, too.

        Returns:
            [n, *S, C] of the run's `dtype`, of sound int16 that is zero after its end. With
            `return_length` a pair of these and int32[n], `Sampled`.

        Raises:
            UsageError: the prior takes no classes or has no such class, takes no prompts or none
                so long, or cannot be guided; or an argument is of the wrong kind.
        """
        self._check_process()
        n, seed = checked_count(n, self.shape, self.dtype), arguments.seed_of(seed)
        check_sampling(sampling, guidance)
        prior, data = self.task.prior, self.experiment.data
        cond = condition_arrays(prior.condition, data, n, classes, prompts, conditions)
        arguments.instance("return_length", return_length, bool, "True")
        if return_length and self.dtype != "int16":
            raise UsageError("return_length=True is for sound")
        examples, length = self._drawn(n, seed, cond, sampling, guidance)
        return Sampled(examples, length) if return_length else examples

    def _finished(self, examples: jax.Array) -> jax.Array:
        return as_trained(examples, self.dtype)
