"""How fast an experiment trains, and where the time goes: `vqjax benchmark`.

`measure` returns what `vqjax benchmark --json` writes:

    schema           1
    command          the command line
    experiment       {file, overrides, arguments, frozen, shape}, as typed
    versions         {vqjax, jax, python}
    device           {platform, kind, count, cores}: cores of this host
    data             "synthetic" or "real"
    batch_size, compute_dtype, parameters
    active           players and loss terms of the step, one list per step of a turn
    step             {examples_per_second, examples_per_second_per_device, tokens_per_second (or
                      null), steps, seconds: {mean, p5, p50, p95, p99}}
    compile          {trace_seconds, seconds, cached}
    flops            {formula, xla (or null), per_second, peak, peak_is, share}: per step of all
                     devices; `peak` of all devices too; `peak_is` says whether it is the maker's
                     ("data sheet": share is the MFU) or a measured matrix product's
    memory           {bytes, of}: on one device; of "device" as it reports, or of the "program"
    input            {wait, first_batch_seconds, pipeline_examples_per_second}, of real data only
    shares           {part: share of the step}: `vqjax.benchmark.breakdown`
    latency          {encode: {p50, p99}, decode: ...}: seconds from host to host, one example
    precisions       {float32: {...}, bfloat16: {...}}, as `step`
    sweep            [{batch_size, examples_per_second, seconds}, ...], always on noise, and `knee`,
                     a batch size; the numbers of a batch that memory does not hold are null

What was not asked for, or cannot be, is absent. Seconds are of a monotonic clock.
"""

import dataclasses
import os
import platform
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqjax import config
from vqjax._version import __version__
from vqjax.benchmark.breakdown import measure_shares
from vqjax.benchmark.peak import peak_flops, product_flops, product_size
from vqjax.benchmark.steps import Compiled, Rig, compile_steps, measured_peak, noise
from vqjax.benchmark.stopwatch import percentiles
from vqjax.ops.numerics import make_key
from vqjax.runs.load import footprint_of, run_class
from vqjax.training.experiment import Experiment
from vqjax.training.frozen import frozen_shapes
from vqjax.training.mesh import make_mesh
from vqjax.training.partition import shardings
from vqjax.training.platform import devices_at_hand
from vqjax.training.restore import initial_state
from vqjax.training.sharding import replicated
from vqjax.types import ArraySpec, Tree

SCHEMA = 1
PRECISIONS = ("float32", "bfloat16")
IMPROVES = 1.05  # by what the rate grows when doubling the batch is worth it
LATENCY_CALLS = (30, 500)  # at least, at most
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What to measure beside the step.

    Attributes:
        real: the experiment's data, not noise.
        seconds: for the step; shares get as many, everything else fewer.
        trace: folder for a profile of some steps, or None.
        precisions: float32 against bfloat16.
        sweep: larger batches, up to the knee.
    """

    real: bool = False
    seconds: float = 10.0
    trace: str | None = None
    precisions: bool = False
    sweep: bool = False


def measure(
    experiment: Experiment,
    inputs: Mapping[str, ArraySpec],
    wishes: Wishes = Wishes(),
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Measures an experiment on all devices.

    Args:
        experiment: with its frozen runs (`resolve_for_shapes`).
        inputs: `ArraySpec` of one example.
        say: is told what is done next.

    Returns:
        The document above, without "command" and "experiment".

    Raises:
        UsageError: settings that cannot work.
        DataError: real data that is not at hand.
    """
    experiment.check()
    run_class(experiment.task)
    experiment.task.check(inputs)
    if wishes.real:
        experiment.data.check()
    mesh = make_mesh(None, experiment.mesh)
    say("compiling the step")
    frozen = _frozen_arrays(experiment, inputs, mesh, say)
    compiled = compile_steps(experiment, inputs, frozen, mesh)
    state = initial_state(experiment, dict(inputs), mesh)
    rig = Rig(experiment, inputs, mesh, frozen, state)
    found = _header(rig, compiled, wishes.real) | _of_step(rig, compiled, wishes, say)
    if wishes.trace is not None:
        say("tracing some steps")
        with jax.profiler.trace(wishes.trace):
            rig.time_steps(compiled, rig.batches(experiment.batch_size), seconds=0.0)
    say("timing its parts")
    found["shares"] = _shares(rig, compiled, wishes.seconds)
    say("timing single examples")
    if latency := _latencies(rig, wishes.seconds / 5):
        found["latency"] = latency
    if wishes.precisions:
        found["precisions"] = _precisions(rig, wishes.seconds, say)
    if wishes.sweep:
        found |= _sweep(rig, _on_noise(rig, compiled, found, wishes, say), wishes.seconds / 2, say)
    return found


