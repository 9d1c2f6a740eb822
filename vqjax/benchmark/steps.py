"""The training step as a workload to time: batches, compiled programs, seconds per step."""

import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from vqjax.hardware.flops import total_flops
from vqjax.tasks.base import GAIN, LENGTH
from vqjax.training.experiment import Experiment
from vqjax.training.feed import Feed
from vqjax.training.programs import trace_programs
from vqjax.training.sharding import check_batch_size, local_rows, put_batch
from vqjax.training.state import TrainState
from vqjax.training.step import active_at
from vqjax.types import ArraySpec, Batch, Tree

CACHE_HIT = "/jax/compilation_cache/cache_hits"
NOISE = 4  # synthetic batches, over and over
LEAST_STEPS = 10
LOUD = 1 << 13  # of noise that is sound


def noise(inputs: Mapping[str, ArraySpec], count: int, seed: int = 0) -> Batch:
    """A batch like `inputs`: bytes of noise, floats in [-1, 1], whole numbers 0 and 1 (classes and
    tokens that everyone has); of sound int16, as long as an example is, at gain 1. Needs no data,
    and no TensorFlow.
    """
    rng = np.random.default_rng(seed)
    longest = max((spec.shape[0] for spec in inputs.values() if len(spec.shape) == 2), default=0)

    def drawn(name: str, spec: ArraySpec) -> np.ndarray:
        shape, dtype = (count, *spec.shape), np.dtype(spec.dtype)
        if name in (GAIN, LENGTH) and not spec.shape:
            return np.full(shape, 1 if name == GAIN else longest, dtype)
        if np.issubdtype(dtype, np.floating):
            return rng.uniform(-1, 1, shape).astype(dtype)
        low, high = (-LOUD, LOUD) if dtype == np.int16 else (0, 256 if dtype == np.uint8 else 2)
        return rng.integers(low, high, shape).astype(dtype)

    return {name: drawn(name, spec) for name, spec in inputs.items()}


def noise_batches(
    inputs: Mapping[str, ArraySpec], batch_size: int, mesh: Mesh
) -> Iterator[dict[str, np.ndarray]]:
    """Endless batches of this host's rows, all made before the first is used."""
    rows = len(local_rows(batch_size, mesh))
    batches = [noise(inputs, rows, seed) for seed in range(NOISE)]
    while True:
        yield from batches


@dataclasses.dataclass(frozen=True)
class Compiled:
    """The programs of the steps that training ends with.

    Attributes:
        turn: what is `active`, step by step, until it repeats; a single one unless players
            alternate.
        programs: {active: compiled step}.
        trace_seconds: to trace them.
        seconds: to lower and compile them.
        cached: whether any came from the compilation cache, so that `seconds` says little.
        flops: of one step by formula (`vqjax.hardware.flops`), the mean over the turn.
        xla_flops: the same as XLA counts it, all devices together; None where it does not count.
        bytes: of the largest program: arguments, results and temporaries on one device.
    """

    turn: tuple[tuple[str, ...], ...]
    programs: Mapping[tuple[str, ...], Any]
    trace_seconds: float
    seconds: float
    cached: bool
    flops: float
    xla_flops: float | None
    bytes: int | None

    @property
    def fullest(self) -> tuple[str, ...]:
        """The `active` in which most takes part."""
        return max(self.turn, key=len)


def last_turn(experiment: Experiment) -> tuple[tuple[str, ...], ...]:
    """What is `active` in the last steps of training, as many as it takes until it repeats."""
    last = experiment.total_steps
    turn = math.lcm(*(o.every for o in experiment.optimizers.values()))
    return tuple(active_at(experiment, step) for step in range(max(0, last - turn), last))


def compile_steps(
    experiment: Experiment, inputs: Mapping[str, ArraySpec], frozen: Tree, mesh: Mesh
) -> Compiled:
    """Compiles what the last steps of training need.

    Raises:
        UsageError: a batch that the devices cannot share equally.
    """
    check_batch_size("batch_size", experiment.batch_size, experiment.accumulate, mesh)
    turn = last_turn(experiment)
    started = time.perf_counter()
    traced = trace_programs(
        experiment, dict(inputs), frozen, mesh, experiment.total_steps - len(turn)
    )
    traced_at = time.perf_counter()
    hits = len(_cache_hits())
    programs = {active: t.lower().compile() for active, t in traced.items()}
    seconds = time.perf_counter() - traced_at
    flops = {active: total_flops(t.jaxpr) for active, t in traced.items()}
    xla = [_xla_flops(programs[active]) for active in turn]
    return Compiled(
        turn=turn,
        programs=programs,
        trace_seconds=traced_at - started,
        seconds=seconds,
        cached=len(_cache_hits()) > hits,
        flops=float(np.mean([flops[a] for a in turn])),
        xla_flops=None if None in xla else float(np.mean(xla)) * mesh.size,
        bytes=_bytes(programs.values()),
    )


