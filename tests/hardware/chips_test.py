"""Names of machines: what is taken, what is refused before a compiler sees it, and their layout."""

import pytest

from vqjax.benchmark.peak import peak_flops
from vqjax.hardware.chips import CHIPS, chip_of
from vqjax.hardware.topology import default_topology, parse_topology
from vqjax.types import UsageError


@pytest.mark.parametrize(
    ("text", "chips", "devices"),
    [
        ("v5e:1x1", 1, 1),
        ("v5e:16x16", 256, 256),
        ("V5P:4x4x8", 128, 128),
        ("v5p:16x16x16", 4096, 4096),
        ("v4:2x2x1", 4, 8),  # two devices a chip
        ("t4", 1, 1),
        ("h100x8", 8, 8),
        ("h100x16", 16, 16),
        ("a100-80gbx4", 4, 4),
    ],
)
def test_topologies(text, chips, devices):
    found = parse_topology(text)
    assert (found.chips, found.devices) == (chips, devices)
    assert found.name == text.lower()


def test_slices():
    found = parse_topology("v5e:16x16", slices=4)
    assert found.chips == 1024 and str(found) == "4 x v5e:16x16" and found.name == "v5e:16x16"


@pytest.mark.parametrize(
    ("text", "slices", "line"),
    [
        ("v5", 1, "did you mean"),
        ("v5e", 1, "slices of v5e are 1x1, 2x2, 2x4"),
        ("v5e:3x5", 1, "slices of v5e are"),
        ("v5e:16x32", 1, "slices of v5e are"),
        ("v5p:4x4", 1, "AxBxC with A <= B <= C, multiples of 4 up to 16x16x24"),
        ("v5p:8x4x4", 1, "A <= B <= C"),
        ("v5e:2x", 1, "slices of v5e are"),
        ("h100:many", 1, "give a number of GPUs"),
        ("h100x12", 1, "a multiple of 8"),
        ("h100x0", 1, "give a number of GPUs"),
        ("v5e:2x2", 0, "--slices 0"),
        ("t4", 2, "network between slices of t4 is not known"),
        ("l4x16", 1, "--topology l4x16: the network between hosts of l4 is not known"),
        ("", 1, "valid: a100"),
    ],
)
def test_refused(text, slices, line):
    with pytest.raises(UsageError, match=line):
        parse_topology(text, slices)


@pytest.mark.parametrize(
    ("kind", "chips", "name"),
    [
        ("v5e", 1, "v5e:1x1"),
        ("v5e", 8, "v5e:2x4"),
        ("v5e", 512, "2 x v5e:16x16"),
        ("v5p", 64, "v5p:4x4x4"),
        ("v5p", 512, "v5p:8x8x8"),  # the most even one
        ("v5p", 4096, "v5p:16x16x16"),
        ("h100", 64, "h100x64"),
    ],
)
def test_so_many_chips(kind, chips, name):
    assert str(default_topology(CHIPS[kind], chips)) == name


def test_numbers_of_chips_that_no_slice_has():
    with pytest.raises(UsageError, match=r"7 chips of v5e: no slice has so many \(near: 8, 4, 2|1"):
        default_topology(CHIPS["v5e"], 7)
    with pytest.raises(UsageError, match="network between hosts of v100 is not known"):
        default_topology(CHIPS["v100"], 64)
    with pytest.raises(UsageError, match="131,073 chips of v5p are more than 131,072"):
        default_topology(CHIPS["v5p"], 2**17 + 1)


def test_rings():
    assert [parse_topology("v5e:8x16").wraps(axis) for axis in (0, 1)] == [False, True]
    assert parse_topology("v5p:4x4x4").wraps(0) and not parse_topology("v5p:2x4x4").wraps(1)


def test_every_number_has_a_source():
    for chip in CHIPS.values():
        assert chip.sources and all(s.startswith("https://") for s in chip.sources)
        assert chip_of(chip.device_kind) is chip
    assert chip_of("cpu") is None
    for name in ("v5e", "v5p", "v6e"):
        assert chip_of(f"TPU {name}") is CHIPS[name]


def test_a_device_at_hand_is_a_whole_chip():
    assert peak_flops("TPU v4", "bfloat16") == 275e12
    assert peak_flops("NVIDIA H100 80GB HBM3", "float64") == 67e12
    assert peak_flops("cpu", "float64") is None
