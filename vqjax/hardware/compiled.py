"""The real train step, compiled for a mesh whose devices need not be there: its memory and work."""

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
# Without a GPU to tune on, XLA may find no tiles at all for a matrix product written in Triton.
GPU_OPTIONS = {"xla_gpu_enable_triton_gemm": False}
# How the TPU compiler reports main memory; of VMEM it reports likewise.
_EXCEEDS = re.compile(r"\(([\d.]+)([KMGT]?)\) exceeds available HBM\b")
_USED = re.compile(r"Used ([\d.]+)([KMGT]?) of [\d.]+[KMGT]? hbm\b")
POWERS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of one device.

    Attributes:
        arguments: state, frozen networks, batch.
        temporaries: at their peak.
        results: those that do not alias an argument.
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
    """A compiled step. Where the compiler refused it for lack of memory, `memory` is None and
    `required` a lower bound of the bytes that a device would need.

    Attributes:
        topology: None: the chip is not in the table (a CPU).
        mesh: {axis: devices along it}.
        slices: of the mesh.
        batch_size: over all devices.
        active: the program's players and loss terms; `programs`: how many the run has in all.
        compute_dtype: of the experiment.
        flops: {precision: of a step, over all devices}.
        bytes_moved: to and from one device's main memory.
        collectives: each with the links of its groups (None: not known).
        unknown_loops: loops of unknown trip count, which count once.
        xla_counts: FLOPs and bytes of one device by the compiler's count, where there is one.
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
    required: float
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
        return self.memory.total if self.memory else self.required

    @property
    def fits(self) -> bool | None:
        """None: not known."""
        if self.memory is None:
            return False
        return None if self.capacity is None else self.needed <= self.capacity

    @property
    def roofline(self) -> Roofline | None:
        """None: it did not compile, or the chips or the network between them are not known."""
        if self.topology is None or self.memory is None:
            return None
        over_network = any(group and group.slices > 1 for _, group in self.collectives)
        if over_network and self.topology.chip.network is None:
            return None
        return roofline(
            self.topology,
            self.flops_per_device,
            self.bytes_moved,
            [(c, group) for c, group in self.collectives if group is not None],
            self.batch_size,
        )

    def by_kind(self) -> dict[str, dict[str, float]]:
        """{kind: {"operations", "runs" and "bytes" of a step}}."""
        kinds: dict = collections.defaultdict(lambda: {"operations": 0, "runs": 0, "bytes": 0.0})
        for collective, _ in self.collectives:
            entry = kinds[collective_kind(collective)]
            entry["operations"] += 1
            entry["runs"] += collective.times
            entry["bytes"] += collective.times * collective.bytes
        return dict(sorted(kinds.items()))


def collective_kind(collective: hlo.Collective) -> str:
    """Its kind in tables and JSON."""
    return f"{collective.kind} between slices" if collective.between else collective.kind


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
        else {"total": step.required},
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
    """Shapes of the frozen networks, replicated on the mesh."""
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
    """Compiles the one of a run's programs in which the most players move and most terms count.

    Args:
        experiment: to train.
        inputs: `ArraySpec` of one example.
        mesh: of devices, or of their descriptions.
        topology: of the devices; None: not known.
        say: called with lines of progress.

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
    target = str(topology) if topology else f"{mesh.size} x {mesh.devices.flat[0].device_kind}"
    say(f"compiling for {target} (started {time.strftime('%H:%M')})")
    started = time.perf_counter()
    options = GPU_OPTIONS if topology and topology.chip.platform == "gpu" else None
    compiled, required = _compile(lowered, options)
    compile_seconds = time.perf_counter() - started
    analysis = _analysis(compiled, mesh, topology) if compiled else _no_analysis()
    return CompiledStep(
        topology=topology,
        mesh=dict(mesh.shape),
        slices=experiment.mesh.slices,
        batch_size=experiment.batch_size,
        active=active,
        programs=len(firsts),
        compute_dtype=experiment.compute_dtype,
        flops=flops,
        required=required,
        trace_seconds=trace_seconds,
        compile_seconds=compile_seconds,
        **analysis,
    )


def _compile(lowered: Any, options: Mapping[str, Any] | None) -> tuple[Any, float]:
    """The program; or None, and the bytes of a device that it would need."""
    try:
        return lowered.compile(compiler_options=options), 0.0
    except jax.errors.JaxRuntimeError as error:
        text = str(error)
        size = _EXCEEDS.search(text) or _USED.search(text)
        if "RESOURCE_EXHAUSTED" not in text or not size:
            raise
        return None, float(size[1]) * 2.0 ** POWERS[size[2]]


def _no_analysis() -> dict[str, Any]:
    return {
        "memory": None, "bytes_moved": 0.0, "collectives": (), "unknown_loops": 0, "xla_counts": {},
    }  # fmt: skip


def _analysis(compiled: Any, mesh: Mesh, topology: Topology | None) -> dict[str, Any]:
    sizes = compiled.memory_analysis()
    program = hlo.parse(compiled.as_text())
    platform = topology.chip.platform if topology else "cpu"
    devices = list(mesh.devices.flat)

    def group_along(collective: hlo.Collective) -> CollectiveGroup | None:
        if topology is None:
            return None
        if collective.between:
            return CollectiveGroup(1, topology.slices)
        return group_of([devices[i] for i in collective.group] or devices, topology)

    return {
        "memory": Memory(
            arguments=sizes.argument_size_in_bytes,
            temporaries=sizes.temp_size_in_bytes,
            results=sizes.output_size_in_bytes - sizes.alias_size_in_bytes,
            program=sizes.generated_code_size_in_bytes,
        ),
        "bytes_moved": program.bytes_moved(ON_CHIP[platform]),
        "collectives": tuple(
            (collective, group_along(collective)) for collective in program.collectives()
        ),
        "unknown_loops": program.unknown_loops,
        "xla_counts": _xla_counts(compiled),
    }


def _xla_counts(compiled: Any) -> dict[str, float]:
    """The compiler's own counts; nothing for GPUs."""
    try:
        counts = compiled.cost_analysis()
    except Exception:  # not implemented; the class of the exception is the plugin's choice
        return {}
    counts = counts[0] if isinstance(counts, list) else counts
    names = {"flops": "flops", "bytes accessed": "bytes_moved"}
    return {field: counts[name] for name, field in names.items() if name in (counts or {})}