@functools.cache
def _cache_hits() -> list[str]:
    """Grows by an event for each program that comes from the compilation cache from now on."""
    hits: list[str] = []

    def listen(event: str, **_: Any) -> None:
        if event == CACHE_HIT:
            hits.append(event)

    jax.monitoring.register_event_listener(listen)
    return hits


def _xla_flops(program: Any) -> float | None:
    """Of one device."""
    costs = program.cost_analysis()
    costs = costs[0] if isinstance(costs, list) and costs else costs
    return (costs or {}).get("flops")


def _bytes(programs: Any) -> int | None:
    """Of the largest program."""
    sizes = [p.memory_analysis() for p in programs]
    if any(s is None for s in sizes):
        return None
    return max(
        s.argument_size_in_bytes
        + s.output_size_in_bytes
        + s.temp_size_in_bytes
        - s.alias_size_in_bytes
        for s in sizes
    )


@dataclasses.dataclass
class Workload:
    """The steps of an experiment on a mesh: each leaves the state for the next.

    Attributes:
        experiment: what is measured.
        inputs: `ArraySpec` of one example.
        mesh: of all devices.
        frozen: arrays of frozen networks.
        state: donated to each step, so there is one.
    """

    experiment: Experiment
    inputs: Mapping[str, ArraySpec]
    mesh: Mesh
    frozen: Tree
    state: TrainState

    def batches(self, batch_size: int) -> Iterator[Batch]:
        return noise_batches(self.inputs, batch_size, self.mesh)

    def batch(self, batch_size: int) -> Batch:
        """One batch of noise on the devices."""
        return put_batch(next(self.batches(batch_size)), self.mesh)

    def time_steps(
        self,
        compiled: Compiled,
        batches: Iterator[Batch],
        seconds: float,
        before: Callable[[], None] = lambda: None,
    ) -> np.ndarray:
        """Seconds from the end of each step to the end of the next, float[n].

        As in training a batch is put on the devices and its step dispatched before the last one is
        waited for. Two turns go before the first that counts.

        Args:
            batches: of this host's rows.
            seconds: to spend, at least `LEAST_STEPS` steps.
            before: called when what counts begins.
        """
        turn = compiled.turn
        ends: list[float] = []
        pending = None
        for number in itertools.count():
            if number == 2 * len(turn) + 1:
                before()
            if len(ends) > LEAST_STEPS and ends[-1] - ends[0] >= seconds:
                break
            batch = put_batch(next(batches), self.mesh)
            program = compiled.programs[turn[number % len(turn)]]
            self.state, metrics = program(self.state, self.frozen, batch)
            if pending is not None:
                jax.block_until_ready(pending)
                if number > 2 * len(turn):
                    ends.append(time.perf_counter())
            pending = metrics
        jax.block_until_ready(pending)
        return np.diff(ends)

    def time_real_steps(
        self, compiled: Compiled, seconds: float
    ) -> tuple[np.ndarray, dict[str, float]]:
        """As `time_steps`, on the experiment's own data, read ahead as in training; and {"wait":
        the share of the time that steps waited for it}.
        """
        feed = Feed(self.source_batches())
        waited = [0.0]

        def before() -> None:
            waited[0] = feed.waited

        try:
            steps = self.time_steps(compiled, feed, seconds, before)
        finally:
            feed.close()
        return steps, {"wait": min(1.0, (feed.waited - waited[0]) / float(np.sum(steps)))}

    def source_batches(self) -> Iterator[Batch]:
        """Of the experiment's training data."""
        e = self.experiment
        return e.data.train(e.batch_size, e.seed, 0, local_rows(e.batch_size, self.mesh))

    def time_source(self, seconds: float) -> dict[str, float]:
        """The input pipeline alone, nobody computing: {"first_batch_seconds", with whatever is read
        and decoded once; "pipeline_examples_per_second" after it}, of this host.
        """
        started = time.perf_counter()
        batches = self.source_batches()
        rows = len(next(iter(next(batches).values())))
        first = time.perf_counter()
        count = 0
        while time.perf_counter() - first < seconds or count < LEAST_STEPS:
            next(batches)
            count += 1
        rate = count * rows / (time.perf_counter() - first)
        return {"first_batch_seconds": first - started, "pipeline_examples_per_second": rate}


def measured_peak(devices: Sequence[jax.Device]) -> int | None:
    """The most bytes that a device has held since the process began; None: it does not say."""
    stats = [d.memory_stats() or {} for d in devices]
    peaks = [s.get("peak_bytes_in_use") for s in stats]
    return None if None in peaks else max(peaks)
