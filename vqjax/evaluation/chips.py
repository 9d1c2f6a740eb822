"""What chips can do, by their data sheets; `parse_topology`: so many of them, laid out so.

A *chip* is what is bought and what a data sheet describes: a TPU chip, a GPU. A *device* is what
JAX counts and what one copy of a program runs on. They differ on v4 TPUs, whose chips are two
devices each when a program is compiled ahead of time.

Memory is what a program can have: of TPUs what their compiler offers (libtpu 0.0.42), of L4 and T4
fifteen sixteenths of the data sheet's, the rest being ECC's, of other GPUs what XLA's files say.
Latencies are assumptions but for a TPU's hop (SCALING_BOOK).
"""

import dataclasses
import math
import re
from collections.abc import Mapping

from vqjax.arguments import got, whole
from vqjax.types import UsageError, did_you_mean

GIB = 2**30
GPUS_PER_HOST = 8
MAX_CHIPS = 2**17
MAX_LETTERS = 40  # of a topology
TPU_DOCS = "https://docs.cloud.google.com/tpu/docs/"
XLA_SPECS = "https://github.com/openxla/xla/tree/main/xla/backends/gpu/target_config/specs"
SCALING_BOOK = "https://jax-ml.github.io/scaling-book/"
# What JAX may call devices besides `Chip.device_kind`.
OTHER_KINDS = {"TPU v5e": "TPU v5 lite", "TPU v5p": "TPU v5", "TPU v6e": "TPU v6 lite"}


