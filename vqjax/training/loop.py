"""The loop: batches in, steps, records, evaluations, sealed checkpoints, a clean end."""

import collections
import contextlib
import dataclasses
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
from jax.sharding import Mesh

from vqjax import config
from vqjax.paths import as_path
from vqjax.training import checkpoint, distributed
from vqjax.training.claim import Claim, check_writable, claim, learned
from vqjax.training.experiment import Experiment
from vqjax.training.feed import Feed
from vqjax.training.frozen import adopt, load_frozen
from vqjax.training.init_from import Difference, check_init_from, filled
from vqjax.training.logbook import Logbook
from vqjax.training.mesh import make_mesh
from vqjax.training.partition import shardings
from vqjax.training.platform import devices_at_hand
from vqjax.training.programs import trace_programs
from vqjax.training.record import RECORD, Record, write_record
from vqjax.training.restore import initial_state, state_target, usable
from vqjax.training.seal import sealed_steps
from vqjax.training.sharding import (
    check_batch_size,
    local_rows,
    put_batch,
)
from vqjax.training.signals import StopSignal
from vqjax.training.state import TrainState
from vqjax.training.step import active_at, patterns
from vqjax.types import ArraySpec, Batch, NonFiniteError, Stopped, Tree

START_STREAM = 2**32 - 1  # what `task.start` draws from; no step has this number
RUN_AHEAD = 8  # steps given to the device before the oldest of them is waited for


class Evaluation(Protocol):
    """What an evaluator returns."""

    numbers: Mapping[str, float]
    pictures: Any


Evaluator = Callable[[Tree, Tree], Evaluation]  # (params, collections) -> numbers and pictures
MakeEvaluator = Callable[[Experiment, Mesh, Tree], Evaluator]  # with the frozen arrays


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
        UsageError: settings that cannot work, a bucket's URL; nothing was written then.
        DataError: data, a frozen run or a checkpoint is missing or damaged.
        NonFiniteError: too many steps in a row without finite gradients; the state is sealed.
        Stopped: a signal came; the state is sealed.
        PeerLost: another process is gone.
    """
    started = time.perf_counter()
    path = as_path(workdir, "--workdir").absolute()
    devices_at_hand()  # or what comes first would fail for the lack of them
    with lost_peers_named(path):
        plan = _plan(experiment, path, name, command, allow_change, trust, devices)
        return _train(plan, path, make_evaluator, trust, started)


@contextlib.contextmanager
def lost_peers_named(run: pathlib.Path) -> Iterator[None]:
    """Within `with`, what the runtime says when another process has gone is raised as PeerLost."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not distributed.is_lost_peer(error):
            raise
        sealed, why = sealed_steps(run / "checkpoints"), str(error).splitlines()[0]
        raise distributed.PeerLost(run, sealed, why[:100]) from error


def _train(
    plan: "_Plan",
    path: pathlib.Path,
    make_evaluator: MakeEvaluator | None,
    trust: Sequence[str],
    started: float,
) -> int:
    step, experiment = plan.step, plan.record.experiment
    if step >= experiment.total_steps:
        done = f"{path} is done: {step} of {experiment.total_steps} steps"
        if distributed.is_first():
            if not (path / RECORD).exists():
                write_record(path, plan.record)
            print(*plan.lines, done, sep="\n", file=sys.stderr)
        return step
    claimed = plan.claimed
    distributed.from_first(lambda: write_record(path, plan.record) if claimed.writes else None)
    folder = path / "checkpoints"
    checkpoints = checkpoint.Checkpoints(folder, experiment.keep, claimed.owner)
    checkpoints.set_aside(after=None if claimed.fresh else step)
    with Logbook(path, step, experiment.total_steps) as logbook, checkpoints:
        for line in (*plan.lines, *experiment.data.notes()):
            logbook.say(line)
        _introduce(logbook, experiment, step, plan.mesh)
        with StopSignal() as signal, Feed(_batches(experiment, plan.mesh, step)) as feed:
            programs = _compile(plan, logbook)  # while the first batches are made
            evaluate = (
                make_evaluator(experiment, plan.mesh, plan.frozen) if make_evaluator else None
            )
            run = _Run(experiment, plan.mesh, plan.frozen, programs, checkpoints, logbook, evaluate)
            state = plan.state or _start(run, plan.record.inputs, plan.taken, trust, feed)
            return _steps(run, state, step, signal, started, feed)


