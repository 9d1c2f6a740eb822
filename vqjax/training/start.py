"""The arguments of `Task.start` before step 0: each example once, and a listener to progress."""

import math
import time
from collections.abc import Iterator

import numpy as np
from jax.sharding import Mesh

from vqjax.ops.progress import Listener
from vqjax.training import distributed
from vqjax.training.bounds import within_bounds
from vqjax.training.experiment import Experiment
from vqjax.training.logbook import Logbook
from vqjax.training.sharding import local_rows, put_batch
from vqjax.training.signals import StopSignal, stopped
from vqjax.types import Batch

SECONDS = 5.0  # between lines


def once_through(experiment: Experiment, mesh: Mesh) -> Iterator[Batch]:
    """The first batches of training, until each example has come; endless where the data does not
    know how many there are.

    Where the last batch ends with examples that came before, it has a `mask: bool[B]` that is False
    on these.
    """
    size, rows = experiment.batch_size, local_rows(experiment.batch_size, mesh)
    data = experiment.data
    count = data.num_train() if hasattr(data, "num_train") else math.inf
    batches = within_bounds(
        experiment.task, data, "train", data.train(size, experiment.seed, 0, rows)
    )
    for step, batch in enumerate(batches):
        if step * size >= count:
            return
        if (step + 1) * size > count:
            batch = {**batch, "mask": np.asarray(step * size + rows < count)}
        yield put_batch(batch, mesh)


def listener(logbook: Logbook, signal: StopSignal) -> Listener:
    """Writes the progress of long work to the logbook, now and then.

    In a single process a signal ends the work, by `Stopped`. Of several none may end alone: the
    others would wait for it.
    """
    last = time.perf_counter()

    def report(what: str, done: int, total: int) -> None:
        nonlocal last
        if signal.received is not None and not distributed.several():
            raise stopped(signal.received, None)
        if time.perf_counter() - last >= SECONDS:
            last = time.perf_counter()
            logbook.say(f"before step 0: {what}, {done:,} of {total:,}")

    return report
