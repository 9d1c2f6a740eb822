"""The loop over steps: batches, lines of metrics, evaluations, saves, and all ways to end."""

import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import jax
from jax.sharding import Mesh

from vqjax.media.gallery import Gallery
from vqjax.media.stream_gallery import StreamGallery
from vqjax.numbers import Number
from vqjax.training import distributed
from vqjax.training.checkpoint import Checkpoints
from vqjax.training.experiment import Experiment
from vqjax.training.feed import Feed
from vqjax.training.logbook import Logbook
from vqjax.training.restore import usable
from vqjax.training.sharding import put_batch
from vqjax.training.signals import StopSignal, stopped
from vqjax.training.state import TrainState
from vqjax.training.step import active_at
from vqjax.training.turn import Turn
from vqjax.types import NonFiniteError, Tree

RUN_AHEAD = 8  # steps dispatched to the device before the oldest of them is waited for


class EvalResult(Protocol):
    """What an evaluator returns."""

    numbers: Mapping[str, float]
    gallery: Gallery | StreamGallery | None
    described: Mapping[str, Number]  # of those that `vqjax.numbers` does not list


Evaluator = Callable[[Tree, Tree], EvalResult]  # (params, collections) -> numbers and a gallery


@dataclasses.dataclass
class LoopContext:
    """What the functions of the loop share."""

    experiment: Experiment
    mesh: Mesh
    frozen: Tree
    programs: Mapping[tuple[str, ...], Any]
    turn: Turn
    checkpoints: Checkpoints
    logbook: Logbook
    evaluate: Evaluator | None
    pending: collections.deque = dataclasses.field(default_factory=collections.deque)
    stop_requested: bool = False  # by this process, of all


def train_steps(
    run: LoopContext, state: TrainState, step: int, signal: StopSignal, started: float, feed: Feed
) -> int:
    """Trains from `step` to the end; returns the last step.

    Raises:
        Stopped: a signal came; the state is sealed.
        NonFiniteError: too many steps in a row without finite gradients; the state is sealed.
        DataError: a save failed, or the run directory was lost. Errors of the data are raised as
            they are, after the state of the last whole step is sealed.
        LockLostError: another process has taken the run over.
    """
    # All transfers between host and device are explicit.
    with jax.transfer_guard("disallow"):
        step = _run_steps(run, state, step, signal, started, feed)
    feed.close()
    run.checkpoints.wait()
    distributed.from_first(run.turn.check)
    run.logbook.say(f"done: {step} steps; run: {run.logbook.run}")
    return step


def _run_steps(
    run: LoopContext, state: TrainState, step: int, signal: StopSignal, started: float, feed: Feed
) -> int:
    experiment, logbook = run.experiment, run.logbook
    clock = _Clock(step, experiment.batch_size)
    if step and (step % experiment.eval_period == 0 or step == experiment.total_steps):
        _evaluate_late(run, state, step)
    while step < experiment.total_steps and not signal.stops_at(step):
        _check_background(run)
        if not feed.has_next(signal.ends_alone):
            break
        with _save_on_error(run, state, step, clock, feed):
            batch = put_batch(next(feed), run.mesh)
        active = active_at(experiment, step)
        state, metrics = run.programs[active](state, run.frozen, batch)
        step += 1
        run.pending.append((step, metrics))
        if clock.first:
            jax.block_until_ready(metrics)
            seconds = time.perf_counter() - started
            logbook.timing(step, {"first_step_seconds": round(seconds, 3)})
            logbook.say(f"first step after {seconds:.1f} s")
            logbook.progress(step, {})
            clock.restart(step, feed.waited)
        _drain(run, state, clock, feed, keep=RUN_AHEAD)
        if step % experiment.eval_period == 0 or step == experiment.total_steps:
            _drain(run, state, clock, feed, keep=0)
            with _save_on_error(run, state, step, clock, feed):
                _evaluate(run, state, step)
            clock.restart(step, feed.waited)
        if step % experiment.save_period == 0 or step == experiment.total_steps:
            _drain(run, state, clock, feed, keep=0)
            save(run, state, step)
    _drain(run, state, clock, feed, keep=0)
    if step < experiment.total_steps:
        save(run, state, step)
        run.checkpoints.wait()
        raise stopped(signal.received, step)
    return step


