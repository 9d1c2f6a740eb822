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
    latency          {encode: {p50, p99}, decode: ...}: seconds from host to host, one example; of
                     "stream" one piece of one stream
    sound            {step, encode, decode, stream}: seconds of sound in a second: of the training
                     step, and by the medians of `latency`
    precisions       {float32: {...}, bfloat16: {...}}, as `step`
    sweep            [{batch_size, examples_per_second, seconds}, ...], always on noise, and `knee`,
                     a batch size; the numbers of a batch that memory does not hold are null

What was not requested, or cannot be measured, is absent. Seconds are of a monotonic clock.
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
from vqjax.benchmark.steps import Compiled, Workload, compile_steps, measured_peak, noise
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
class BenchmarkOptions:
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
    options: BenchmarkOptions = BenchmarkOptions(),
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Measures an experiment on all devices.

    Args:
        experiment: with its frozen runs (`resolve_for_shapes`).
        inputs: `ArraySpec` of one example.
        say: is called with a line on what is measured next.

    Returns:
        The document above, without "command" and "experiment".

    Raises:
        UsageError: settings that cannot work.
        DataError: real data that is not at hand.
    """
    experiment.check()
    run_class(experiment.task)
    experiment.task.check(inputs)
    if options.real:
        experiment.data.check()
    mesh = make_mesh(None, experiment.mesh)
    say("compiling the step")
    frozen = _frozen_arrays(experiment, inputs, mesh, say)
    compiled = compile_steps(experiment, inputs, frozen, mesh)
    state = initial_state(experiment, dict(inputs), mesh)
    workload = Workload(experiment, inputs, mesh, frozen, state)
    result = _header(workload, compiled, options.real) | _step_measurements(
        workload, compiled, options, say
    )
    if options.trace is not None:
        say("tracing some steps")
        with jax.profiler.trace(options.trace):
            workload.time_steps(compiled, workload.batches(experiment.batch_size), seconds=0.0)
    say("timing its parts")
    result["shares"] = _shares(workload, compiled, options.seconds)
    say("timing single examples")
    if latency := _latencies(workload, options.seconds / 5):
        result["latency"] = latency
    if sound := _sound(workload, result):
        result["sound"] = sound
    if options.precisions:
        result["precisions"] = _precisions(workload, options.seconds, say)
    if options.sweep:
        step = _on_noise(workload, compiled, result["step"], options, say)
        result |= _sweep(workload, step, options.seconds / 2, say)
    return result


def _step_measurements(
    workload: Workload, compiled: Compiled, options: BenchmarkOptions, say: Say
) -> dict[str, Any]:
    """What the step itself shows, before anything else runs: peak memory is the process's."""
    say(f"timing the step for {options.seconds:g} s")
    result: dict[str, Any] = {}
    if options.real:
        source = workload.time_source(options.seconds / 3)
        steps, wait = workload.time_real_steps(compiled, options.seconds)
        result["input"] = wait | source
    else:
        batches = workload.batches(workload.experiment.batch_size)
        steps = workload.time_steps(compiled, batches, options.seconds)
    step = _rates(workload, steps)
    result |= {"step": step, "memory": _memory(compiled)}
    return result | {"flops": _flops(workload, compiled, step["examples_per_second"])}


def _shares(workload: Workload, compiled: Compiled, seconds: float) -> dict[str, float]:
    active = compiled.fullest
    workload.state, shares = measure_shares(
        workload.experiment,
        workload.state,
        workload.frozen,
        workload.batch(workload.experiment.batch_size),
        compiled.programs[active],
        active,
        workload.mesh,
        seconds,
    )
    return shares


def _frozen_arrays(
    experiment: Experiment, inputs: Mapping[str, ArraySpec], mesh: Any, say: Say
) -> Tree:
    """Random arrays of the frozen networks' shapes: values make nothing faster or slower."""
    shapes = frozen_shapes(experiment, dict(inputs))
    if not shapes:
        return {}
    say(f"frozen networks have random weights here: {', '.join(shapes)} (only speed is measured)")
    layout = shardings(shapes, mesh)
    layout |= dict.fromkeys(config.find_owners(experiment), replicated(mesh))

    def make():
        leaves, tree = jax.tree.flatten(shapes)
        keys = jax.random.split(make_key(0), len(leaves))
        arrays = [
            0.02 * jax.random.normal(k, s.shape, s.dtype)
            if jnp.issubdtype(s.dtype, jnp.floating)
            else jnp.zeros(s.shape, s.dtype)
            for k, s in zip(keys, leaves, strict=True)
        ]
        return jax.tree.unflatten(tree, arrays)

    return jax.jit(make, out_shardings=layout)()


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


def _header(workload: Workload, compiled: Compiled, real: bool) -> dict[str, Any]:
    experiment = workload.experiment
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
        "parameters": footprint_of(experiment, workload.inputs).total,
        "active": [list(active) for active in compiled.turn],
        "compile": {
            "trace_seconds": compiled.trace_seconds,
            "seconds": compiled.seconds,
            "cached": compiled.cached,
        },
    }


