"""A trained prior of texts from Python.

run = vqjax.load("runs/shapes_captions_absorbing")
texts = run.sample(8, seed=1)
"""

from collections.abc import Sequence

from vqjax import arguments
from vqjax.evaluation.stream_samples import as_texts
from vqjax.evaluation.text import TextEvaluator
from vqjax.runs.base import Opening, Sizes
from vqjax.runs.conditions import Others, condition_arrays, in_words
from vqjax.runs.editing import PLAIN, UNGUIDED, check_sampling
from vqjax.runs.examples import checked_count
from vqjax.runs.tokens import TokenRun
from vqjax.sampling import Guidance, TokenSampling
from vqjax.training.experiment import Experiment

IDS = "int32"


class TextRun(TokenRun):
    """A trained prior of texts; made by `vqjax.load`. Examples are str, as its `dtype` says.

    Attributes: see `Run`.
    """

    kind = "text prior"
    headline = ("nats_per_caption", "nats_per_token")
    evaluator = TextEvaluator

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        self.dtype: str = "str"

    @classmethod
    def learned(cls, experiment: Experiment, sizes: Sizes, data: str, short: bool) -> str:
        """See `Run.learned`."""
        task = experiment.task
        ids = f", as {task.length} ids of {task.vocabulary:,}"
        condition = in_words(task.prior.condition)
        return (
            f" that learns to write new captions like those in {data}{condition}"
            f"{'' if short else ids}"
        )

    def sample(
        self,
        n: int = 64,
        seed: int = 0,
        *,
        classes: Sequence[int] | None = None,
        conditions: Others | None = None,
        sampling: TokenSampling = PLAIN,
        guidance: Guidance = UNGUIDED,
    ) -> list[str]:
        """Draws texts; where the run's data does not say what ids mean, the ids in words.

        Args:
            n: how many, at least 0 and no more than memory has room for.
            seed: from 0 to 2**32 - 1; text i is a pure function of (seed, i) and its condition.
            classes: see `PriorRun.sample`; so are conditions.
            sampling: temperature, top-k and top-p of the ids.
            guidance: classifier-free guidance.

        Raises:
            UsageError: the prior takes no classes or has no such class, or cannot be guided; or an
                argument is of the wrong kind.
        """
        self._check_process()
        n, seed = checked_count(n, self.shape, IDS), arguments.seed_of(seed)
        check_sampling(sampling, guidance)
        prior, data = self.task.prior, self.experiment.data
        cond = condition_arrays(prior.condition, data, n, classes, None, conditions)
        ids, _ = self._drawn(n, seed, cond, sampling, guidance)
        return as_texts(data, ids)

    def held_out(self, count: int) -> list[str]:
        """The first `count` texts that training never saw, or all there are: see `Run.held_out`."""
        return as_texts(self.experiment.data, super().held_out(count))