@dataclasses.dataclass(frozen=True)
class Chip:
    """One chip's numbers, per chip (not per device).

    Attributes:
        name: as in `--topology`.
        platform: "tpu" or "gpu".
        device_kind: what JAX calls its devices.
        peak: {precision (`vqjax.evaluation.flops`): FLOP/s} of dense matrix products.
        memory: bytes that a program can use.
        memory_bandwidth: bytes/s.
        link: bytes/s that one link to other chips carries each way.
        links: of a chip.
        hop_latency: seconds from chip to neighbour; of GPUs, per step of a ring, an assumption.
        network: bytes/s of one chip each way to chips of other slices; None: not known.
        network_latency: seconds from slice to slice, an assumption.
        devices: per chip.
        sources: addresses of what the numbers were read from.
        forms: of TPU slices that are no multiples of 4 in all directions; () for GPUs.
        largest: slice of TPUs.
        target: fields of the GPU that its compiler asks for.
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
    """TPUs multiply in bfloat16; float32 as it comes is one pass of it, exact float32 six."""
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
        # From compute capability 8 on, 1 KiB of it is the driver's.
        "shared_memory_per_block_optin": shared - 1024 if major >= 8 else shared,
        "threads_per_core_limit": 2048,
    }
    return {**fields, **rest}


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
            memory_bandwidth=1.555e12, link=25e9, links=12, network=25e9,
            target=_sm(8, 0, 108, 64, 1.41, 41943040, 167936),
            sources=(
                "https://www.nvidia.com/en-us/data-center/a100/",
                "https://docs.nvidia.com/dgx/dgxa100-user-guide/",
                XLA_SPECS,
            ),
        ),
        _gpu(
            "a100-80gb", "NVIDIA A100-SXM4-80GB", (312e12, 156e12, 19.5e12), 85100068864,
            memory_bandwidth=2.039e12, link=25e9, links=12, network=25e9,
            target=_sm(8, 0, 108, 64, 1.41, 41943040, 167936),
            sources=(
                "https://www.nvidia.com/en-us/data-center/a100/",
                "https://docs.nvidia.com/dgx/dgxa100-user-guide/",
                XLA_SPECS,
            ),
        ),
        _gpu(
            "l4", "NVIDIA L4", (121e12, 60e12, 30.3e12), 22.5 * GIB,
            memory_bandwidth=300e9, link=32e9, links=1, network=None,
            target=_sm(
                8, 9, 58, 128, 2.04, 50331648, 102400, threads_per_core_limit=1536
            ),
            sources=("https://www.nvidia.com/en-us/data-center/l4/",),
        ),
        # No tensor core of it takes bfloat16: XLA computes it in float32.
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


@dataclasses.dataclass(frozen=True)
class Topology:
    """Chips laid out.

    Attributes:
        chip: of which kind.
        shape: of one slice, in chips: of a TPU slice along its torus, of GPUs (number,).
        slices: with the slower network between them.
    """

    chip: Chip
    shape: tuple[int, ...]
    slices: int = 1

    @property
    def chips(self) -> int:
        return math.prod(self.shape) * self.slices

    @property
    def devices(self) -> int:
        return self.chips * self.chip.devices

    @property
    def name(self) -> str:
        """As `--topology` takes it, of one slice."""
        if self.chip.platform == "gpu":
            return self.chip.name + (f"x{self.shape[0]}" if self.shape[0] > 1 else "")
        return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"

    @property
    def hosts(self) -> int:
        """Of one slice of GPUs."""
        return -(-self.shape[0] // GPUS_PER_HOST)

    def wraps(self, axis: int) -> bool:
        """Whether a TPU slice's links close to a ring along an axis: from 4 chips on in a slice
        that is a multiple of 4 x 4 x 4, and along 16 chips of those that are flat.
        """
        if len(self.shape) == 2:
            return self.shape[axis] == 16
        return all(size % 4 == 0 for size in self.shape)

    def __str__(self) -> str:
        return f"{self.slices} x {self.name}" if self.slices > 1 else self.name


def parse_topology(text: str, slices: int = 1) -> Topology:
    """ "v5e:16x16", "v5p:4x4x4", "h100x8", "t4" -> what it stands for.

    Raises:
        UsageError: no such chip or form. It is found out here, because the TPU compiler ends the
            process over a name that it does not know.
    """
    if not isinstance(text, str) or len(text) > MAX_LETTERS:
        raise UsageError(f"--topology {got(text)}: wanted a text such as v5e:16x16")
    slices = whole("slices", slices)
    kind, colon, form = text.strip().lower().partition(":")
    if not colon and (gpus := re.fullmatch(r"(.+?)x(\d+)", kind)):
        kind, form = gpus.groups()
    if kind not in CHIPS:
        raise UsageError(f"--topology {text}: {did_you_mean(kind, CHIPS)}")
    chip = CHIPS[kind]
    if slices < 1:
        raise UsageError(f"--slices {slices}: at least 1 is needed")
    if slices > 1 and chip.network is None:
        raise UsageError(f"--slices {slices}: the network between slices of {kind} is not known")
    shape = _gpu_shape(text, form) if chip.platform == "gpu" else _tpu_shape(text, chip, form)
    found = Topology(chip, shape, slices)
    if chip.platform == "gpu" and found.hosts > 1 and chip.network is None:
        raise UsageError(f"--topology {text}: the network between hosts of {kind} is not known")
    if found.chips > MAX_CHIPS:
        raise UsageError(f"--topology {text}: {found.chips:,} chips are more than {MAX_CHIPS:,}")
    return found


def _gpu_shape(text: str, form: str) -> tuple[int, ...]:
    number = int(form) if form.isdecimal() else 0
    if form and not number:
        raise UsageError(f"--topology {text}: give a number of GPUs, such as h100x8")
    number = number or 1
    if number > GPUS_PER_HOST and number % GPUS_PER_HOST:
        raise UsageError(
            f"--topology {text}: hosts have {GPUS_PER_HOST} GPUs: give 1 to {GPUS_PER_HOST}, or a "
            f"multiple of {GPUS_PER_HOST}"
        )
    return (number,)


def _tpu_shape(text: str, chip: Chip, form: str) -> tuple[int, ...]:
    words = form.split("x")
    shape = tuple(int(word) for word in words) if all(w.isdecimal() for w in words) else ()
    cubes = len(chip.largest) == 3 and len(shape) == 3 and all(n and n % 4 == 0 for n in shape)
    fits = cubes and all(n <= m for n, m in zip(shape, chip.largest, strict=True))
    if shape in chip.forms or (fits and list(shape) == sorted(shape)):
        return shape
    forms = ", ".join("x".join(map(str, f)) for f in chip.forms)
    more = ""
    if len(chip.largest) == 3:
        more = f", AxBxC with A <= B <= C, multiples of 4 up to {'x'.join(map(str, chip.largest))}"
    raise UsageError(f"--topology {text}: slices of {chip.name} are {forms}{more}")


def chip_of(device_kind: str) -> Chip | None:
    """The chip whose devices JAX calls so; None: it is not in the table."""
    kind = OTHER_KINDS.get(device_kind, device_kind)
    return next((chip for chip in CHIPS.values() if chip.device_kind == kind), None)


def of_so_many(chip: Chip, chips: int) -> Topology:
    """The usual layout of so many chips, in slices where one does not hold them.

    Raises:
        UsageError: there is none.
    """
    if chip.platform == "gpu":
        return parse_topology(f"{chip.name}x{chips}")
    if chips > MAX_CHIPS:
        raise UsageError(f"{chips:,} chips of {chip.name} are more than {MAX_CHIPS:,}")
    most = math.prod(chip.largest)
    sizes = {math.prod(form): form for form in chip.forms}
    if len(chip.largest) == 3:
        cubes = [
            (a, b, c)
            for a in range(4, chip.largest[0] + 1, 4)
            for b in range(a, chip.largest[1] + 1, 4)
            for c in range(b, chip.largest[2] + 1, 4)
        ]
        # The most even one of each size.
        sizes |= {math.prod(s): s for s in sorted(cubes, key=lambda s: s[2] / s[0], reverse=True)}
    if chips in sizes:
        return Topology(chip, sizes[chips])
    slices = next((n for n in range(2, chips + 1) if chips % n == 0 and chips // n in sizes), 0)
    if chips < most or not slices or chip.network is None:
        near = ", ".join(map(str, sorted(sizes, key=lambda n: abs(n - chips))[:3]))
        raise UsageError(f"{chips} chips of {chip.name}: no slice has so many (near: {near})")
    return Topology(chip, sizes[chips // slices], slices)
