"""What `vqjax benchmark` prints: a table of one measurement, and of one against another."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from vqjax.types import UsageError

NAME_WIDTH, VALUE_WIDTH = 24, 14
STREAM = "stream"  # a call on a piece of sound
Document = Mapping[str, Any]  # see `vqjax.benchmark.measure`


def table(document: Document) -> list[str]:
    """The lines of a measurement."""
    device, compiled = document["device"], document["compile"]
    cores = f", {device['cores']} cores" if device["platform"] == "cpu" else ""
    lines = [
        f"{document['parameters']:,} parameters, "
        f"batches of {document['batch_size']} ({document['data']}), "
        f"{document['compute_dtype']}, on {device['count']} x {device['kind']}{cores}",
        *_step_rows(document),
        _row("compile", f"{compiled['seconds']:.1f} s", _compile_row(compiled)),
        *_flops_rows(document),
        _row("peak memory", f"{document['memory']['bytes'] / 1e6:,.1f} MB", _memory_note(document)),
    ]
    if "input" in document:
        lines += _input_rows(document["input"])
    lines += _shares_rows(document["shares"])
    for name, times in document.get("latency", {}).items():
        what = "one piece" if name == STREAM else "one example"
        note = f"{what}, host to host; p99 {_ms(times['p99'])}"
        lines.append(_row(f"latency of {name}", _ms(times["p50"]), note))
    for name, factor in document.get("sound", {}).items():
        note = "seconds of sound in a second" + (", single calls" if name != "step" else "")
        lines.append(_row(f"sound: {name}", f"{factor:,.4g}", note))
    lines += _precisions_rows(document.get("precisions", {}))
    return lines + _sweep_rows(document)


def _row(name: str, value: str, note: str = "") -> str:
    return f"  {name:<{NAME_WIDTH}}{value:>{VALUE_WIDTH}}{'  ' + note if note else ''}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.3g} ms" if seconds < 1 else f"{seconds:,.3g} s"


def _step_rows(document: Document) -> Iterator[str]:
    step = document["step"]
    each = step["examples_per_second_per_device"]
    note = f"{each:,.5g} per device" if document["device"]["count"] > 1 else ""
    yield _row("examples/s", f"{step['examples_per_second']:,.5g}", note)
    if step["tokens_per_second"] is not None:
        yield _row("tokens/s", f"{step['tokens_per_second']:,.5g}")
    seconds = step["seconds"]
    spread = ", ".join(f"{p} {_ms(seconds[p])}" for p in ("p5", "p95", "p99"))
    yield _row("step", _ms(seconds["p50"]), f"median of {step['steps']}; {spread}")


def _compile_row(compiled: Document) -> str:
    cached = ", from the compilation cache" if compiled["cached"] else ""
    return f"after {compiled['trace_seconds']:.1f} s of tracing{cached}"


def _flops_rows(document: Document) -> Iterator[str]:
    flops = document["flops"]
    xla = "XLA does not count" if flops["xla"] is None else f"{flops['xla'] / 1e9:,.4g} by XLA"
    yield _row("GFLOP per step", f"{flops['formula'] / 1e9:,.4g}", f"by formula; {xla}")
    published = flops["peak_is"] == "data sheet"
    name = "MFU" if published else "of a matrix product's"
    peak = f"{flops['peak'] / 1e9:,.5g} GFLOP/s ({flops['peak_is']})"
    rate = f"{flops['per_second'] / 1e9:,.4g} GFLOP/s of {peak}"
    yield _row(name, f"{flops['share']:.1%}", rate)


def _memory_note(document: Document) -> str:
    of = document["memory"]["of"]
    return "as the device reports" if of == "device" else "the program's arrays and temporaries"


def _input_rows(numbers: Document) -> Iterator[str]:
    yield _row("waiting for data", f"{numbers['wait']:.1%}", "of the time")
    rate, first = numbers["pipeline_examples_per_second"], numbers["first_batch_seconds"]
    yield _row("pipeline alone", f"{rate:,.5g}/s", f"first batch after {first:.1f} s")


def _shares_rows(shares: Mapping[str, float]) -> Iterator[str]:
    for name, share in shares.items():
        yield _row(f"share: {name}", f"{share:.1%}")
    yield _row("parts together", f"{sum(shares.values()):.1%}", "of the step, each timed alone")


def _precisions_rows(precisions: Mapping[str, Document]) -> Iterator[str]:
    for name, step in precisions.items():
        yield _row(name, f"{step['examples_per_second']:,.5g}", "examples/s")


def _sweep_rows(document: Document) -> list[str]:
    rows, lines = document.get("sweep", ()), []
    if rows and document["data"] == "real":
        lines.append(_row("sweep", "noise", "in place of the data"))
    full = any(row["examples_per_second"] is None for row in rows)
    why = "larger ones do not fit" if full else "larger ones gain 5 % or less"
    for row in rows:
        rate = row["examples_per_second"]
        value = "out of memory" if rate is None else f"{rate:,.5g}"
        knee = f"  <- {why}" if row["batch_size"] == document["knee"] else ""
        lines.append(_row(f"batches of {row['batch_size']}", value, f"examples/s{knee}"))
    return lines


class Figure(NamedTuple):
    """One number of a document, and whether more of it is better."""

    name: str
    path: tuple[str, ...]
    more_is_better: bool


FIGURES = (
    Figure("examples/s", ("step", "examples_per_second"), True),
    Figure("step, median", ("step", "seconds", "p50"), False),
    Figure("compile", ("compile", "seconds"), False),
    Figure("peak memory", ("memory", "bytes"), False),
    Figure("pipeline alone", ("input", "pipeline_examples_per_second"), True),
    Figure("float32 examples/s", ("precisions", "float32", "examples_per_second"), True),
    Figure("bfloat16 examples/s", ("precisions", "bfloat16", "examples_per_second"), True),
)
MUST_AGREE = ("schema", "experiment", "data", "device")


def check_comparable(new: Document, old: Document) -> None:
    """Refuses to compare documents that differ in `MUST_AGREE`; `new` needs nothing else.

    Raises:
        UsageError: they are of different experiments, data or machines.
    """
    for name in MUST_AGREE:
        if new[name] != old.get(name):
            raise UsageError(f"--against: another {name}: {old.get(name)}, here {new[name]}")


def against(new: Document, old: Document, tolerance: float) -> tuple[list[str], list[str]]:
    """Lines with ratios of what both measured, and the names of what is worse by more than
    `tolerance` (0.1: 10 %).

    Compile times count only where neither came from a cache, memory where both are of one kind.

    Raises:
        UsageError: see `check_comparable`.
    """
    check_comparable(new, old)
    lines, worse = [f"  {'':<{NAME_WIDTH}}{'ratio':>{VALUE_WIDTH}}  (this / that)"], []
    latencies = [
        Figure(f"latency of {n}", ("latency", n, "p50"), False) for n in new.get("latency", ())
    ]
    for figure in (*FIGURES, *latencies):
        a, b = _at(new, figure.path), _at(old, figure.path)
        if not a or not b or not _is_comparable(figure, new, old):
            continue
        ratio = a / b
        bad = (1 / ratio if figure.more_is_better else ratio) > 1 + tolerance
        if bad:
            worse.append(figure.name)
        lines.append(_row(figure.name, f"{ratio:.3f}", "WORSE" if bad else ""))
    return lines, worse


def _is_comparable(figure: Figure, new: Document, old: Document) -> bool:
    if figure.path[0] == "compile":
        return not (new["compile"]["cached"] or old["compile"]["cached"])
    if figure.path[0] == "memory":
        return new["memory"]["of"] == old["memory"]["of"]
    return True


def _at(value: Any, path: tuple[str, ...]) -> float | None:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, int | float) else None
