"""A training from its plan to its end: all checks come first, then the first write."""

import contextlib
import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from vqjax import arguments, config
from vqjax.ops import progress
from vqjax.ops.numerics import make_key
from vqjax.paths import as_path
from vqjax.training import checkpoint, distributed
from vqjax.training.bounds import check_at_hand, within_bounds
from vqjax.training.checkpoint import Checkpoints
from vqjax.training.claim import Claim, check_writable, claim, fitted
from vqjax.training.experiment import Experiment
from vqjax.training.feed import Feed
from vqjax.training.frozen import load_frozen, resolve_frozen, shape_notes
from vqjax.training.init_from import Difference, check_init_from, take_over
from vqjax.training.journal import writing
from vqjax.training.logbook import Logbook, is_evaluated
from vqjax.training.mesh import make_mesh
from vqjax.training.partition import shardings
from vqjax.training.platform import devices_at_hand, jax_defaults
from vqjax.training.programs import trace_programs
from vqjax.training.record import RECORD, ExperimentRecord, write_record
from vqjax.training.restore import initial_state, state_target
from vqjax.training.seal import sealed_steps
from vqjax.training.sharding import check_batch_size, local_rows
from vqjax.training.signals import StopSignal, stopped
from vqjax.training.start import listener, once_through
from vqjax.training.state import TrainState
from vqjax.training.step import patterns
from vqjax.training.steps import Evaluator, LoopContext, save, train_steps
from vqjax.training.terminal import show, waiting
from vqjax.training.trackers import Tracker
from vqjax.training.turn import Turn
from vqjax.types import ArraySpec, Batch, Tree

START_STREAM = 2**32 - 1  # number of the random stream of `task.start`; no step has it

MakeEvaluator = Callable[[Experiment, Mesh, Tree], Evaluator]  # with the frozen arrays


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
    track: str | None = None,
) -> int:
    """Trains to `total_steps`, from the newest sound checkpoint where there is one.

    Args:
        experiment: what to train.
        workdir: the run directory, made where it is missing.
        make_evaluator: builds the evaluator of the parameters, run every `eval_every` steps.
        name: of the experiment, for the record.
        command: for the record.
        allow_change: go on although the run was started with other settings.
        trust: modules and files whose classes may be built from the record.
        devices: None: all.
        track: a tracker beside TensorBoard, "trackio", "wandb" or "mlflow", ":" and the project.

    Returns:
        The last step.

    Raises:
        UsageError: invalid settings, a bucket's URL, a run that another process trains; nothing was
            written then.
        DataError: data, a frozen run or a checkpoint is missing or damaged, a save failed, or the
            run directory was lost.
        NonFiniteError: too many steps in a row without finite gradients; the state is sealed.
        Stopped: a signal came; the state is sealed, where there was one yet.
        PeerLost: another process is gone.
        LockLostError: another process has taken the run over.
    """
    started = time.perf_counter()
    arguments.instance("experiment", experiment, Experiment, "what a file's experiment() returns")
    workdir = arguments.path("workdir", workdir, "a run directory")
    trust = tuple(arguments.texts("trust", trust, '["my_networks.py"]'))
    path = as_path(workdir, "--workdir").absolute()
    devices_at_hand()  # else some later code would fail for lack of them
    with lost_peers_named(path), jax_defaults(experiment.compute_dtype):
        distributed.agree(lambda: check_writable(path))
        turn = Turn(path, experiment.total_steps)
        with waiting("preparing") if distributed.is_first() else contextlib.nullcontext():
            plan = _plan(experiment, path, name, command, allow_change, trust, devices)
        tracker = None
        if track is not None and distributed.is_first():
            record = plan.record
            tracker = Tracker(track, path, str(record.id), config.encode(record.experiment))
        return _train(plan, turn, make_evaluator, trust, started, tracker)


