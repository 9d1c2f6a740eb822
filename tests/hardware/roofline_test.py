"""The arithmetic, by hand."""

import math
from types import SimpleNamespace

import pytest

from vqjax.hardware.devices import group_of, target_config, topology_of
from vqjax.hardware.hlo import Collective
from vqjax.hardware.roofline import CollectiveGroup, group_of_all, roofline, seconds_of
from vqjax.hardware.topology import parse_topology

MB = 1e6


def one(kind, size=8 * MB, times=1):
    return Collective(kind, size, (), times)


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        ("all-gather", 3 / 4 * 8 * MB / 100e9 + 2e-6),  # two directions of 50 GB/s, two hops
        ("reduce-scatter", 3 / 4 * 8 * MB / 100e9 + 2e-6),
        ("all-reduce", 2 * (3 / 4 * 8 * MB / 100e9 + 2e-6)),
        ("all-to-all", 3 / 4 * 8 * MB / 100e9 + 2e-6),
        ("collective-permute", 8 * MB / 100e9 + 2e-6),
    ],
)
def test_collectives_of_four_chips(kind, seconds):
    topology = parse_topology("v5e:2x2")
    within, between = seconds_of(one(kind), group_of_all(topology), topology)
    assert within == pytest.approx(seconds) and between == 0.0


def test_rings_carry_both_ways():
    topology = parse_topology("v5e:16x16")
    within, _ = seconds_of(one("all-gather"), group_of_all(topology), topology)
    assert within == pytest.approx(255 / 256 * 8 * MB / 200e9 + 16e-6)
    crowded, _ = seconds_of(one("all-to-all"), group_of_all(topology), topology)
    assert crowded == pytest.approx(4 * 255 / 256 * 8 * MB / 200e9 + 16e-6)


def test_between_slices():
    topology = parse_topology("v5e:4x4", slices=4)
    reach = group_of_all(topology)
    assert (reach.devices, reach.slices) == (16, 4)
    _, between = seconds_of(one("all-reduce"), reach, topology)
    assert between == pytest.approx(2 * (3 / 4 * (8 * MB / 16) / 3.125e9 + 2e-5))


def test_gpus_of_several_hosts():
    topology = parse_topology("h100x16")
    reach = group_of_all(topology)
    assert (reach.devices, reach.slices) == (8, 2)
    within, between = seconds_of(one("all-gather"), reach, topology)
    assert within == pytest.approx(7 / 8 * 8 * MB / 450e9 + 7 * 2e-6)
    assert between == pytest.approx(1 / 2 * MB / 50e9 + 1e-5)


def test_two_devices_share_a_chip():
    """Each has half of the chip's peak, memory bandwidth and links."""
    topology = parse_topology("v4:2x2x1")
    line = roofline(topology, {"bfloat16": 275e9}, 1.2e9, [], batch_size=10)
    assert line.compute == pytest.approx(2e-3) and line.memory == pytest.approx(2e-3)
    within, _ = seconds_of(one("all-gather"), group_of_all(topology), topology)
    assert within == pytest.approx(7 / 8 * 8 * MB / (100e9 / 2) + 2e-6)


def test_a_step_by_hand():
    topology = parse_topology("v5e:2x2")
    gathers = [(one("all-gather", times=10), group_of_all(topology))]
    flops = {"float32": 197e9, "float32 exact": 197e9}
    line = roofline(topology, flops, 819e6, gathers, batch_size=64)
    assert line.compute == pytest.approx(7e-3) and line.memory == pytest.approx(1e-3)
    assert line.interconnect == pytest.approx(10 * 62e-6) and line.network == 0.0
    assert line.step == pytest.approx(7e-3 + 1e-3 + 620e-6) and line.at_best == line.compute
    assert line.bound == "compute" and line.examples_per_second == pytest.approx(64 / line.step)
    assert line.mfu == pytest.approx(2e-3 / line.step)


def test_a_device_alone_says_nothing():
    assert seconds_of(one("all-reduce"), CollectiveGroup(1), parse_topology("t4")) == (0.0, 0.0)


def device(*coords, slice_index=0, process=0):
    return SimpleNamespace(
        coords=coords, slice_index=slice_index, process_index=process, device_kind="TPU v5 lite"
    )


def test_the_way_of_a_group_by_its_places():
    topology = parse_topology("v5e:16x16", slices=2)
    row = [device(0, y, 0) for y in range(16)]
    assert group_of(row, topology) == CollectiveGroup(16, 1, (16,), (True,))
    square = [device(x, y, 0) for x in range(2) for y in range(2)]
    assert group_of(square, topology) == CollectiveGroup(4, 1, (2, 2), (False, False))
    across = [device(0, 0, 0, slice_index=s) for s in range(2)]
    assert group_of(across, topology) == CollectiveGroup(1, 2)
    gpus = [device(process=p) for p in (0, 0, 1, 1)]
    assert group_of(gpus, parse_topology("h100x16")) == CollectiveGroup(2, 2)


def test_what_devices_at_hand_are():
    slices = [device(x, y, 0, slice_index=s) for s in range(2) for x in range(2) for y in range(4)]
    assert str(topology_of(slices)) == "2 x v5e:2x4"
    assert topology_of([SimpleNamespace(device_kind="cpu")]) is None
    v4 = [SimpleNamespace(coords=(x, y, 0), device_kind="TPU v4") for x in (0, 1) for y in (0, 1)]
    assert [topology_of(d).devices for d in (v4, v4 * 2)] == [4, 8]


def test_a_gpu_as_its_compiler_wants_it():
    text = target_config(parse_topology("h100x8"))
    for part in ("core_count: 132", "device_memory_size: 84929347584", "{ major: 9 minor: 0 }"):
        assert part in text
    assert math.isclose(text.count("{"), text.count("}"))
    for name, size in (("h100", 232448), ("l4", 101376), ("t4", 65536), ("v100", 98304)):
        assert f"block_optin: {size} " in target_config(parse_topology(name)), name
