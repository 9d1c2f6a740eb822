"""`parse_topology`: a number of chips and their layout."""

import dataclasses
import math
import re

from vqjax.arguments import got, whole
from vqjax.hardware.chips import CHIPS, Chip
from vqjax.types import UsageError, did_you_mean

GPUS_PER_HOST = 8
MAX_CHIPS = 2**17
MAX_LENGTH = 40  # characters of a topology


@dataclasses.dataclass(frozen=True)
class Topology:
    """Chips and their layout.

    Attributes:
        chip: their kind.
        shape: of one slice, in chips: of a TPU slice along its torus, of GPUs (number,).
        slices: connected by the slower network.
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
        """As given to `--topology`, of one slice."""
        if self.chip.platform == "gpu":
            return self.chip.name + (f"x{self.shape[0]}" if self.shape[0] > 1 else "")
        return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"

    @property
    def hosts(self) -> int:
        """Hosts of one slice of GPUs."""
        return -(-self.shape[0] // GPUS_PER_HOST)

    def wraps(self, axis: int) -> bool:
        """Whether a TPU slice's links close to a ring along an axis: in a slice that is a multiple
        of 4 x 4 x 4, and along 16 chips of a flat one.
        """
        if len(self.shape) == 2:
            return self.shape[axis] == 16
        return all(size % 4 == 0 for size in self.shape)

    def __str__(self) -> str:
        return f"{self.slices} x {self.name}" if self.slices > 1 else self.name


def parse_topology(text: str, slices: int = 1) -> Topology:
    """ "v5e:16x16", "v5p:4x4x4", "h100x8", "t4" -> the topology.

    Raises:
        UsageError: no such chip or form. It is checked here, because the TPU compiler ends the
            process on an unknown name.
    """
    if not isinstance(text, str) or len(text) > MAX_LENGTH:
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
    topology = Topology(chip, shape, slices)
    if chip.platform == "gpu" and topology.hosts > 1 and chip.network is None:
        raise UsageError(f"--topology {text}: the network between hosts of {kind} is not known")
    if topology.chips > MAX_CHIPS:
        raise UsageError(f"--topology {text}: {topology.chips:,} chips are more than {MAX_CHIPS:,}")
    return topology


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


def default_topology(chip: Chip, chips: int) -> Topology:
    """The usual layout of a number of chips, in slices where one does not hold them.

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
        nearest = ", ".join(map(str, sorted(sizes, key=lambda n: abs(n - chips))[:3]))
        raise UsageError(f"{chips} chips of {chip.name}: no slice has so many (near: {nearest})")
    return Topology(chip, sizes[chips // slices], slices)
