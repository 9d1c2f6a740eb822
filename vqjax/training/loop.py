"""The loop: batches in, steps, records, evaluations, sealed checkpoints, a clean end."""

import collections
import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from vqjax.training import checkpoint
from vqjax.training.experiment import Experiment
from vqjax.training.feed import Feed
from vqjax.training.frozen import load_frozen, pin
from vqjax.training.logbook import Logbook
from vqjax.training.record import Record, claim
from vqjax.training.restore import state_target, usable
from vqjax.training.sharding import (
    check_batch_size,
    local_rows,
    make_mesh,
    put_batch,
    replicated,
)
from vqjax.training.signals import StopSignal
from vqjax.training.state import TrainState, create_state, example_batch
from vqjax.training.step import active_at, make_train_step, patterns
from vqjax.types import Batch, NonFiniteError, Stopped, Tree

START_STREAM = 2**32 - 1  # what `task.start` draws from; no step has this number
RUN_AHEAD = 8  # steps given to the device before the oldest of them is waited for


class Evaluation(Protocol):
    """What an evaluator returns."""

    numbers: Mapping[str, float]
    pictures: Any


Evaluator = Callable[[Tree, Tree], Evaluation]  # (params, collections) -> numbers and pictures
MakeEvaluator = Callable[[Experiment, Mesh], Evaluator]


@dataclasses.dataclass
class _Run:
    """What the parts of the loop share."""

    experiment: Experiment
    mesh: Mesh
    frozen: Tree
    programs: Mapping[tuple[str, ...], Any]
    checkpoints: checkpoint.Checkpoints
    logbook: Logbook
    evaluate: Evaluator | None
    pending: collections.deque = dataclasses.field(default_factory=collections.deque)


def train(
    experiment: Experiment,
    workdir: str | os.PathLike,
    *,
    make_evaluator: MakeEvaluator | None = None,
    name: str = "experiment",
    command: Sequence[str] = (),
    allow_change: bool = False,
    trust: Sequence[str] = (),
    devices: Sequence[jax.Device] | None = None,
) -> int:
    """Trains to `total_steps`, from the newest sound checkpoint where there is one.

    Args:
        experiment: what to train.
        workdir: the run directory, made where it is missing.
        make_evaluator: builds what judges the parameters every `eval_every` steps.
        name: of the experiment, for the record.
        command: for the record.
        allow_change: go on although the run was started with other settings.
        trust: modules and files whose classes may be built from the record.
        devices: None: all.

    Returns:
        The last step.

    Raises:
        UsageError: settings that cannot work; nothing was written then.
        DataError: data, a frozen run or a checkpoint is missing or damaged.
        NonFiniteError: too many steps in a row without finite gradients; the state is sealed.
        Stopped: a signal came; the state is sealed.
    """
    started = time.perf_counter()
    mesh = make_mesh(devices)
    experiment.check()
    check_batch_size("batch_size", experiment.batch_size, experiment.accumulate, mesh)
    experiment.data.check()
    inputs = experiment.data.example_spec()
    experiment.task.check(inputs)
    target = state_target(experiment, inputs, mesh)

    path = pathlib.Path(workdir).absolute()
    record = Record(pin(experiment), inputs, name, tuple(command))
    record = claim(path, record, allow_change, trust)
    experiment = record.experiment
    frozen = load_frozen(pin(experiment), mesh, tuple(trust))

    restored = checkpoint.restore(path / "checkpoints", target)
    step = 0 if restored is None else restored.step
    checkpoints = checkpoint.Checkpoints(path / "checkpoints", experiment.keep)
    checkpoints.set_aside(after=step if restored is not None else np.inf)
    logbook = Logbook(path, step, experiment.total_steps)
    try:
        for line in restored.lines if restored else ():
            logbook.say(line)
        for line in experiment.data.notes():
            logbook.say(line)
        if step >= experiment.total_steps:
            logbook.say(f"{path} is done: {step} of {experiment.total_steps} steps")
            return step
        _introduce(logbook, path, experiment, step, mesh)
        with StopSignal() as signal:
            if restored is None:
                state = _fresh_state(experiment, inputs, mesh)
            else:
                state = restored.state
            del restored
            programs = _compile(experiment, inputs, mesh, target, frozen, step, logbook)
            evaluate = make_evaluator(experiment, mesh) if make_evaluator else None
            run = _Run(experiment, mesh, frozen, programs, checkpoints, logbook, evaluate)
            if step == 0:
                state = _start(run, state)
            return _steps(run, state, step, signal, started)
    finally:
        checkpoints.close()
        logbook.close()


def _introduce(
    logbook: Logbook, path: pathlib.Path, experiment: Experiment, step: int, mesh: Mesh
) -> None:
    kinds = {d.device_kind for d in mesh.devices.flat}
    where = f"{mesh.size} x {', '.join(sorted(kinds))}"
    verb = f"resuming at step {step} of" if step else "training for"
    logbook.say(
        f"{verb} {experiment.total_steps} steps of {experiment.batch_size} examples on {where}; "
        f"run: {path}"
    )