def _check_background(run: LoopContext) -> None:
    """Ends the run on an error in the threads of saves and of the lock. Several processes stop
    together, as by a signal; their save then raises the error.
    """
    if not run.checkpoints.failed and run.turn.lost is None:
        return
    if distributed.several():
        if not run.stop_requested:
            run.stop_requested = True
            distributed.request_stop()
        return
    run.checkpoints.wait()
    run.turn.check()


@contextlib.contextmanager
def _save_on_error(
    run: LoopContext, state: TrainState, step: int, clock: "_Clock", feed: Feed
) -> Iterator[None]:
    """Seals `step` before it raises an error. Not among several processes: the others are already
    in the next step; the run resumes from the newest sealed one.
    """
    try:
        yield
    except Exception:
        if not distributed.several():
            with contextlib.suppress(Exception):  # the first error counts
                _drain(run, state, clock, feed, keep=0)
                save(run, state, step)
                run.checkpoints.wait()
                run.logbook.say(f"an error after step {step}, which is saved")
        raise


@dataclasses.dataclass
class _Clock:
    """Rates since the last line of timings."""

    step: int
    batch_size: int
    first: bool = True
    at: float = 0.0
    waited: float = 0.0

    def restart(self, step: int, waited: float) -> None:
        self.first, self.step, self.at, self.waited = False, step, time.perf_counter(), waited

    def numbers(self, step: int, waited: float) -> dict[str, float]:
        seconds = max(time.perf_counter() - self.at, 1e-9)
        numbers = {
            "examples_per_second": round((step - self.step) * self.batch_size / seconds, 2),
            "input_wait": round((waited - self.waited) / seconds, 4),
        }
        self.restart(step, waited)
        return numbers


def _drain(run: LoopContext, state: TrainState, clock: _Clock, feed: Feed, keep: int) -> None:
    """Writes the lines of finished steps, all but the newest `keep`."""
    while len(run.pending) > keep:
        step, count = _write_oldest(run, clock, feed)
        if count < run.experiment.max_nonfinite:
            continue
        last = step
        while run.pending:  # `state` is already that of the newest dispatched step
            last, _ = _write_oldest(run, clock, feed)
        save(run, state, last)
        run.checkpoints.wait()
        raise NonFiniteError(
            f"gradients not finite for {count} steps in a row, up to step {step}; "
            f"the last good state is sealed as step {last} of {run.logbook.run}"
        )


def _write_oldest(run: LoopContext, clock: _Clock, feed: Feed) -> tuple[int, int]:
    """Writes the oldest pending step's lines; returns it and the skipped steps in a row."""
    step, metrics = run.pending.popleft()
    count = int(jax.device_get(metrics["nonfinite"]))
    if count:
        run.logbook.say(f"step {step}: gradients not finite, left out ({count} in a row)")
    if step % run.experiment.log_every == 0 or step == run.experiment.total_steps:
        numbers = {k: float(v) for k, v in sorted(jax.device_get(metrics).items())}
        run.logbook.train(step, numbers)
        if step > clock.step:
            run.logbook.timing(step, clock.numbers(step, feed.waited))
        losses = {k: numbers[k] for k in run.experiment.task.terms if k in numbers}
        run.logbook.alarm(step, run.experiment.task.alarm(numbers))
        run.logbook.progress(step, losses)
    return step, count


def _evaluate_late(run: LoopContext, state: TrainState, step: int) -> None:
    """Evaluates a step that was saved because its evaluation had failed."""
    if run.evaluate is not None and not distributed.from_first(lambda: run.logbook.evaluated):
        _evaluate(run, state, step)


def _evaluate(run: LoopContext, state: TrainState, step: int) -> None:
    if run.evaluate is None:
        return
    params, _ = usable(state, "auto")
    started = time.perf_counter()
    with (
        jax.transfer_guard("allow"),  # now and then; only steps are guarded
        run.logbook.waiting("evaluating"),
    ):
        result = run.evaluate(params, state.collections)
    run.logbook.evaluation(step, result.numbers, result.gallery, result.described)
    run.logbook.timing(step, {"evaluation_seconds": round(time.perf_counter() - started, 3)})


def save(run: LoopContext, state: TrainState, step: int) -> None:
    """Begins to save `step`, after all of its lines are on disk.

    Raises:
        DataError: it cannot be saved, or the save before has failed.
        LockLostError: another process has taken the run over.
    """

    def check_and_flush() -> None:
        run.turn.check()
        run.logbook.flush()  # a step's lines must be on disk before its seal

    distributed.from_first(check_and_flush)
    with jax.transfer_guard("allow"):
        run.checkpoints.save(step, state)
