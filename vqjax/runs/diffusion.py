"""A trained denoiser from Python, numpy in and numpy out.

run = vqjax.load("runs/mnist_dit")
images = run.sample(64, classes=[3, 7], guidance=Guidance(2.0))
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import linen as nn

from vqjax.evaluation.denoising import DenoisingEvaluator
from vqjax.runs.base import Opening, Run, Sizes
from vqjax.runs.conditions import Others, in_words, keywords_for, main_classes, tokenizer_name
from vqjax.runs.denoiser_editing import DenoiserEditing
from vqjax.runs.denoising import ALWAYS, Plan, interval_of
from vqjax.runs.editing import UNGUIDED
from vqjax.runs.examples import checked_count
from vqjax.runs.source_conditions import SourceConditions
from vqjax.runs.stream_examples import in_turn
from vqjax.sampling import Guidance
from vqjax.sampling.solvers import Solver
from vqjax.tasks.diffusion import DENOISING
from vqjax.training.experiment import Experiment


class DiffusionRun(DenoiserEditing, SourceConditions, Run):
    """A denoiser, and the tokenizer over whose latents it works, if any; made by `vqjax.load`.

    Attributes: see `Run`.
    """

    kind = "denoiser"
    headline = (DENOISING,)
    shows = "Samples"
    next_commands = ("vqjax sample RUN --out out", "vqjax report RUN")
    evaluator = DenoisingEvaluator

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        opened = opening.opened
        spec = opened.inputs[self.task.inputs]
        self.dtype = spec.dtype if spec.dtype in ("uint8", "int16") else "float32"
        self.rate: int = round(spec.rate or 0)  # of sound, in Hz
        self._make_programs(opening)

    def network(self) -> nn.Module:
        """The denoiser."""
        return self.task.network

    @classmethod
    def learned(cls, experiment: Experiment, sizes: Sizes, data: str, short: bool) -> str:
        """See `Run.learned`."""
        task, examples = experiment.task, "examples" if sizes is None else sizes.examples
        condition = in_words(task.denoiser.condition)
        what = "noise"
        if not short and task.tokenizer is not None:
            what = f"noise, as latents of the tokenizer {tokenizer_name(task.tokenizer.path)}"
        return f" that learns to make new {examples} like those in {data}{condition}, out of {what}"

    @property
    def conditions(self) -> tuple[str, ...]:
        """See `Run.conditions`."""
        return keywords_for(self.task.denoiser.condition)

    @property
    def classes(self) -> int | None:
        """How many classes it is conditioned on; None: it is not class-conditional."""
        main = main_classes(self.task.denoiser.condition)
        return None if main is None else main.classes

    def sample(
        self,
        n: int = 64,
        seed: int = 0,
        *,
        classes: Sequence[int] | None = None,
        prompts: Sequence[str] | None = None,
        conditions: Others | None = None,
        solver: Solver | None = None,
        guidance: Guidance = UNGUIDED,
        guidance_interval: Sequence[float] = ALWAYS,
        source: Any = None,
    ) -> np.ndarray:
        """Draws examples; sound at the level of its tokenizer's training, as long as the window.

        Args:
            n: how many, at least 0 and no more than memory has room for.
            seed: from 0 to 2**32 - 1; example i is a pure function of (seed, i) and its
                condition.
            classes: of a class-conditional denoiser: used in turn; -1: unconditional; None: all
                classes in turn.
            prompts: of a text-conditional one: used in turn; "" or None: unconditional.
            conditions: see `PriorRun.sample`.
            solver: `Heun(25)`, `Euler`, `Ancestral` or `DPMSolver` of `vqjax.sampling`; None: that
                of the task.
            guidance: classifier-free guidance.
            guidance_interval: times between which it acts, from 0, the data, to 1, the noise; a
                step counts by its beginning.
            source: of one conditioned on the tokens of something else: examples of that, such as
                clips of sound [T], used in turn; None: unconditional.

        Returns:
            [n, *S, C] of the run's `dtype`.

        Raises:
            UsageError: the denoiser takes no classes or has no such class, takes no prompts or none
                so long, cannot be guided, or the solver cannot follow its path; or an argument is
                of the wrong kind.
        """
        self._check_process()
        n = checked_count(n, self.shape, self.dtype)
        how = self._how(seed, solver, guidance, guidance_interval)
        if source is not None:
            cond = in_turn(self.source_tokens(source), n)
        elif self.task.source is not None:
            cond = np.asarray(self.task.denoiser.condition.null(n))
        else:
            cond = self._cond(n, (classes, prompts, conditions))
        return self._drawn(Plan(n, how[0], cond, *how[1:]))

    def network_evaluations(self, options: Mapping[str, Any]) -> int:
        """See `Run.network_evaluations`."""
        solver = self._solver(options.get("solver"))
        low, high = interval_of(options.get("guidance_interval", ALWAYS))
        now = solver.moments().now
        calls = np.where(np.arange(solver.steps) + 1 < solver.steps, solver.calls, 1)
        guided = (low < now) & (now <= high)
        if options.get("guidance", UNGUIDED) == UNGUIDED:
            guided[:] = False
        return int((calls * np.where(guided, 2, 1)).sum())
