"""What every evaluator gives, its way through the eval split, and how parts are put together."""

import dataclasses
import math
from collections.abc import Iterator, Mapping

import jax
import numpy as np
from jax.sharding import Mesh

from vqjax.media.gallery import Gallery
from vqjax.metrics import State
from vqjax.numbers import Number
from vqjax.training.bounds import within_bounds
from vqjax.training.experiment import Experiment
from vqjax.training.sharding import local_rows
from vqjax.types import BATCH_AXES, Batch, DataError


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        numbers: by name.
        gallery: examples to look at, or None.
        protocol: lines that say how to get numbers again that do not say it by themselves.
        described: what those of the numbers are that stand nowhere in `vqjax.numbers`, by name.
    """

    numbers: dict[str, float]
    gallery: Gallery | None = None
    protocol: tuple[str, ...] = ()
    described: Mapping[str, Number] = dataclasses.field(default_factory=dict)

    @property
    def pictures(self) -> np.ndarray | None:
        """The gallery as one picture uint8 [H, W, 3]; until version 0.3."""
        return None if self.gallery is None else self.gallery.sheet().image


def over_split(experiment: Experiment, mesh: Mesh) -> Iterator[tuple[np.ndarray, Batch]]:
    """This host's rows of every batch of the eval split, each with their positions in the split.

    The batch size is the experiment's, rounded up to what the devices can share: no number may
    depend on it.

    Yields:
        (positions, batch): int32[b]; arrays of b rows, of which those where "mask" is False are
        padding.

    Raises:
        DataError: a batch holds numbers that the task cannot take.
    """
    unit = math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    size = -(-(experiment.eval_batch_size or experiment.batch_size) // unit) * unit
    rows = local_rows(size, mesh)
    batches = experiment.data.eval(size, rows)
    for number, batch in enumerate(
        within_bounds(experiment.task, experiment.data, "eval", batches)
    ):
        yield np.asarray(number * size + rows, np.int32), batch


def check_not_empty(count: int, experiment: Experiment) -> None:
    """Refuses, with DataError, an eval split of no examples."""
    if not count:
        raise DataError(f"the eval split of {type(experiment.data).__name__} is empty")


def merged(states: dict[str, State], new: dict[str, State]) -> dict[str, State]:
    """Adds one batch's states, on the host; `states` is empty before the first."""
    new = jax.device_get(new)
    return {
        name: states[name].merge(state)
        if name in states
        else state.merge(jax.tree.map(np.zeros_like, state))
        for name, state in new.items()
    } or states
