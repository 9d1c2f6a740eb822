"""How fast a step could be: pure arithmetic on its work and the chips' peaks.

Per device, with the table of `vqjax.hardware.chips`:

    compute       sum over precisions of FLOPs / peak
    memory        bytes moved / memory bandwidth
    interconnect  sum of the collectives within a slice
    network       their part between slices

    step          compute + memory + interconnect + network: nothing overlaps
    at best       the largest of the four: all overlap
    bound         which of the four is the largest
    MFU           FLOPs / (step x peak of bfloat16)

A collective of an array of B bytes (`hlo.Collective`) over n devices of a slice, through links of W
bytes/s and h hops, rings in both directions where the links close to a ring:

    all-gather, reduce-scatter   (n-1)/n B / W + h t
    all-reduce                   2 ((n-1)/n B / W + h t): a reduce-scatter, then an all-gather
    all-to-all                   (n-1)/n B / W x max(1, s/4) + h t, with s chips along the longest
                                 side of a torus: the bisection is the bottleneck
    permute, broadcast           B / W + h t

Over S slices each device exchanges B/n with its peers in the other slices, at the network's
bandwidth N of one device, in a tree: (S-1)/S (B/n) / N + log2(S) T, twice for an all-reduce.

Approximations: a group uses the links of the torus's directions along which its chips differ, and
shares them with no other; GPUs of a host are connected by a switch, hosts of GPUs by the network. A
collective of one device costs nothing.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from vqjax.hardware.hlo import Collective
from vqjax.hardware.topology import GPUS_PER_HOST, Topology

TWICE = ("all-reduce",)
WHOLE = ("collective-permute", "collective-broadcast")
PARTS = ("compute", "memory", "interconnect", "network")


@dataclasses.dataclass(frozen=True)
class CollectiveGroup:
    """The links that a group of devices uses.

    Attributes:
        devices: of the group within a slice (of GPUs: within a host).
        slices: over which it extends (of GPUs: hosts).
        sides: chips along each direction of the torus in which they differ.
        rings: whether the links close along each of them.
    """

    devices: int
    slices: int = 1
    sides: tuple[int, ...] = ()
    rings: tuple[bool, ...] = ()


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Seconds of one step; see the module."""

    compute: float
    memory: float
    interconnect: float
    network: float
    mfu: float
    examples_per_second: float

    @property
    def step(self) -> float:
        return sum(getattr(self, part) for part in PARTS)

    @property
    def at_best(self) -> float:
        return max(getattr(self, part) for part in PARTS)

    @property
    def bound(self) -> str:
        return max(PARTS, key=lambda part: getattr(self, part))


def group_of_all(topology: Topology, devices: int | None = None) -> CollectiveGroup:
    """The group of all devices of a topology, or of a number of adjacent ones."""
    chip, count = topology.chip, devices or topology.devices
    if chip.platform == "gpu":
        per_slice = min(topology.shape[0], GPUS_PER_HOST)
        return CollectiveGroup(min(count, per_slice), max(1, count // per_slice))
    per_slice = math.prod(topology.shape) * chip.devices
    sides = [(n, topology.wraps(axis)) for axis, n in enumerate(topology.shape) if n > 1]
    if count < per_slice:  # as few directions as hold them
        used, chips = [], max(1, count // chip.devices)
        for side, ring in sides:
            if chips > 1:
                used.append((min(side, chips), ring and chips >= side))
                chips = math.ceil(chips / side)
        sides = used
    return CollectiveGroup(
        min(count, per_slice),
        max(1, count // per_slice),
        tuple(n for n, _ in sides),
        tuple(ring for _, ring in sides),
    )


def seconds_of(
    collective: Collective, group: CollectiveGroup, topology: Topology
) -> tuple[float, float]:
    """(within a slice, between slices) of one run of a collective."""
    chip, n = topology.chip, group.devices
    turns = 2 if collective.kind in TWICE else 1
    share = 1.0 if collective.kind in WHOLE else (n - 1) / n
    within = between = 0.0
    if n > 1:
        if chip.platform == "gpu":
            width, hops, crowding = chip.link * chip.links, n - 1, 1.0
        else:
            directions = [2 if ring else 1 for ring in group.rings] or [1]
            width = chip.link * sum(directions) / chip.devices
            hops = sum(
                side // 2 if ring else side - 1
                for side, ring in zip(group.sides, group.rings, strict=True)
            )
            crowding = max(1.0, max(group.sides, default=1) / 4)
        if collective.kind not in ("all-to-all", "ragged-all-to-all"):
            crowding = 1.0
        within = turns * (share * collective.bytes / width * crowding + hops * chip.hop_latency)
    if group.slices > 1:
        s, rate = group.slices, (chip.network or math.nan) / chip.devices
        share = 1.0 if collective.kind in WHOLE else (s - 1) / s
        part = collective.bytes if collective.kind in WHOLE else collective.bytes / n
        between = turns * (share * part / rate + math.log2(s) * chip.network_latency)
    return within, between


def roofline(
    topology: Topology,
    flops: Mapping[str, float],
    bytes_moved: float,
    collectives: Sequence[tuple[Collective, CollectiveGroup]],
    batch_size: int,
) -> Roofline:
    """Computes a step's time.

    Args:
        topology: of all devices.
        flops: {precision: of one device}.
        bytes_moved: to and from one device's memory.
        collectives: each with the links of its groups.
        batch_size: over all devices.
    """
    chip = topology.chip
    compute = sum(n / (chip.peak[precision] / chip.devices) for precision, n in flops.items())
    memory = bytes_moved / (chip.memory_bandwidth / chip.devices)
    interconnect = network = 0.0
    for collective, group in collectives:
        within, between = seconds_of(collective, group, topology)
        interconnect += collective.times * within
        network += collective.times * between
    step = compute + memory + interconnect + network
    peak = chip.peak["bfloat16"] / chip.devices
    mfu = sum(flops.values()) / (step * peak) if step else 0.0
    rate = batch_size / step if step else 0.0
    return Roofline(compute, memory, interconnect, network, mfu, rate)
