"""What every evaluator returns, its pass over the eval split, and how states are merged."""

import dataclasses
import math
from collections.abc import Iterator, Mapping

import jax
import numpy as np
from jax.sharding import Mesh

from vqjax.media.gallery import Gallery
from vqjax.media.stream_gallery import StreamGallery
from vqjax.metrics import State
from vqjax.numbers import Number
from vqjax.training.bounds import within_bounds
from vqjax.training.experiment import Experiment
from vqjax.training.sharding import local_rows
from vqjax.types import BATCH_AXES, Batch, DataError


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        numbers: by name.
        gallery: examples to look at, or None.
        protocol: lines on how numbers were measured, where their names do not say it.
        described: descriptions, by name, of numbers that `vqjax.numbers` does not list.
    """

    numbers: dict[str, float]
    gallery: Gallery | StreamGallery | None = None
    protocol: tuple[str, ...] = ()
    described: Mapping[str, Number] = dataclasses.field(default_factory=dict)

    @property
    def pictures(self) -> np.ndarray | None:
        """The gallery as one image uint8 [H, W, 3]; until version 0.3."""
        return None if self.gallery is None else self.gallery.sheet().image


def eval_batch_size(experiment: Experiment, mesh: Mesh) -> int:
    """Examples of one batch of an evaluation, over all hosts: the experiment's, rounded up to a
    multiple of the devices. No number may depend on it.
    """
    unit = math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    return -(-(experiment.eval_batch_size or experiment.batch_size) // unit) * unit


def over_split(experiment: Experiment, mesh: Mesh) -> Iterator[tuple[np.ndarray, Batch]]:
    """This host's rows of every batch of the eval split, with their positions in the split.

    Yields:
        (positions, batch): int32[b]; arrays of b rows, which are padding where "mask" is False.

    Raises:
        DataError: a batch holds numbers that the task does not accept.
    """
    size = eval_batch_size(experiment, mesh)
    rows = local_rows(size, mesh)
    batches = experiment.data.eval(size, rows)
    for number, batch in enumerate(
        within_bounds(experiment.task, experiment.data, "eval", batches)
    ):
        yield np.asarray(number * size + rows, np.int32), batch


def check_not_empty(count: int, experiment: Experiment) -> None:
    """Refuses, with DataError, an empty eval split."""
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
