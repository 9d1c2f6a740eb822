"""From a few compiled steps to the others, with steps that are made up."""

import json

import jax
import pytest

from vqjax.format import duration, quantity
from vqjax.hardware import compiled
from vqjax.hardware.chips import CHIPS
from vqjax.hardware.compiled import CompiledStep, Memory, step_json
from vqjax.hardware.hlo import Collective
from vqjax.hardware.roofline import CollectiveGroup, group_of_all
from vqjax.hardware.scaling import extrapolate, fit_batch, largest_batch, sweep
from vqjax.hardware.sweep_chart import sweep_svg, sweep_table
from vqjax.hardware.tables import notes, table
from vqjax.hardware.topology import Topology, default_topology, parse_topology
from vqjax.types import UsageError

GB = 10**9


def step(topology, batch_size, temporaries=0, collectives=(), refused=False, mesh=None):
    """A step with 1 GFLOP and 1 MB per example."""
    memory = None if refused else Memory(GB, int(temporaries), 0, 0)
    n = topology.devices
    return CompiledStep(
        topology=topology,
        mesh=mesh or {"data": n, "fsdp": 1, "tensor": 1},
        slices=topology.slices,
        batch_size=batch_size,
        active=("l1", "tokenizer"),
        programs=2,
        compute_dtype="float32",
        flops={"float32": 1e9 * batch_size},
        memory=memory,
        required=99.0 * GB if refused else 0.0,
        bytes_moved=1e6 * batch_size / n,
        collectives=tuple(collectives),
        unknown_loops=0,
        xla_counts={},
        trace_seconds=1.0,
        compile_seconds=2.0,
    )


def test_the_line_s_answer():
    assert largest_batch(fixed=1.0, slope=0.5, capacity=10.0, unit=4) == 16
    assert largest_batch(fixed=11.0, slope=0.5, capacity=10.0, unit=4) == 0
    with pytest.raises(UsageError, match="does not grow"):
        largest_batch(1.0, 0.0, 10.0, 1)


def compiles(bytes_of, refuse=lambda batch: False):
    tried = []

    def compile_at(batch_size):
        tried.append(batch_size)
        return step(
            parse_topology("t4"), batch_size, bytes_of(batch_size), refused=refuse(batch_size)
        )

    return compile_at, tried


def test_a_straight_line_needs_three_compiles():
    compile_at, tried = compiles(lambda b: 0.1 * GB * b)
    fit = fit_batch(compile_at, start=16, unit=8)
    assert tried == [16, 32, 144]  # 15 GiB less 1 GB over 0.1 GB, in eights
    assert fit.best.batch_size == 144 and fit.best.fits
    assert (fit.fixed, fit.slope) == (pytest.approx(GB), pytest.approx(0.1 * GB))


def test_a_bent_line_is_solved_again():
    compile_at, tried = compiles(lambda b: 0.2 * GB * b if b <= 16 else 0.05 * GB * b + 2.4 * GB)
    fit = fit_batch(compile_at, start=8, unit=1)
    assert len(tried) > 3 and fit.best.fits
    assert fit.best.capacity - fit.best.needed < 0.05 * fit.best.capacity


def test_what_the_compiler_refuses_is_not_asked_again():
    compile_at, tried = compiles(lambda b: 0.1 * GB * b, refuse=lambda b: b > 100)
    fit = fit_batch(compile_at, start=256, unit=1)
    assert fit.refused[:2] == (256, 128) and max(fit.tried) <= 100
    assert 64 <= fit.best.batch_size <= 100
    with pytest.raises(UsageError, match="not even batch_size=1"):
        fit_batch(compiles(lambda b: 0, refuse=lambda b: True)[0], start=4, unit=1)


def test_the_only_batch_that_compiles_is_the_answer():
    for start, refused in ((8, (16,)), (24, (24, 16)), (16, (16,))):
        compile_at, tried = compiles(lambda b: 0.1 * GB * b, refuse=lambda b: b > 8)
        fit = fit_batch(compile_at, start, unit=8)
        assert (fit.best.batch_size, fit.slope, fit.refused) == (8, 0.0, refused)
        assert len(tried) == len(set(tried))


def test_memory_that_shrinks_near_the_end_costs_no_answer():
    compile_at, _ = compiles({4: 2 * GB, 8: 4 * GB, 28: 3.9 * GB}.__getitem__)
    assert fit_batch(compile_at, start=4, unit=4).best.batch_size == 28


def all_reduce(topology, size=50e6):
    group = tuple(range(topology.devices))
    return Collective("all-reduce", size, group, 1), group_of_all(topology)


def test_an_extrapolated_size_is_what_it_would_be_worked_out_to_directly():
    small, large = parse_topology("v5e:2x4"), parse_topology("v5e:16x16")
    known = step(small, 64, collectives=[all_reduce(small)])
    wanted = step(large, 2048, collectives=[all_reduce(large)]).roofline
    assert extrapolate(known, large) == (2048, wanted)


def test_groups_within_fsdp_stay_as_they_are():
    small, large = parse_topology("v5e:2x4"), parse_topology("v5e:16x16")
    inside = Collective("all-gather", 50e6, (0, 1, 2, 3), 1), group_of_all(small, 4)
    mesh = {"data": 2, "fsdp": 4, "tensor": 1}
    known = step(small, 64, collectives=[inside], mesh=mesh)
    _, line = extrapolate(known, large)
    assert line.interconnect == known.roofline.interconnect
    across = Collective("all-reduce", 50e6, (0, 4), 1), group_of_all(small, 2)
    known = step(small, 64, collectives=[across], mesh=mesh)
    _, line = extrapolate(known, large)
    assert line.interconnect != known.roofline.interconnect