@contextlib.contextmanager
def lost_peers_named(run: pathlib.Path) -> Iterator[None]:
    """Within `with`, errors of the runtime that another process is gone are raised as PeerLost."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not distributed.is_lost_peer(error):
            raise
        sealed, why = sealed_steps(run / "checkpoints"), str(error).splitlines()[0]
        raise distributed.PeerLost(run, sealed, why[:100]) from error


def _train(
    plan: "_Plan",
    turn: Turn,
    make_evaluator: MakeEvaluator | None,
    trust: Sequence[str],
    started: float,
    tracker: Tracker | None,
) -> int:
    step, experiment, path = plan.step, plan.record.experiment, turn.run
    done = step >= experiment.total_steps
    if done and make_evaluator is not None:  # the last evaluation may have failed
        done = distributed.from_first(lambda: is_evaluated(path, step))
    if done:
        if distributed.is_first():
            if not (path / RECORD).exists():
                write_record(path, plan.record)
            end = f"{path} is done: {step} of {experiment.total_steps} steps"
            for line in (*plan.lines, end):
                show(line)
        return step
    claimed = plan.claimed
    with turn.hold():
        distributed.from_first(lambda: write_record(path, plan.record) if claimed.writes else None)
        folder, keep = path / "checkpoints", experiment.keep
        with (
            Logbook(path, step, experiment.total_steps, turn.may_write, tracker) as logbook,
            Checkpoints(folder, keep, claimed.owner, turn.check) as checkpoints,
        ):
            with writing(path):
                after = None if claimed.fresh else step
                distributed.from_first(lambda: checkpoints.set_aside(after))
            return _run(plan, turn, checkpoints, logbook, make_evaluator, trust, started)


def _run(
    plan: "_Plan",
    turn: Turn,
    checkpoints: Checkpoints,
    logbook: Logbook,
    make_evaluator: MakeEvaluator | None,
    trust: Sequence[str],
    started: float,
) -> int:
    step, experiment = plan.step, plan.record.experiment
    for line in (*plan.lines, *experiment.data.notes()):
        logbook.say(line)
    _log_header(logbook, experiment, step, plan.mesh)
    with StopSignal() as signal, Feed(_batches(experiment, plan.mesh, step)) as feed:
        programs = _compile(plan, logbook, signal)  # while the first batches are made
        evaluate = make_evaluator(experiment, plan.mesh, plan.frozen) if make_evaluator else None
        fixed = experiment, plan.mesh, plan.frozen, programs
        run = LoopContext(*fixed, turn, checkpoints, logbook, evaluate)
        state = plan.state or _start(run, plan.record.inputs, plan.transfer, trust, feed, signal)
        return train_steps(run, state, step, signal, started, feed)


@dataclasses.dataclass
class _Plan:
    """The result of all checks that a user's mistake can fail, made before the first write."""

    claimed: Claim
    mesh: Mesh
    frozen: Tree
    step: int
    state: TrainState | None  # restored
    lines: tuple[str, ...]
    traced: Mapping[tuple[str, ...], Any]
    transfer: Difference | None  # to the run whose arrays step 0 takes over

    @property
    def record(self) -> ExperimentRecord:
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
    def check_locally() -> tuple[Mesh, Claim]:
        """The checks of a single process."""
        resolved = resolve_frozen(experiment, tuple(trust))
        resolved.check()
        mesh = make_mesh(devices, resolved.mesh)
        check_batch_size("batch_size", resolved.batch_size, resolved.accumulate, mesh)
        prepared = fitted(resolved, path, trust)  # first: it may decide what is read
        prepared.data.check()
        inputs = prepared.data.example_spec()
        prepared.task.check(inputs)
        check_at_hand(prepared.task, prepared.data)
        record = ExperimentRecord(prepared, inputs, name, tuple(command))
        return mesh, claim(path, record, allow_change, trust)

    mesh, claimed = distributed.agree(check_locally)
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
        target = state_target(experiment, inputs, mesh)
        state, step = checkpoint.read(folder, newest, target), newest
    transfer = None
    if newest is None and experiment.init_from is not None:
        transfer = check_init_from(experiment, inputs, trust)
    traced = trace_programs(experiment, inputs, frozen, mesh, step)
    lines = (*claimed.lines, *lines, *shape_notes(experiment, inputs, tuple(trust)))
    return _Plan(claimed, mesh, frozen, step, state, lines, traced, transfer)