def _fresh_state(experiment: Experiment, inputs: dict, mesh: Mesh) -> TrainState:
    make = jax.jit(lambda: create_state(experiment, inputs), out_shardings=replicated(mesh))
    return make()


def _compile(
    experiment: Experiment,
    inputs: dict,
    mesh: Mesh,
    target: TrainState,
    frozen: Tree,
    step: int,
    logbook: Logbook,
) -> dict[tuple[str, ...], Any]:
    """Every program that the rest of the run needs, before its first step."""
    found = patterns(experiment, step, experiment.total_steps)
    train_step = make_train_step(experiment)
    zeros = jax.eval_shape(lambda: example_batch(inputs, experiment.batch_size))
    probe = put_batch(
        {k: np.zeros((_local(mesh, experiment), *v.shape[1:]), v.dtype) for k, v in zeros.items()},
        mesh,
    )
    batch = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), probe
    )
    started = time.perf_counter()
    programs = {}
    for active, first in found.items():
        logbook.say(f"compiling the step from {first} on: {', '.join(active)}")
        programs[active] = train_step.lower(target, frozen, batch, active=active).compile()
    logbook.timing(step, {"compile_seconds": round(time.perf_counter() - started, 3)})
    return programs


def _local(mesh: Mesh, experiment: Experiment) -> int:
    return len(local_rows(experiment.batch_size, mesh))


def _batches(run: _Run, step: int) -> Iterator[Batch]:
    rows = local_rows(run.experiment.batch_size, run.mesh)
    data = run.experiment.data
    return data.train(run.experiment.batch_size, run.experiment.seed, step, rows)


def _start(run: _Run, state: TrainState) -> TrainState:
    """`task.start`, then the first checkpoint: step 0."""
    with jax.transfer_guard("allow"):
        batches = (put_batch(batch, run.mesh) for batch in _batches(run, 0))
        key = jax.random.fold_in(jax.random.key(run.experiment.seed), START_STREAM)
        task = run.experiment.network_task()
        params, collections = task.start(state.params, state.collections, batches, key)
    sharding = replicated(run.mesh)
    params, collections = jax.device_put((params, collections), sharding)
    ema = {p: jax.tree.map(lambda a: a.copy(), params[p]) for p in state.ema}
    state = state.replace(params=params, collections=collections, ema=ema)
    run.checkpoints.save(0, state)
    return state


def _steps(run: _Run, state: TrainState, step: int, signal: StopSignal, started: float) -> int:
    experiment, logbook = run.experiment, run.logbook
    feed = Feed(_batches(run, step))
    clock = _Clock(step, experiment.batch_size)
    try:
        while step < experiment.total_steps and signal.received is None:
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
                clock.restart(step, feed.waited)
            _drain(run, state, clock, feed, keep=RUN_AHEAD)
            if step % experiment.eval_period == 0 or step == experiment.total_steps:
                _drain(run, state, clock, feed, keep=0)
                _evaluate(run, state, step)
                clock.restart(step, feed.waited)
            if step % experiment.save_period == 0 or step == experiment.total_steps:
                _drain(run, state, clock, feed, keep=0)
                _save(run, state, step)
        _drain(run, state, clock, feed, keep=0)
        if step < experiment.total_steps:
            _save(run, state, step)
            run.checkpoints.wait()
            raise Stopped(f"{signal.received}: step {step} is saved; run the same command to go on")
    finally:
        feed.close()
    run.checkpoints.wait()
    logbook.say(f"done: {step} steps; run: {logbook.run}")
    return step


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


def _drain(run: _Run, state: TrainState, clock: _Clock, feed: Feed, keep: int) -> None:
    """Takes in what finished steps report, all but the newest `keep`; writes their lines."""
    while len(run.pending) > keep:
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
            run.logbook.progress(step, losses)
        if count >= run.experiment.max_nonfinite:
            last = step + len(run.pending)  # steps given out meanwhile changed nothing but counts
            run.pending.clear()
            _save(run, state, last)
            run.checkpoints.wait()
            raise NonFiniteError(
                f"gradients not finite for {count} steps in a row, up to step {step}; "
                f"the last good state is sealed as step {last} of {run.logbook.run}"
            )


def _evaluate(run: _Run, state: TrainState, step: int) -> None:
    if run.evaluate is None:
        return
    params, _ = usable(state, "auto")
    started = time.perf_counter()
    result = run.evaluate(params, state.collections)
    run.logbook.evaluation(step, result.numbers, result.pictures)
    run.logbook.timing(step, {"evaluation_seconds": round(time.perf_counter() - started, 3)})
    shown = "  ".join(f"{k} {v:.4g}" for k, v in result.numbers.items())
    run.logbook.say(f"step {step} evaluated: {shown}")


def _save(run: _Run, state: TrainState, step: int) -> None:
    run.logbook.flush()
    run.checkpoints.save(step, state)