def _of_step(rig: Rig, compiled: Compiled, wishes: Wishes, say: Say) -> dict[str, Any]:
    """What is known from the step itself, first of all: peak memory is the process's."""
    say(f"timing the step for {wishes.seconds:g} s")
    found: dict[str, Any] = {}
    if wishes.real:
        source = rig.time_source(wishes.seconds / 3)
        steps, wait = rig.time_real_steps(compiled, wishes.seconds)
        found["input"] = wait | source
    else:
        batches = rig.batches(rig.experiment.batch_size)
        steps = rig.time_steps(compiled, batches, wishes.seconds)
    step = _rates(rig, steps)
    found |= {"step": step, "memory": _memory(compiled)}
    return found | {"flops": _flops(rig, compiled, step["examples_per_second"])}


def _shares(rig: Rig, compiled: Compiled, seconds: float) -> dict[str, float]:
    active = compiled.fullest
    rig.state, shares = measure_shares(
        rig.experiment,
        rig.state,
        rig.frozen,
        rig.batch(rig.experiment.batch_size),
        compiled.programs[active],
        active,
        rig.mesh,
        seconds,
    )
    return shares


def _frozen_arrays(
    experiment: Experiment, inputs: Mapping[str, ArraySpec], mesh: Any, say: Say
) -> Tree:
    """Arrays like those of the frozen networks: what they hold makes nothing faster."""
    shapes = frozen_shapes(experiment, dict(inputs))
    if not shapes:
        return {}
    say(f"frozen networks hold noise: {', '.join(shapes)}")
    where = shardings(shapes, mesh)
    where |= dict.fromkeys(config.find_owners(experiment), replicated(mesh))

    def make():
        leaves, tree = jax.tree.flatten(shapes)
        keys = jax.random.split(make_key(0), len(leaves))
        made = [
            0.02 * jax.random.normal(k, s.shape, s.dtype)
            if jnp.issubdtype(s.dtype, jnp.floating)
            else jnp.zeros(s.shape, s.dtype)
            for k, s in zip(keys, leaves, strict=True)
        ]
        return jax.tree.unflatten(tree, made)

    return jax.jit(make, out_shardings=where)()


def devices_here() -> dict[str, Any]:
    """The "device" of the document: `measure` uses all that there are."""
    devices = devices_at_hand()
    cores = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
        "cores": len(cores),
    }


def _header(rig: Rig, compiled: Compiled, real: bool) -> dict[str, Any]:
    experiment = rig.experiment
    return {
        "schema": SCHEMA,
        "versions": {
            "vqjax": __version__,
            "jax": jax.__version__,
            "python": platform.python_version(),
        },
        "device": devices_here(),
        "data": "real" if real else "synthetic",
        "batch_size": experiment.batch_size,
        "compute_dtype": experiment.compute_dtype,
        "parameters": footprint_of(experiment, rig.inputs).total,
        "active": [list(active) for active in compiled.turn],
        "compile": {
            "trace_seconds": compiled.trace_seconds,
            "seconds": compiled.seconds,
            "cached": compiled.cached,
        },
    }


def _rates(rig: Rig, steps: np.ndarray) -> dict[str, Any]:
    rate = rig.experiment.batch_size / float(np.mean(steps))
    tokens = footprint_of(rig.experiment, rig.inputs).tokens
    return {
        "examples_per_second": rate,
        "examples_per_second_per_device": rate / rig.mesh.size,
        "tokens_per_second": rate * tokens if tokens else None,
        "steps": len(steps),
        "seconds": {"mean": float(np.mean(steps)), **percentiles(steps)},
    }


def _memory(compiled: Compiled) -> dict[str, Any]:
    peak = measured_peak(jax.local_devices())
    if peak is not None:
        return {"bytes": peak, "of": "device"}
    return {"bytes": compiled.bytes, "of": "program"}


