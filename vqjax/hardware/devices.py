"""Devices of machines that are not at hand: what a compiler needs to know of a TPU slice or a GPU
host, and the links between their devices.
"""

import dataclasses
import importlib.util
from collections.abc import Sequence
from typing import Any

from vqjax.extras import pip_install
from vqjax.hardware.chips import chip_of
from vqjax.hardware.roofline import CollectiveGroup
from vqjax.hardware.topology import GPUS_PER_HOST, Topology
from vqjax.types import UsageError

EXTRAS = {"tpu": "compile-tpu", "gpu": "compile-gpu"}


def check_compiler(topology: Topology) -> None:
    """Refuses, with UsageError that names the extra, a topology whose compiler is not installed."""
    platform = topology.chip.platform
    if platform == "tpu":
        installed = _installed("libtpu")
    else:
        installed = _installed("jax_plugins.xla_cuda12") or _installed("jax_plugins.xla_cuda13")
    if not installed:
        raise UsageError(
            f"--topology {topology.name}: the compiler for it is not installed: "
            f"{pip_install(EXTRAS[platform])} (best into an environment of its own)"
        )


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of its parent package
        return False


def devices_of(topology: Topology) -> list[Any]:
    """Descriptions of a topology's devices; a mesh of them can be compiled for, not run on.

    Raises:
        UsageError: the compiler is not installed, or refuses the topology.
    """
    check_compiler(topology)
    from jax.experimental import topologies

    try:
        if topology.chip.platform == "gpu":
            # Partitions x hosts x devices of a host.
            hosts = topology.hosts * topology.slices
            description = topologies.get_topology_desc(
                platform="cuda",
                topology=f"1x{hosts}x{min(topology.shape[0], GPUS_PER_HOST)}",
                target_config=target_config(topology),
            )
        else:
            options = {"num_slices": topology.slices} if topology.slices > 1 else {}
            if set(topology.shape) == {1}:
                options["chips_per_host_bounds"] = (1, 1, 1)
            description = topologies.get_topology_desc(
                platform="tpu", topology_name=topology.name, **options
            )
    except Exception as error:  # of the plugin, whatever its class
        text = " ".join(str(error).split())[:300]
        raise UsageError(f"--topology {topology}: its compiler refuses it: {text}") from error
    return list(description.devices)


def target_config(topology: Topology) -> str:
    """A GPU as XLA's `GpuTargetConfigProto`, in text.

    `device_memory_size` is the real one: it decides what is rematerialized.
    """
    chip = topology.chip
    fields = dict(chip.target)
    major, minor = fields.pop("major"), fields.pop("minor")
    fields |= {
        "threads_per_block_limit": 1024,
        "threads_per_warp": 32,
        "shared_memory_per_block": 49152,
        "block_dim_limit_x": 2147483647,
        "block_dim_limit_y": 65535,
        "block_dim_limit_z": 65535,
        "registers_per_core_limit": 65536,
        "registers_per_block_limit": 65536,
        "memory_bandwidth": int(chip.memory_bandwidth),
        "device_memory_size": int(chip.memory),
    }
    numbers = " ".join(f"{name}: {value}" for name, value in fields.items())
    capability = f"cuda_compute_capability {{ major: {major} minor: {minor} }}"
    return (
        f"gpu_device_info {{ {numbers} {capability} }} "
        'runtime_version { major: 12 minor: 8 patch: 0 } platform_name: "CUDA" '
        f'dnn_version_info {{ major: 9 minor: 7 }} device_description_str: "{chip.device_kind}"'
    )


def topology_of(devices: Sequence[Any]) -> Topology | None:
    """The topology of devices at hand; None where the table has no such chip."""
    chip = chip_of(devices[0].device_kind)
    if chip is None:
        return None
    if chip.platform == "gpu":
        return Topology(chip, (len(devices),))
    slices = len({_slice(d) for d in devices})
    coords = [d.coords[: len(chip.largest)] for d in devices]
    shape = tuple(max(axis) - min(axis) + 1 for axis in zip(*coords, strict=True))
    topology = Topology(chip, shape, slices)
    per_chip = max(1, len(devices) // topology.chips)
    return dataclasses.replace(topology, chip=dataclasses.replace(chip, devices=per_chip))


def _slice(device: Any) -> int:
    return getattr(device, "slice_index", None) or 0


def group_of(group: Sequence[Any], topology: Topology) -> CollectiveGroup:
    """The links that a group of a topology's devices uses."""
    if topology.chip.platform == "gpu":
        hosts = len({d.process_index for d in group})
        return CollectiveGroup(len(group) // hosts, hosts)
    slices = len({_slice(d) for d in group})
    sides = []
    for axis, size in enumerate(topology.shape):
        chips = len({d.coords[axis] for d in group})
        if chips > 1:
            sides.append((chips, chips == size and topology.wraps(axis)))
    return CollectiveGroup(
        len(group) // slices,
        slices,
        tuple(chips for chips, _ in sides),
        tuple(ring for _, ring in sides),
    )