@dataclasses.dataclass
class _Plan:
    """All that can fail for a user's mistake, found out before anything is written."""

    claimed: Claim
    mesh: Mesh
    frozen: Tree
    step: int
    state: TrainState | None  # restored
    lines: tuple[str, ...]
    traced: Mapping[tuple[str, ...], Any]
    taken: Difference | None  # from the run that step 0 takes arrays from

    @property
    def record(self) -> Record:
        return self.claimed.record


def _plan(
    experiment: Experiment,
    path: pathlib.Path,
    name: str,
    command: Sequence[str],
    allow_change: bool,
    trust: Sequence[str],
    devices: Sequence[jax.Device] | None,
) -> _Plan:
    def alone() -> tuple[Mesh, Claim]:
        """What a process finds out by itself."""
        adopted = adopt(experiment, tuple(trust))
        adopted.check()
        mesh = make_mesh(devices, adopted.mesh)
        check_batch_size("batch_size", adopted.batch_size, adopted.accumulate, mesh)
        check_writable(path)
        adopted.data.check()
        inputs = adopted.data.example_spec()
        adopted.task.check(inputs)
        ready = learned(adopted, path, trust)
        record = Record(ready, inputs, name, tuple(command))
        return mesh, claim(path, record, allow_change, trust)

    mesh, claimed = distributed.agree(alone)
    experiment, inputs = claimed.record.experiment, claimed.record.inputs
    distributed.check_same("experiment", config.to_json(config.encode(experiment)))
    distributed.check_shared(path)
    frozen = load_frozen(experiment, mesh, tuple(trust))

    folder = path / "checkpoints"

    def newest_sound() -> tuple[int | None, list[str]]:
        if claimed.fresh:
            return None, []
        return checkpoint.newest_sound(folder, owner=claimed.owner)

    newest, lines = distributed.from_first(newest_sound)
    state, step = None, 0
    if newest is not None:
        state, step = (
            checkpoint.read(folder, newest, state_target(experiment, inputs, mesh)),
            newest,
        )
    taken = None
    if newest is None and experiment.init_from is not None:
        taken = check_init_from(experiment, inputs, trust)
    traced = trace_programs(experiment, inputs, frozen, mesh, step)
    lines = (*claimed.lines, *lines)
    return _Plan(claimed, mesh, frozen, step, state, lines, traced, taken)


def _introduce(logbook: Logbook, experiment: Experiment, step: int, mesh: Mesh) -> None:
    kinds = {d.device_kind for d in mesh.devices.flat}
    where = f"{mesh.size} x {', '.join(sorted(kinds))}"
    verb = f"resuming at step {step} of" if step else "training for"
    logbook.say(
        f"{verb} {experiment.total_steps} steps of {experiment.batch_size} examples on {where}; "
        f"run: {logbook.run}"
    )
    weights = ", ".join(f"{k} {config.show(v)}" for k, v in experiment.task.weights.items())
    logbook.say(f"loss weights: {weights}")
    if foreign := config.foreign_classes(experiment):
        logbook.say(f"not vqjax's: {', '.join(foreign)}: to open this run will need --trust")


def _compile(plan: _Plan, logbook: Logbook) -> dict[tuple[str, ...], Any]:
    """Every program that the rest of the run needs, before its first step."""
    started = time.perf_counter()
    programs = {}
    experiment = plan.record.experiment
    firsts = patterns(experiment, plan.step, experiment.total_steps)
    for active, traced in plan.traced.items():
        logbook.say(f"compiling the step from {firsts[active]} on: {', '.join(active)}")
        programs[active] = traced.lower().compile()
    seconds = round(time.perf_counter() - started, 3)
    logbook.timing(plan.step, {"compile_seconds": seconds})
    return programs


