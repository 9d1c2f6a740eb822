"""A compiled step as tables of text, with notes on what they leave out."""

from collections.abc import Sequence

from vqjax.format import duration, number, quantity
from vqjax.hardware.chips import Chip
from vqjax.hardware.compiled import CompiledStep, collective_kind
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
  step          the sum of the four, nothing overlaps; at best: the largest of them
  MFU           FLOPs / (step x peak of bfloat16)"""


def table(step: CompiledStep) -> str:
    """All tables of a compiled step."""
    blocks = [_setup(step), _memory(step), _work(step)]
    if step.memory:
        blocks.append(_collectives(step))
    if step.roofline:
        blocks += [_roofline(step), FORMULAS, chip_table([step.topology.chip])]
    return "\n\n".join([*blocks, "\n".join(f"note: {line}" for line in notes(step))])


def _rows(title: str, rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join([title, *(f"  {name:<28}{value}" for name, value in rows)])


def _setup(step: CompiledStep) -> str:
    mesh = ", ".join(f"{axis} {n}" for axis, n in step.mesh.items())
    rows = [("mesh of devices", mesh), ("active", ", ".join(step.active))]
    if step.topology:
        chips = step.topology.chips
        where = f"{step.topology}: {chips:,} chip(s), {step.devices:,} device(s)"
        rows.insert(0, ("topology", where))
    rows += [
        ("batch", f"{step.batch_size:,} examples, {step.batch_size / step.devices:g} a device"),
        ("compute_dtype", step.compute_dtype),
        ("traced, compiled", f"{step.trace_seconds:.1f} s, {step.compile_seconds:.1f} s"),
    ]
    return _rows("train step", rows)


def _memory(step: CompiledStep) -> str:
    memory = step.memory
    if memory is None:
        rows = [("total, at least", quantity(step.required, "B"))]
    else:
        rows = [
            ("arguments", quantity(memory.arguments, "B")),
            ("temporaries", quantity(memory.temporaries, "B")),
            ("results, code", quantity(memory.results + memory.program, "B")),
            ("total", quantity(memory.total, "B")),
        ]
    if step.capacity is not None:
        spare = step.capacity - step.needed
        verdict = "fits, with" if step.fits else "DOES NOT FIT: short of"
        share = f"{abs(spare) / step.capacity:.1%} of {quantity(step.capacity, 'B')}"
        rows.append((verdict, f"{quantity(abs(spare), 'B')} ({share})"))
    return _rows("memory per device", rows)


def _work(step: CompiledStep) -> str:
    devices = step.devices
    rows = [
        (f"FLOPs, {precision}", f"{quantity(n, 'FLOP')}, {quantity(n / devices, 'FLOP')} a device")
        for precision, n in step.flops.items()
    ]
    if step.memory:
        rows.append(("bytes moved", f"{quantity(step.bytes_moved, 'B')} a device"))
    if step.xla_counts:
        counts = [f"{quantity(step.xla_counts.get('flops', 0), 'FLOP')}"]
        counts.append(quantity(step.xla_counts.get("bytes_moved", 0), "B"))
        rows.append(("compiler's count", f"{', '.join(counts)} a device, bodies of loops once"))
    return _rows("work per step", rows)


def _collectives(step: CompiledStep) -> str:
    totals = step.by_kind()
    if not totals:
        return "collectives per step\n  none"
    groups = {
        kind: sorted(
            {len(c.group) or step.slices for c, _ in step.collectives if kind == collective_kind(c)}
        )
        for kind in totals
    }
    return _rows(
        "collectives per step (bytes of whole arrays)",
        [
            (
                kind,
                f"{v['operations']} operations, {v['runs']} runs, {quantity(v['bytes'], 'B')}, "
                f"groups of {', '.join(map(str, groups[kind]))}",
            )
            for kind, v in totals.items()
        ],
    )


def _roofline(step: CompiledStep) -> str:
    line = step.roofline
    rows = [(part, duration(getattr(line, part))) for part in PARTS]
    rows += [
        ("step", f"{duration(line.step)} (at best {duration(line.at_best)})"),
        ("bound", line.bound),
        ("examples/s", number(line.examples_per_second)),
        ("MFU", f"{line.mfu:.1%}"),
    ]
    return _rows("roofline: not a measurement", rows)


def chip_table(chips: Sequence[Chip]) -> str:
    """The numbers that a roofline uses, per chip, and their sources."""
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


def notes(step: CompiledStep) -> list[str]:
    """What the compiler does not report."""
    lines = []
    if step.programs > 1:
        lines.append(
            f"of this run's {step.programs} programs, the one in which the most players move"
        )
    platform = step.topology.chip.platform if step.topology else "cpu"
    if platform == "gpu":
        lines += [
            "cuDNN's workspace and the driver's own memory are not counted: leave some hundred MB",
            "JAX takes 75 % of a GPU's memory unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise",
            "kernels are not autotuned here: the GPU's own choice of tiles may be faster or slower",
        ]
        if step.topology.chips > GPUS_PER_HOST:
            lines.append("GPUs of different hosts communicate over the network")
    if step.topology is None:
        lines.append("these devices are not in the table of chips: no roofline")
    elif step.memory and not step.roofline:
        lines.append("the network between these chips is not known: no roofline")
    if step.unknown_loops:
        lines.append(f"{step.unknown_loops} loop(s) of unknown trip count are counted once")
    if step.roofline:
        lines.append("the step's time leaves out data, host and evaluations")
    return lines