def _rates(workload: Workload, steps: np.ndarray) -> dict[str, Any]:
    rate = workload.experiment.batch_size / float(np.mean(steps))
    tokens = footprint_of(workload.experiment, workload.inputs).tokens
    return {
        "examples_per_second": rate,
        "examples_per_second_per_device": rate / workload.mesh.size,
        "tokens_per_second": rate * tokens if tokens else None,
        "steps": len(steps),
        "seconds": {"mean": float(np.mean(steps)), **percentiles(steps)},
    }


def _memory(compiled: Compiled) -> dict[str, Any]:
    peak = measured_peak(jax.local_devices())
    if peak is not None:
        return {"bytes": peak, "of": "device"}
    return {"bytes": compiled.bytes, "of": "program"}


def _flops(workload: Workload, compiled: Compiled, rate: float) -> dict[str, Any]:
    device, dtype = workload.mesh.devices.flat[0], workload.experiment.compute_dtype
    peak, size = peak_flops(device.device_kind, dtype), product_size(device.platform)
    peak_is = "data sheet" if peak else f"measured product of {size} x {size} matrices"
    # The devices that a host's processor pretends to be share its cores.
    count = 1 if device.platform == "cpu" else workload.mesh.size
    peak = (peak or product_flops(device, dtype)) * count
    per_second = compiled.flops * rate / workload.experiment.batch_size
    return {
        "formula": compiled.flops,
        "xla": compiled.xla_flops,
        "per_second": per_second,
        "peak": peak,
        "peak_is": peak_is,
        "share": per_second / peak,
    }


def _latencies(workload: Workload, seconds: float) -> dict[str, dict[str, float]]:
    """Of one example, from an array of the host to one of the host, on one device."""
    task, device = workload.experiment.network_task(), workload.mesh.devices.flat[0]
    x = noise(workload.inputs, 1).get(task.inputs)
    if x is None:  # it learns from tokens: there is no example to time
        return {}
    calls = run_class(task).single_calls(task, x.shape[1:])
    arrays = jax.device_put((workload.state.params, workload.state.collections), device)
    latencies, argument = {}, x
    for name, call in calls.items():
        program = jax.jit(call)
        latencies[name] = _latency(program, arrays, argument, seconds / len(calls))
        argument = jax.device_get(program(*arrays, argument))
    return latencies


def _sound(workload: Workload, result: Mapping[str, Any]) -> dict[str, float]:
    """How many seconds of sound are worked on in a second; {} of what is no sound."""
    task = workload.experiment.network_task()
    spec = workload.inputs.get(task.inputs)
    calls = {} if spec is None else run_class(task).seconds_of_calls(task, spec)
    if not calls:
        return {}
    step = result["step"]["examples_per_second"] * spec.shape[0] / spec.rate
    medians = {name: times["p50"] for name, times in result.get("latency", {}).items()}
    return {"step": step} | {k: calls[k] / seconds for k, seconds in medians.items() if k in calls}


def _latency(call: Callable, arrays: tuple[Tree, ...], argument: Any, seconds: float) -> dict:
    times: list[float] = []
    least, most = LATENCY_CALLS
    jax.device_get(call(*arrays, argument))
    end = time.perf_counter() + seconds
    while len(times) < least or (len(times) < most and time.perf_counter() < end):
        started = time.perf_counter()
        jax.device_get(call(*arrays, argument))
        times.append(time.perf_counter() - started)
    return percentiles(times, (50, 99))


def _precisions(workload: Workload, seconds: float, say: Say) -> dict[str, Any]:
    """The same step in both, which take turns."""
    compiled, batches, steps = {}, workload.batches(workload.experiment.batch_size), {}
    for dtype in PRECISIONS:
        say(f"compiling the step in {dtype}")
        other = dataclasses.replace(workload.experiment, compute_dtype=dtype)
        compiled[dtype] = compile_steps(other, workload.inputs, workload.frozen, workload.mesh)
    for _ in range(2):
        for dtype in PRECISIONS:
            say(f"timing the step in {dtype}")
            new = workload.time_steps(compiled[dtype], batches, seconds / 4)
            steps[dtype] = np.concatenate([steps.get(dtype, new[:0]), new])
    return {dtype: _rates(workload, times) for dtype, times in steps.items()}


def _on_noise(
    workload: Workload,
    compiled: Compiled,
    step: dict[str, Any],
    options: BenchmarkOptions,
    say: Say,
) -> dict[str, Any]:
    """The rates of the step as larger batches can be compared with: on noise."""
    if not options.real:
        return step
    say("timing the step on noise")
    batches = workload.batches(workload.experiment.batch_size)
    return _rates(workload, workload.time_steps(compiled, batches, options.seconds / 2))


def _sweep(workload: Workload, step: dict[str, Any], seconds: float, say: Say) -> dict[str, Any]:
    """Doubles the batch, of noise, until it is not worth it, or the memory does not hold it."""
    size, rate = workload.experiment.batch_size, step["examples_per_second"]
    rows = [{"batch_size": size, "examples_per_second": rate, "seconds": step["seconds"]["p50"]}]
    knee = size
    while True:
        size *= 2
        say(f"batch size {size}")
        larger = dataclasses.replace(workload.experiment, batch_size=size)
        try:
            compiled = compile_steps(larger, workload.inputs, workload.frozen, workload.mesh)
            steps = workload.time_steps(compiled, workload.batches(size), seconds)
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
