"""Extrapolates from a few compiled steps: the largest batch that fits, and more chips."""

import dataclasses
import math
from collections.abc import Callable, Sequence

from vqjax.hardware.compiled import CompiledStep
from vqjax.hardware.roofline import CollectiveGroup, Roofline, group_of_all, roofline
from vqjax.hardware.topology import Topology
from vqjax.types import DATA_AXIS, UsageError

SLACK = 0.05  # of a device's memory that may stay empty
VERIFICATIONS = 4
Compile = Callable[[int], CompiledStep]  # batch size -> the step with it


@dataclasses.dataclass(frozen=True)
class BatchFit:
    """The line bytes(batch) = fixed + slope x batch of one device, through the first two batch
    sizes that compiled, and the batch that it led to.

    Attributes:
        fixed: bytes.
        slope: bytes per example of the whole batch; 0: only one compiled.
        tried: {batch size: bytes of a device} of every step that compiled.
        refused: batch sizes that the compiler refused.
        best: the step of the largest batch that was compiled and fits; None: none does.
    """

    fixed: float
    slope: float
    tried: dict[int, float]
    refused: tuple[int, ...]
    best: CompiledStep | None


def line_of(tried: dict[int, float]) -> tuple[float, float]:
    """(fixed, slope) of the line through the two largest batch sizes."""
    (low, a), (high, b) = sorted(tried.items())[-2:]
    slope = (b - a) / (high - low)
    return b - slope * high, slope


def largest_batch(fixed: float, slope: float, capacity: float, unit: int) -> int:
    """The largest multiple of `unit` with fixed + slope x batch <= capacity; 0: none.

    Raises:
        UsageError: memory does not grow with the batch.
    """
    if slope <= 0:
        raise UsageError("--fit-batch: memory does not grow with the batch here: try larger ones")
    return max(0, math.floor((capacity - fixed) / slope / unit)) * unit


def fit_batch(compile_at: Compile, start: int, unit: int) -> BatchFit:
    """Compiles two batch sizes, solves the line, and compiles its answer to verify it. Where that
    is too large, or leaves more than SLACK of the memory, the line is solved again with it.

    Args:
        compile_at: compiles the step.
        start: batch size to begin with; halved while it does not compile.
        unit: the batch size is a multiple of it.

    Raises:
        UsageError: nothing compiles, memory does not grow with the batch, or the device's is not
            known.
    """
    tried: dict[int, float] = {}
    refused: list[int] = []
    best, capacity = None, 0.0

    def attempt(size: int) -> CompiledStep:
        nonlocal best, capacity
        step = compile_at(size)
        if step.capacity is None:
            raise UsageError("--fit-batch: the memory of these devices is not known")
        capacity = step.capacity
        if step.memory is None:
            refused.append(size)
        else:
            tried[size] = step.needed
        if step.fits and (best is None or size > best.batch_size):
            best = step
        return step

    size = max(unit, start // unit * unit)
    while attempt(size).memory is None:
        if size == unit:
            raise UsageError(f"--fit-batch: not even batch_size={unit} compiles")
        size = max(unit, size // 2 // unit * unit)
    lower = size // 2 // unit * unit
    if 2 * size not in refused and not (refused and lower):
        attempt(2 * size)
    if len(tried) == 1 and lower:
        attempt(lower)
    if len(tried) == 1:
        return BatchFit(tried[size], 0.0, tried, tuple(refused), best)
    first = line_of(tried)
    for turn in range(VERIFICATIONS):
        line = line_of(tried)
        if turn and line[1] <= 0:  # of two close to the limit
            break
        size = largest_batch(*line, capacity, unit)
        # Close to the limit compilers trade work for memory, and the line bends.
        low = best.batch_size if best else 0
        over = (*refused, *(n for n, v in tried.items() if v > capacity))
        bounds = [(low + n) // 2 for n in over] + ([2 * low] if turn and low else [])
        size = min([size, *(n // unit * unit for n in bounds)])
        if size < unit or size in tried:
            break
        step = attempt(size)
        if step.fits and step.needed >= (1 - SLACK) * capacity:
            break
    return BatchFit(*first, tried, tuple(refused), best)


@dataclasses.dataclass(frozen=True)
class Point:
    """One size of a sweep.

    Attributes:
        topology: of so many chips.
        batch_size: over all devices.
        compiled: or extrapolated from one that was.
        memory: bytes of one device.
        fits: whether it has so many.
        roofline: of its step.
        efficiency: examples/s per chip against the smallest size.
    """

    topology: Topology
    batch_size: int
    compiled: bool
    memory: float
    fits: bool | None
    roofline: Roofline
    efficiency: float = 1.0


def extrapolate(base: CompiledStep, topology: Topology) -> tuple[int, Roofline]:
    """(batch size, roofline) of the `base` step on more chips, with the same batch per chip.

    A device's work stays the same; so do groups within an axis other than "data". Groups along
    "data" grow with the chips, and use the links of all directions.
    """
    factor = topology.devices / base.devices
    batch_size = round(base.batch_size * factor)
    replica = base.devices // base.mesh[DATA_AXIS]  # devices of one
    scaled = []
    for collective, group in base.collectives:
        if collective.between:
            scaled.append((collective, CollectiveGroup(1, topology.slices)))
            continue
        size = len(collective.group) or base.devices
        if _along_data(collective.group, replica, base.devices):
            group = group_of_all(topology, round(size * factor))
        scaled.append((collective, group or CollectiveGroup(1)))
    line = roofline(topology, base.flops_per_device, base.bytes_moved, scaled, batch_size)
    return batch_size, line


def _along_data(group: tuple[int, ...], replica: int, devices: int) -> bool:
    """Whether devices of a group differ along "data", the mesh's first axis."""
    return len({index // replica for index in group or range(devices)}) > 1


def sweep(
    topologies: Sequence[Topology],
    batch_per_chip: int,
    compile_on: Callable[[Topology, int], CompiledStep],
    compiled: int = 2,
) -> tuple[Point, ...]:
    """Weak scaling: the first `compiled` sizes compiled, the others extrapolated from the last.

    The last must have several devices: a step on one has no collectives to extrapolate.

    Args:
        topologies: in increasing order.
        compile_on: compiles the step for a topology, with a batch size.
    """
    points: list[Point] = []
    base: CompiledStep | None = None
    for index, topology in enumerate(topologies):
        batch_size = batch_per_chip * topology.chips
        if index < compiled or base is None or base.devices == 1:
            base = compile_on(topology, batch_size)
            if base.roofline is None:
                raise UsageError(f"--sweep: the step does not fit {topology}")
            line, is_compiled = base.roofline, True
        else:
            (_, line), is_compiled = extrapolate(base, topology), False
        points.append(Point(topology, batch_size, is_compiled, base.needed, base.fits, line))
    first = points[0].roofline.examples_per_second / points[0].topology.chips
    return tuple(
        dataclasses.replace(p, efficiency=p.roofline.examples_per_second / p.topology.chips / first)
        for p in points
    )