def _flops(rig: Rig, compiled: Compiled, rate: float) -> dict[str, Any]:
    device, dtype = rig.mesh.devices.flat[0], rig.experiment.compute_dtype
    peak, size = peak_flops(device.device_kind, dtype), product_size(device.platform)
    peak_is = "data sheet" if peak else f"measured product of {size} x {size} matrices"
    # The devices that a host's processor pretends to be share its cores.
    count = 1 if device.platform == "cpu" else rig.mesh.size
    peak = (peak or product_flops(device, dtype)) * count
    per_second = compiled.flops * rate / rig.experiment.batch_size
    return {
        "formula": compiled.flops,
        "xla": compiled.xla_flops,
        "per_second": per_second,
        "peak": peak,
        "peak_is": peak_is,
        "share": per_second / peak,
    }


def _latencies(rig: Rig, seconds: float) -> dict[str, dict[str, float]]:
    """Of one example, from an array of the host to one of the host, on one device."""
    task, device = rig.experiment.network_task(), rig.mesh.devices.flat[0]
    x = noise(rig.inputs, 1).get(task.inputs)
    if x is None:  # it learns from tokens, which nobody hands over one by one
        return {}
    calls = run_class(task).single_calls(task, x.shape[1:])
    arrays = jax.device_put((rig.state.params, rig.state.collections), device)
    found, given = {}, x
    for name, call in calls.items():
        program = jax.jit(call)
        found[name] = _latency(program, arrays, given, seconds / len(calls))
        given = jax.device_get(program(*arrays, given))
    return found


def _latency(call: Callable, arrays: tuple[Tree, ...], given: Any, seconds: float) -> dict:
    times: list[float] = []
    least, most = LATENCY_CALLS
    jax.device_get(call(*arrays, given))
    end = time.perf_counter() + seconds
    while len(times) < least or (len(times) < most and time.perf_counter() < end):
        started = time.perf_counter()
        jax.device_get(call(*arrays, given))
        times.append(time.perf_counter() - started)
    return percentiles(times, (50, 99))


def _precisions(rig: Rig, seconds: float, say: Say) -> dict[str, Any]:
    """The same step in both, which take turns."""
    compiled, batches, steps = {}, rig.batches(rig.experiment.batch_size), {}
    for dtype in PRECISIONS:
        say(f"compiling the step in {dtype}")
        other = dataclasses.replace(rig.experiment, compute_dtype=dtype)
        compiled[dtype] = compile_steps(other, rig.inputs, rig.frozen, rig.mesh)
    for _ in range(2):
        for dtype in PRECISIONS:
            say(f"timing the step in {dtype}")
            found = rig.time_steps(compiled[dtype], batches, seconds / 4)
            steps[dtype] = np.concatenate([steps.get(dtype, found[:0]), found])
    return {dtype: _rates(rig, found) for dtype, found in steps.items()}


def _on_noise(
    rig: Rig, compiled: Compiled, found: Mapping[str, Any], wishes: Wishes, say: Say
) -> dict[str, Any]:
    """The rates of the step as larger batches can be compared with: on noise."""
    if not wishes.real:
        return found["step"]
    say("timing the step on noise")
    batches = rig.batches(rig.experiment.batch_size)
    return _rates(rig, rig.time_steps(compiled, batches, wishes.seconds / 2))


def _sweep(rig: Rig, step: dict[str, Any], seconds: float, say: Say) -> dict[str, Any]:
    """Doubles the batch, of noise, until it is not worth it, or the memory does not hold it."""
    size, rate = rig.experiment.batch_size, step["examples_per_second"]
    rows = [{"batch_size": size, "examples_per_second": rate, "seconds": step["seconds"]["p50"]}]
    knee = size
    while True:
        size *= 2
        say(f"batch size {size}")
        larger = dataclasses.replace(rig.experiment, batch_size=size)
        try:
            compiled = compile_steps(larger, rig.inputs, rig.frozen, rig.mesh)
            steps = rig.time_steps(compiled, rig.batches(size), seconds)
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE" not in str(error):
                raise
            rows.append({"batch_size": size, "examples_per_second": None, "seconds": None})
            break
        rate = size / float(np.mean(steps))
        rows.append(
            {"batch_size": size, "examples_per_second": rate, "seconds": float(np.median(steps))}
        )
        if rate < IMPROVES * rows[-2]["examples_per_second"]:
            break
        knee = size
    return {"sweep": rows, "knee": knee}
