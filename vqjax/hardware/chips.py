"""Peaks, memory and links of chips, by their data sheets.

A *chip* is what a data sheet describes: a TPU chip, a GPU. A *device* is what JAX counts and what
one copy of a program runs on. They differ on v4 TPUs, whose chips are two devices each when a
program is compiled ahead of time.

Memory is what a program can use: of TPUs what their compiler allows (libtpu 0.0.42), of L4 and T4
fifteen sixteenths of the data sheet's, the rest being ECC's, of other GPUs what XLA's files say.
Latencies are assumptions, except for a TPU's hop (SCALING_BOOK).
"""

import dataclasses
from collections.abc import Mapping

GIB = 2**30
TPU_DOCS = "https://docs.cloud.google.com/tpu/docs/"
XLA_SPECS = "https://github.com/openxla/xla/tree/main/xla/backends/gpu/target_config/specs"
SCALING_BOOK = "https://jax-ml.github.io/scaling-book/"
# Other names by which JAX may call devices, beside `Chip.device_kind`.
OTHER_KINDS = {"TPU v5e": "TPU v5 lite", "TPU v5p": "TPU v5", "TPU v6e": "TPU v6 lite"}


@dataclasses.dataclass(frozen=True)
class Chip:
    """One chip's numbers, per chip (not per device).

    Attributes:
        name: as in `--topology`.
        platform: "tpu" or "gpu".
        device_kind: JAX's name for its devices.
        peak: {precision (`vqjax.hardware.flops`): FLOP/s} of dense matrix products.
        memory: bytes that a program can use.
        memory_bandwidth: bytes/s.
        link: bytes/s of one link to other chips, each way.
        links: of a chip.
        hop_latency: seconds from chip to neighbour; of GPUs, per step of a ring, an assumption.
        network: bytes/s of one chip each way to chips of other slices; None: not known.
        network_latency: seconds from slice to slice, an assumption.
        devices: per chip.
        sources: addresses of the pages that the numbers are from.
        forms: of TPU slices that are no multiples of 4 in all directions; () for GPUs.
        largest: slice of TPUs.
        target: fields of the GPU that its compiler needs.
    """

    name: str
    platform: str
    device_kind: str
    peak: Mapping[str, float]
    memory: float
    memory_bandwidth: float
    link: float
    links: int
    hop_latency: float
    network: float | None
    sources: tuple[str, ...]
    network_latency: float = 1e-5
    devices: int = 1
    forms: tuple[tuple[int, ...], ...] = ()
    largest: tuple[int, ...] = ()
    target: Mapping[str, float] = dataclasses.field(default_factory=dict)


def _tpu(name: str, kind: str, bf16: float, memory: float, **rest) -> Chip:
    """TPUs multiply in bfloat16: float32 by default in one pass of it, exact float32 in six."""
    peak = {"bfloat16": bf16, "float32": bf16, "float32 exact": bf16 / 6}
    return Chip(name, "tpu", kind, peak, memory, hop_latency=1e-6, **rest)


def _gpu(name: str, kind: str, peaks: tuple[float, float, float], memory: float, **rest) -> Chip:
    peak = dict(zip(("bfloat16", "float32", "float32 exact"), peaks, strict=True))
    return Chip(name, "gpu", kind, peak, memory, hop_latency=2e-6, **rest)


_FLAT = ((1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16))
_DEEP = ((1, 1, 1), (2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4))


def _sm(major: int, minor: int, cores: int, units: int, clock: float, l2: int, shared: int, **rest):
    """Numbers of a GPU's multiprocessors, as CUDA's tables have them."""
    fields = {
        "major": major,
        "minor": minor,
        "core_count": cores,
        "fpus_per_core": units,
        "clock_rate_ghz": clock,
        "l2_cache_size": l2,
        "shared_memory_per_core": shared,
        # From compute capability 8 on, the driver reserves 1 KiB of it.
        "shared_memory_per_block_optin": shared - 1024 if major >= 8 else shared,
        "threads_per_core_limit": 2048,
    }
    return {**fields, **rest}