def _log_header(logbook: Logbook, experiment: Experiment, step: int, mesh: Mesh) -> None:
    kinds = {d.device_kind for d in mesh.devices.flat}
    devices = f"{mesh.size} x {', '.join(sorted(kinds))}"
    verb = f"resuming at step {step} of" if step else "training for"
    logbook.say(
        f"{verb} {experiment.total_steps} steps of {experiment.batch_size} examples on {devices}; "
        f"run: {logbook.run}"
    )
    weights = ", ".join(f"{k} {config.show(v)}" for k, v in experiment.task.weights.items())
    logbook.say(f"loss weights: {weights}")
    if foreign := config.foreign_classes(experiment):
        logbook.say(f"not vqjax's: {', '.join(foreign)}: to open this run will need --trust")


def _compile(plan: _Plan, logbook: Logbook, signal: StopSignal) -> dict[tuple[str, ...], Any]:
    """Every program that the rest of the run needs, before its first step.

    Raises:
        Stopped: a signal came, and this is the only process.
    """
    started = time.perf_counter()
    programs = {}
    experiment = plan.record.experiment
    firsts = patterns(experiment, plan.step, experiment.total_steps)
    for active, traced in plan.traced.items():
        logbook.say(f"compiling the step from {firsts[active]} on: {', '.join(active)}")
        with logbook.waiting("compiling"):
            programs[active] = traced.lower().compile()
        if signal.ends_alone():
            raise stopped(signal.received, None if plan.state is None else plan.step)
    seconds = round(time.perf_counter() - started, 3)
    logbook.timing(plan.step, {"compile_seconds": seconds})
    return programs


def _batches(experiment: Experiment, mesh: Mesh, step: int) -> Iterator[Batch]:
    rows = local_rows(experiment.batch_size, mesh)
    batches = experiment.data.train(experiment.batch_size, experiment.seed, step, rows)
    return within_bounds(experiment.task, experiment.data, "train", batches)


def _start(
    run: LoopContext,
    inputs: Mapping[str, ArraySpec],
    transfer: Difference | None,
    trust: Sequence[str],
    feed: Feed,
    signal: StopSignal,
) -> TrainState:
    """Step 0: initial parameters, those of another run, `task.start`, and the first checkpoint."""
    experiment = run.experiment
    with run.logbook.waiting("making the parameters"):
        state = jax.block_until_ready(initial_state(experiment, inputs, run.mesh))
    params, collections = state.params, state.collections
    if transfer is not None:
        source_run = experiment, run.mesh, transfer.step, trust
        params, collections, source = take_over(params, collections, *source_run)
        for line in transfer.lines(source):
            run.logbook.say(line)
    if transfer is None or transfer.new:
        feed.wait()  # else the batch that it is decoding would be decoded twice
        batches = once_through(experiment, run.mesh)
        key = jax.random.fold_in(make_key(experiment.seed), START_STREAM)
        with jax.set_mesh(run.mesh), progress.heard_by(listener(run.logbook, signal)):
            start = experiment.network_task().start
            params, collections = start(params, collections, run.frozen, batches, key)
        if transfer is not None:  # `start` must not replace what was taken over
            params, collections, _ = take_over(params, collections, *source_run)
    sharded = {"params": params, "collections": collections}
    # Waited for: pending transfers between processes must not mix with their next agreement.
    sharded = jax.block_until_ready(jax.device_put(sharded, shardings(sharded, run.mesh)))
    ema = {p: jax.tree.map(lambda a: a.copy(), sharded["params"][p]) for p in state.ema}
    state = state.replace(**sharded, ema=ema)
    save(run, state, 0)
    return state
