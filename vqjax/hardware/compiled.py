"""The real train step, compiled for a mesh whose devices need not be there: what it needs and what
it does.
"""

import collections
import dataclasses
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from vqjax.hardware import hlo
from vqjax.hardware.devices import group_of
from vqjax.hardware.flops import flops_of
from vqjax.hardware.roofline import PARTS, CollectiveGroup, Roofline, roofline
from vqjax.hardware.topology import Topology
from vqjax.training.experiment import Experiment
from vqjax.training.frozen import frozen_shapes
from vqjax.training.programs import trace_programs
from vqjax.training.sharding import check_batch_size, replicated
from vqjax.training.step import patterns
from vqjax.types import ArraySpec, Tree

ON_CHIP = {"tpu": (1,), "gpu": (), "cpu": ()}  # memory spaces that are not main memory
# Without a card to try them on, XLA may find no tiles at all for a product written in Triton.
GPU_OPTIONS = {"xla_gpu_enable_triton_gemm": False}
# How the TPU compiler says what it wants of main memory; of its vmem it speaks likewise.
_EXCEEDS = re.compile(r"\(([\d.]+)([KMGT]?)\) exceeds available HBM\b")
_USED = re.compile(r"Used ([\d.]+)([KMGT]?) of [\d.]+[KMGT]? hbm\b")
POWERS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of one device.

    Attributes:
        arguments: state, frozen networks, batch.
        temporaries: at their peak.
        results: those that do not take an argument's place.
        program: its code.
    """

    arguments: int
    temporaries: int
    results: int
    program: int

    @property
    def total(self) -> int:
        return self.arguments + self.temporaries + self.results + self.program


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """What is known of a compiled step. Where a compiler refused it for want of memory, `memory` is
    None and `wanted` says how many bytes it wanted of a device, at least.

    Attributes:
        topology: None: no chip of the table (a CPU).
        mesh: {axis: devices along it}.
        slices: of the mesh.
        batch_size: over all devices.
        active: the program's players and loss terms; `programs`: how many the run has in all.
        compute_dtype: of the experiment.
        flops: {precision: of a step, over all devices}.
        bytes_moved: to and from one device's main memory.
        collectives: each with the way its groups talk (None: not known).
        unknown_loops: that count once.
        xla_counts: FLOPs and bytes of one device by the compiler's count, where it gives any.
    """

    topology: Topology | None
    mesh: dict[str, int]
    slices: int
    batch_size: int
    active: tuple[str, ...]
    programs: int
    compute_dtype: str
    flops: dict[str, float]
    memory: Memory | None
    wanted: float
    bytes_moved: float
    collectives: tuple[tuple[hlo.Collective, CollectiveGroup | None], ...]
    unknown_loops: int
    xla_counts: dict[str, float]
    trace_seconds: float
    compile_seconds: float

    @property
    def devices(self) -> int:
        size = 1
        for along in self.mesh.values():
            size *= along
        return size

    @property
    def flops_per_device(self) -> dict[str, float]:
        return {precision: n / self.devices for precision, n in self.flops.items()}

    @property
    def capacity(self) -> float | None:
        """Bytes that a device has."""
        chip = self.topology and self.topology.chip
        return chip.memory / chip.devices if chip else None

    @property
    def needed(self) -> float:
        """Bytes that a device needs."""
        return self.memory.total if self.memory else self.wanted

    @property
    def fits(self) -> bool | None:
        """None: not known."""
        if self.memory is None:
            return False
        return None if self.capacity is None else self.needed <= self.capacity

    @property
    def roofline(self) -> Roofline | None:
        """None: it does not compile, or the chips or the network between them are not known."""
        if self.topology is None or self.memory is None:
            return None
        over_network = any(group and group.slices > 1 for _, group in self.collectives)
        if over_network and self.topology.chip.network is None:
            return None
        return roofline(
            self.topology,
            self.flops_per_device,
            self.bytes_moved,
            [(c, r) for c, r in self.collectives if r is not None],
            self.batch_size,
        )

    def by_kind(self) -> dict[str, dict[str, float]]:
        """{kind: {"operations", "runs" and "bytes" of a step}}."""
        found: dict = collections.defaultdict(lambda: {"operations": 0, "runs": 0, "bytes": 0.0})
        for one, _ in self.collectives:
            entry = found[kind_of(one)]
            entry["operations"] += 1
            entry["runs"] += one.times
            entry["bytes"] += one.times * one.bytes
        return dict(sorted(found.items()))


def kind_of(one: hlo.Collective) -> str:
    """As it is listed."""
    return f"{one.kind} between slices" if one.between else one.kind


def step_json(step: CompiledStep) -> dict[str, Any]:
    """Everything of a compiled step, for JSON; sizes in bytes, times in seconds."""
    line = step.roofline
    topology = step.topology
    return {
        "topology": str(topology) if topology else None,
        "chips": topology.chips if topology else None,
        "devices": step.devices,
        "mesh": step.mesh,
        "slices": step.slices,
        "batch_size": step.batch_size,
        "active": list(step.active),
        "programs": step.programs,
        "compute_dtype": step.compute_dtype,
        "memory_per_device": {**vars(step.memory), "total": step.memory.total}
        if step.memory
        else {"total": step.wanted},
        "memory_of_device": step.capacity,
        "fits": step.fits,
        "flops": step.flops,
        "flops_per_device": step.flops_per_device,
        "bytes_moved_per_device": step.bytes_moved,
        "compiler_says": step.xla_counts,
        "collectives": step.by_kind(),
        "largest_collectives": [
            {**dataclasses.asdict(c), "group": len(c.group) or step.slices}
            for c, _ in sorted(step.collectives, key=lambda p: -p[0].bytes * p[0].times)[:20]
        ],
        "loops_of_unknown_length": step.unknown_loops,
        "roofline": {
            **{part: getattr(line, part) for part in PARTS},
            "step": line.step,
            "at_best": line.at_best,
            "bound": line.bound,
            "examples_per_second": line.examples_per_second,
            "mfu": line.mfu,
        }
        if line
        else None,
        "chip": dataclasses.asdict(topology.chip) if topology else None,
        "trace_seconds": round(step.trace_seconds, 2),
        "compile_seconds": round(step.compile_seconds, 2),
        "jax": jax.__version__,
    }


def frozen_target(experiment: Experiment, inputs: Mapping[str, ArraySpec], mesh: Mesh) -> Tree:
    """Shapes of the frozen networks, with a whole copy on every device of the mesh."""
    return jax.tree.map(
        lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=replicated(mesh)),
        frozen_shapes(experiment, dict(inputs)),
    )


def compile_step(
    experiment: Experiment,
    inputs: Mapping[str, ArraySpec],
    mesh: Mesh,
    topology: Topology | None,
    say: Callable[[str], None] = lambda line: None,
) -> CompiledStep:
    """Compiles that of a run's programs in which the most players move and the most terms count.

    Args:
        experiment: to train.
        inputs: `ArraySpec` of one example.
        mesh: of devices, or of what stands for them.
        topology: what they are; None: not known.
        say: is given lines of progress.

    Raises:
        UsageError: the batch does not divide over the mesh.
    """
    check_batch_size("batch_size", experiment.batch_size, experiment.accumulate, mesh)
    firsts = patterns(experiment, 0, experiment.total_steps)
    say("tracing the step")
    started = time.perf_counter()
    frozen = frozen_target(experiment, inputs, mesh)
    active = max(firsts, key=lambda a: (len(a), firsts[a]))
    program = trace_programs(experiment, inputs, frozen, mesh, firsts[active])[active]
    flops = flops_of(program.jaxpr)
    lowered = program.lower()
    trace_seconds = time.perf_counter() - started
    where = str(topology) if topology else f"{mesh.size} x {mesh.devices.flat[0].device_kind}"
    say(f"compiling for {where} (started {time.strftime('%H:%M')})")
    started = time.perf_counter()
    options = GPU_OPTIONS if topology and topology.chip.platform == "gpu" else None
    compiled, wanted = _compiled(lowered, options)
    compile_seconds = time.perf_counter() - started
    facts = _facts(compiled, mesh, topology) if compiled else _nothing()
    return CompiledStep(
        topology=topology,
        mesh=dict(mesh.shape),
        slices=experiment.mesh.slices,
        batch_size=experiment.batch_size,
        active=active,
        programs=len(firsts),
        compute_dtype=experiment.compute_dtype,
        flops=flops,
        wanted=wanted,
        trace_seconds=trace_seconds,
        compile_seconds=compile_seconds,
        **facts,
    )


def _compiled(lowered: Any, options: Mapping[str, Any] | None) -> tuple[Any, float]:
    """The program; or None, and the bytes of a device that it wants."""
    try:
        return lowered.compile(compiler_options=options), 0.0
    except jax.errors.JaxRuntimeError as error:
        text = str(error)
        found = _EXCEEDS.search(text) or _USED.search(text)
        if "RESOURCE_EXHAUSTED" not in text or not found:
            raise
        return None, float(found[1]) * 2.0 ** POWERS[found[2]]


def _nothing() -> dict[str, Any]:
    return {
        "memory": None, "bytes_moved": 0.0, "collectives": (), "unknown_loops": 0, "xla_counts": {},
    }  # fmt: skip


def _facts(compiled: Any, mesh: Mesh, topology: Topology | None) -> dict[str, Any]:
    sizes = compiled.memory_analysis()
    program = hlo.parse(compiled.as_text())
    platform = topology.chip.platform if topology else "cpu"
    devices = list(mesh.devices.flat)

    def group_along(one: hlo.Collective) -> CollectiveGroup | None:
        if topology is None:
            return None
        if one.between:
            return CollectiveGroup(1, topology.slices)
        return group_of([devices[i] for i in one.group] or devices, topology)

    return {
        "memory": Memory(
            arguments=sizes.argument_size_in_bytes,
            temporaries=sizes.temp_size_in_bytes,
            results=sizes.output_size_in_bytes - sizes.alias_size_in_bytes,
            program=sizes.generated_code_size_in_bytes,
        ),
        "bytes_moved": program.bytes_moved(ON_CHIP[platform]),
        "collectives": tuple((one, group_along(one)) for one in program.collectives()),
        "unknown_loops": program.unknown_loops,
        "xla_counts": _xla_counts(compiled),
    }


def _xla_counts(compiled: Any) -> dict[str, float]:
    """What the compiler counts itself; nothing for GPUs."""
    try:
        counts = compiled.cost_analysis()
    except Exception:  # not implemented, by whatever exception the plugin has for it
        return {}
    counts = counts[0] if isinstance(counts, list) else counts
    names = {"flops": "flops", "bytes accessed": "bytes_moved"}
    return {ours: counts[name] for name, ours in names.items() if name in (counts or {})}