_A100 = {  # of either memory
    "link": 25e9,
    "links": 12,
    "network": 25e9,
    "target": _sm(8, 0, 108, 64, 1.41, 41943040, 167936),
    "sources": (
        "https://www.nvidia.com/en-us/data-center/a100/",
        "https://docs.nvidia.com/dgx/dgxa100-user-guide/",
        XLA_SPECS,
    ),
}
CHIPS: dict[str, Chip] = {
    chip.name: chip
    for chip in (
        _tpu(
            "v4", "TPU v4", 275e12, 30.5 * GIB,
            memory_bandwidth=1200e9, link=50e9, links=6, network=None, devices=2,
            forms=_DEEP, largest=(12, 16, 16),
            sources=(TPU_DOCS + "v4", "https://arxiv.org/abs/2304.01433"),
        ),
        _tpu(
            "v5e", "TPU v5 lite", 197e12, 15.75 * GIB,
            memory_bandwidth=819e9, link=50e9, links=4, network=3.125e9,
            forms=_FLAT, largest=(16, 16), sources=(TPU_DOCS + "v5e",),
        ),
        _tpu(
            "v5p", "TPU v5", 459e12, 95.74 * GIB,
            memory_bandwidth=2765e9, link=100e9, links=6, network=6.25e9,
            forms=_DEEP, largest=(16, 16, 24), sources=(TPU_DOCS + "v5p",),
        ),
        _tpu(
            "v6e", "TPU v6 lite", 918e12, 31.25 * GIB,
            memory_bandwidth=1638e9, link=100e9, links=4, network=12.5e9,
            forms=_FLAT, largest=(16, 16), sources=(TPU_DOCS + "v6e", SCALING_BOOK + "tpus"),
        ),
        _gpu(
            "h100", "NVIDIA H100 80GB HBM3", (989e12, 495e12, 67e12), 84929347584,
            memory_bandwidth=3.352e12, link=25e9, links=18, network=50e9,
            target=_sm(9, 0, 132, 128, 1.98, 52428800, 233472),
            sources=(
                "https://www.nvidia.com/en-us/data-center/h100/",
                "https://docs.nvidia.com/dgx/dgxh100-user-guide/",
                XLA_SPECS,
            ),
        ),
        _gpu(
            "a100", "NVIDIA A100-SXM4-40GB", (312e12, 156e12, 19.5e12), 42331013120,
            memory_bandwidth=1.555e12, **_A100,
        ),
        _gpu(
            "a100-80gb", "NVIDIA A100-SXM4-80GB", (312e12, 156e12, 19.5e12), 85100068864,
            memory_bandwidth=2.039e12, **_A100,
        ),
        _gpu(
            "l4", "NVIDIA L4", (121e12, 60e12, 30.3e12), 22.5 * GIB,
            memory_bandwidth=300e9, link=32e9, links=1, network=None,
            target=_sm(
                8, 9, 58, 128, 2.04, 50331648, 102400, threads_per_core_limit=1536
            ),
            sources=("https://www.nvidia.com/en-us/data-center/l4/",),
        ),
        # Its tensor cores do not support bfloat16: XLA computes it in float32.
        _gpu(
            "t4", "Tesla T4", (8.1e12, 8.1e12, 8.1e12), 15 * GIB,
            memory_bandwidth=320e9, link=16e9, links=1, network=None,
            target=_sm(
                7, 5, 40, 64, 1.59, 4194304, 65536, threads_per_core_limit=1024
            ),
            sources=("https://www.nvidia.com/en-us/data-center/tesla-t4/",),
        ),
        _gpu(
            "v100", "Tesla V100-SXM2-16GB", (15.7e12, 15.7e12, 15.7e12), 16935682048,
            memory_bandwidth=898e9, link=25e9, links=6, network=None,
            target=_sm(7, 0, 80, 64, 1.53, 6291456, 98304),
            sources=("https://www.nvidia.com/en-us/data-center/v100/", XLA_SPECS),
        ),
    )
}  # fmt: skip


def chip_of(device_kind: str) -> Chip | None:
    """The chip whose devices JAX calls `device_kind`; None: it is not in the table."""
    kind = OTHER_KINDS.get(device_kind, device_kind)
    return next((chip for chip in CHIPS.values() if chip.device_kind == kind), None)
