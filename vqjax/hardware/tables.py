"""A compiled step for people: tables of text, and what they do not tell."""

from collections.abc import Sequence

from vqjax.format import duration, number, quantity
from vqjax.hardware.chips import Chip
from vqjax.hardware.compiled import Ahead, kind_of
from vqjax.hardware.roofline import PARTS
from vqjax.hardware.topology import GPUS_PER_HOST

FORMULAS = """\
formulas (vqjax/hardware/roofline.py)
  compute       FLOPs / peak, summed over precisions
  memory        bytes moved / memory bandwidth
  interconnect  per run of a collective of B bytes over n devices through links of W bytes/s and h
                hops: all-gather, reduce-scatter (n-1)/n B/W + h t; all-reduce twice that;
                all-to-all (n-1)/n B/W max(1, s/4) + h t, s chips along a torus's longest side;
                permute, broadcast B/W + h t
  network       between S slices: (S-1)/S (B/n)/N + log2(S) T; all-reduce twice that; permute,
                broadcast B/N + log2(S) T
  step          the sum of the four, nothing beside anything else; at best: the largest of them
  MFU           FLOPs / (step x peak of bfloat16)"""


def table(ahead: Ahead) -> str:
    """All that is known of a compiled step."""
    blocks = [_what(ahead), _memory(ahead), _work(ahead)]
    if ahead.memory:
        blocks.append(_collectives(ahead))
    if ahead.roofline:
        blocks += [_roofline(ahead), FORMULAS, chip_table([ahead.topology.chip])]
    return "\n\n".join([*blocks, "\n".join(f"note: {line}" for line in notes(ahead))])


def _rows(title: str, rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join([title, *(f"  {name:<28}{value}" for name, value in rows)])


def _what(ahead: Ahead) -> str:
    mesh = ", ".join(f"{axis} {n}" for axis, n in ahead.mesh.items())
    rows = [("mesh of devices", mesh), ("active", ", ".join(ahead.active))]
    if ahead.topology:
        chips = ahead.topology.chips
        where = f"{ahead.topology}: {chips:,} chip(s), {ahead.devices:,} device(s)"
        rows.insert(0, ("topology", where))
    rows += [
        ("batch", f"{ahead.batch_size:,} examples, {ahead.batch_size / ahead.devices:g} a device"),
        ("compute_dtype", ahead.compute_dtype),
        ("traced, compiled", f"{ahead.trace_seconds:.1f} s, {ahead.compile_seconds:.1f} s"),
    ]
    return _rows("train step", rows)


def _memory(ahead: Ahead) -> str:
    memory = ahead.memory
    if memory is None:
        rows = [("total, at least", quantity(ahead.wanted, "B"))]
    else:
        rows = [
            ("arguments", quantity(memory.arguments, "B")),
            ("temporaries", quantity(memory.temporaries, "B")),
            ("results, code", quantity(memory.results + memory.program, "B")),
            ("total", quantity(memory.total, "B")),
        ]
    if ahead.capacity is not None:
        left = ahead.capacity - ahead.needed
        verdict = "fits, with" if ahead.fits else "DOES NOT FIT: short of"
        share = f"{abs(left) / ahead.capacity:.1%} of {quantity(ahead.capacity, 'B')}"
        rows.append((verdict, f"{quantity(abs(left), 'B')} ({share})"))
    return _rows("memory per device", rows)


def _work(ahead: Ahead) -> str:
    devices = ahead.devices
    rows = [
        (f"FLOPs, {precision}", f"{quantity(n, 'FLOP')}, {quantity(n / devices, 'FLOP')} a device")
        for precision, n in ahead.flops.items()
    ]
    if ahead.memory:
        rows.append(("bytes moved", f"{quantity(ahead.bytes_moved, 'B')} a device"))
    if ahead.told:
        told = [f"{quantity(ahead.told.get('flops', 0), 'FLOP')}"]
        told.append(quantity(ahead.told.get("bytes_moved", 0), "B"))
        rows.append(("compiler's count", f"{', '.join(told)} a device, bodies of loops once"))
    return _rows("work per step", rows)


def _collectives(ahead: Ahead) -> str:
    found = ahead.by_kind()
    if not found:
        return "collectives per step\n  none"
    groups = {
        kind: sorted(
            {len(c.group) or ahead.slices for c, _ in ahead.collectives if kind_of(c) == kind}
        )
        for kind in found
    }
    return _rows(
        "collectives per step (bytes of whole arrays)",
        [
            (
                kind,
                f"{v['operations']} operations, {v['runs']} runs, {quantity(v['bytes'], 'B')}, "
                f"groups of {', '.join(map(str, groups[kind]))}",
            )
            for kind, v in found.items()
        ],
    )


def _roofline(ahead: Ahead) -> str:
    line = ahead.roofline
    rows = [(part, duration(getattr(line, part))) for part in PARTS]
    rows += [
        ("step", f"{duration(line.step)} (at best {duration(line.at_best)})"),
        ("bound", line.bound),
        ("examples/s", number(line.examples_per_second)),
        ("MFU", f"{line.mfu:.1%}"),
    ]
    return _rows("roofline: not a measurement", rows)


def chip_table(chips: Sequence[Chip]) -> str:
    """The numbers that a roofline rests on, per chip, and their sources."""
    lines = []
    for chip in chips:
        peaks = ", ".join(f"{p} {quantity(v, 'FLOP/s')}" for p, v in chip.peak.items())
        between = quantity(chip.network, "B/s") if chip.network else "not known"
        rows = [
            ("devices per chip", str(chip.devices)),
            ("peak", peaks),
            ("memory", f"{quantity(chip.memory, 'B')}, {quantity(chip.memory_bandwidth, 'B/s')}"),
            ("links", f"{chip.links} of {quantity(chip.link, 'B/s')} each way, "
                      f"{duration(chip.hop_latency)} a hop"),
            ("between slices", f"{between}, {duration(chip.network_latency)} (assumed)"),
            *(("source", address) for address in chip.sources),
        ]  # fmt: skip
        lines.append(_rows(f"chip {chip.name}", rows))
    return "\n".join(lines)


def notes(ahead: Ahead) -> list[str]:
    """What the compiler does not tell."""
    lines = []
    if ahead.programs > 1:
        lines.append(
            f"of this run's {ahead.programs} programs, the one in which the most players move"
        )
    platform = ahead.topology.chip.platform if ahead.topology else "cpu"
    if platform == "gpu":
        lines += [
            "cuDNN's workspace and the driver's own memory are not counted: leave some hundred MB",
            "JAX takes 75 % of a GPU's memory unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise",
            "kernels are not tuned here: the card's own choice of tiles may be faster or slower",
        ]
        if ahead.topology.chips > GPUS_PER_HOST:
            lines.append("GPUs of different hosts meet over the network")
    if ahead.topology is None:
        lines.append("these devices are not in the table of chips: no roofline")
    elif ahead.memory and not ahead.roofline:
        lines.append("the network between these chips is not known: no roofline")
    if ahead.unknown_loops:
        lines.append(f"{ahead.unknown_loops} loop(s) of unknown length count as one turn")
    if ahead.roofline:
        lines.append("data, host and evaluations are not in the step's time")
    return lines