def test_a_sweep_compiles_two_sizes_and_marks_the_rest():
    chip = parse_topology("v5e:2x2").chip
    compiled = []

    def compile_on(topology, batch_size):
        compiled.append(topology.chips)
        own = [all_reduce(topology)] if topology.devices > 1 else []
        return step(topology, batch_size, collectives=own)

    points = sweep([default_topology(chip, n) for n in (1, 4, 256, 1024)], 8, compile_on)
    assert compiled == [1, 4]
    assert [p.compiled for p in points] == [True, True, False, False]
    assert [p.batch_size for p in points] == [8, 32, 2048, 8192]
    assert points[0].efficiency == 1.0 and all(p.efficiency < 1 for p in points[1:])
    assert points[3].roofline.network > 0.0 == points[2].roofline.network
    text = sweep_table(points)
    assert text.count("extrapolated") == 2 and "4 x v5e:16x16" in text
    picture = sweep_svg("v5e <8>", points)
    assert picture.count('class="compiled"') == 2 and picture.count('class="worked"') == 2
    assert "v5e &lt;8&gt;" in picture and picture.startswith("<svg xmlns")


def test_a_sweep_says_what_does_not_fit():
    def compile_on(topology, batch_size):
        return step(topology, batch_size, temporaries=20 * GB * (topology.chips > 1))

    points = sweep([default_topology(CHIPS["v5e"], n) for n in (1, 4, 256)], 8, compile_on)
    assert [p.fits for p in points] == [True, False, False]
    rows = sweep_table(points).splitlines()[1:]
    assert ["DOES NOT FIT" in row for row in rows] == [False, True, True]


def test_a_step_in_words_and_as_json():
    topology = parse_topology("v5e:2x2")
    known = step(topology, 32, 2 * GB, [all_reduce(topology)])
    text = table(known)
    for part in (
        "4 chip(s), 4 device(s)", "3 GB", "fits, with", "FLOPs, float32",
        "1 operations, 1 runs, 50 MB, groups of 4", "bound", "docs.cloud.google.com",
        "of this run's 2 programs",
    ):  # fmt: skip
        assert part in text, part
    numbers = json.loads(json.dumps(step_json(known)))
    assert numbers["fits"] is True and numbers["memory_per_device"]["total"] == 3 * GB
    assert numbers["roofline"]["step"] == known.roofline.step
    assert numbers["collectives"]["all-reduce"]["bytes"] == 50e6


def test_a_step_that_does_not_fit():
    over = step(parse_topology("t4"), 32, 20 * GB)
    assert over.fits is False and "DOES NOT FIT: short of" in table(over)
    refused = step(parse_topology("v5e:2x2"), 32, refused=True)
    assert refused.fits is False and refused.roofline is None
    assert "total, at least" in table(refused) and "roofline" not in table(refused)
    assert step_json(refused)["memory_per_device"] == {"total": 99 * GB}


def test_an_unknown_network_leaves_no_roofline():
    hosts = Topology(CHIPS["l4"], (16,))  # as devices at hand may be
    known = step(hosts, 32, collectives=[all_reduce(hosts)])
    assert known.roofline is None and "network between these chips is not known" in table(known)


def test_parts_between_slices_are_of_a_group_of_slices():
    two = parse_topology("v5e:16x16", slices=2)
    part = Collective("all-reduce", 50e6, (), 1, between=True), CollectiveGroup(1, 2)
    assert step_json(step(two, 512, collectives=[part]))["largest_collectives"][0]["group"] == 2


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Ran out of memory in memory space hbm. Used 21.50G of 15.48G hbm.", 21.5 * 2**30),
        ("memory required for HLO temporaries (2.00T) exceeds available HBM (31G)", 2 * 2**40),
        ("Ran out of memory in memory space vmem. Used 32.42M of 16.00M vmem.", None),
        ("memory required for HLO temporaries (32M) exceeds available vmem (16M)", None),
    ],
)
def test_only_want_of_main_memory_is_a_batch_that_does_not_fit(text, wanted):
    class Lowered:
        def compile(self, compiler_options):
            raise jax.errors.JaxRuntimeError(f"RESOURCE_EXHAUSTED: {text}")

    if wanted:
        assert compiled._compile(Lowered(), None) == (None, wanted)
    else:
        with pytest.raises(jax.errors.JaxRuntimeError, match="vmem"):
            compiled._compile(Lowered(), None)


def test_what_gpus_are_not_told():
    told = "\n".join(notes(step(parse_topology("h100x16"), 32)))
    assert "cuDNN's workspace" in told and "not autotuned" in told and "different hosts" in told


def test_quantities():
    assert quantity(1_234_567, "B") == "1.235 MB" and quantity(0, "B") == "0 B"
    assert quantity(197e12, "FLOP/s") == "197 TFLOP/s" and quantity(-2e9, "B") == "-2 GB"
    assert duration(1.234e-3) == "1.23 ms" and duration(12.0) == "12 s" and duration(0) == "0 µs"