def _batches(experiment: Experiment, mesh: Mesh, step: int) -> Iterator[Batch]:
    rows = local_rows(experiment.batch_size, mesh)
    return experiment.data.train(experiment.batch_size, experiment.seed, step, rows)


def _start(
    run: _Run,
    inputs: Mapping[str, ArraySpec],
    taken: Difference | None,
    trust: Sequence[str],
    feed: Feed,
) -> TrainState:
    """Step 0: initial parameters, those of another run, `task.start`, and the first checkpoint."""
    experiment = run.experiment
    state = initial_state(experiment, inputs, run.mesh)
    params, collections = state.params, state.collections
    if taken is not None:
        where = experiment, run.mesh, taken.step, trust
        params, collections, source = filled(params, collections, *where)
        for line in taken.lines(source):
            run.logbook.say(line)
    if taken is None or taken.new:
        feed.wait()  # or what it is decoding would be decoded twice
        batches = (put_batch(batch, run.mesh) for batch in _batches(experiment, run.mesh, 0))
        key = jax.random.fold_in(jax.random.key(experiment.seed), START_STREAM)
        with jax.set_mesh(run.mesh):
            begun = experiment.network_task().start(params, collections, batches, key)
        params, collections = begun
        if taken is not None:  # a start must not take back what is known
            params, collections, _ = filled(params, collections, *where)
    placed = {"params": params, "collections": collections}
    # Waited for: what processes still send each other must not meet what they agree on next.
    placed = jax.block_until_ready(jax.device_put(placed, shardings(placed, run.mesh)))
    ema = {p: jax.tree.map(lambda a: a.copy(), placed["params"][p]) for p in state.ema}
    state = state.replace(**placed, ema=ema)
    run.checkpoints.save(0, state)
    return state


def _steps(
    run: _Run, state: TrainState, step: int, signal: StopSignal, started: float, feed: Feed
) -> int:
    # What moves between host and device does so where it is written down.
    with jax.transfer_guard("disallow"):
        step = _until_the_end(run, state, step, signal, started, feed)
    feed.close()
    run.checkpoints.wait()
    run.logbook.say(f"done: {step} steps; run: {run.logbook.run}")
    return step


def _until_the_end(
    run: _Run, state: TrainState, step: int, signal: StopSignal, started: float, feed: Feed
) -> int:
    experiment, logbook = run.experiment, run.logbook
    clock = _Clock(step, experiment.batch_size)
    while step < experiment.total_steps and not signal.stops_at(step):
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
        step, count = _report(run, clock, feed)
        if count < run.experiment.max_nonfinite:
            continue
        last = step
        while run.pending:  # `state` is already that of the newest step given out
            last, _ = _report(run, clock, feed)
        _save(run, state, last)
        run.checkpoints.wait()
        raise NonFiniteError(
            f"gradients not finite for {count} steps in a row, up to step {step}; "
            f"the last good state is sealed as step {last} of {run.logbook.run}"
        )


def _report(run: _Run, clock: _Clock, feed: Feed) -> tuple[int, int]:
    """Writes the oldest pending step's lines; that step, and its steps in a row left out."""
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


def _evaluate(run: _Run, state: TrainState, step: int) -> None:
    if run.evaluate is None:
        return
    params, _ = usable(state, "auto")
    started = time.perf_counter()
    with jax.transfer_guard("allow"):  # once in a while; only steps are guarded
        result = run.evaluate(params, state.collections)
    run.logbook.evaluation(step, result.numbers, result.pictures)
    run.logbook.timing(step, {"evaluation_seconds": round(time.perf_counter() - started, 3)})
    shown = "  ".join(f"{k} {v:.4g}" for k, v in result.numbers.items())
    run.logbook.say(f"step {step} evaluated: {shown}")


def _save(run: _Run, state: TrainState, step: int) -> None:
    run.logbook.flush()  # a step's lines must not be younger than its seal
    with jax.transfer_guard("allow"):
        run.checkpoints.save(step, state)
