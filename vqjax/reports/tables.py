"""The report's numbers: the band of facts on top, and its tables."""

import dataclasses
from collections.abc import Collection, Sequence

from vqjax.format import NONE, count, fixed, number, printable, span
from vqjax.numbers import described, worth
from vqjax.reports.history import REACHED, Record, is_number

NAME = 80  # characters of a number's name


@dataclasses.dataclass(frozen=True)
class Fact:
    """A number at the head of a page, its unit beside it, a note beneath."""

    name: str
    value: str
    unit: str = ""
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a table, of a `kind` that the style sheet knows ("": text).

    Heads are broken between `parts`, other cells may be; `anchor` is a section that it leads to.
    """

    parts: Sequence[str]
    kind: str = ""
    anchor: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """Heads and rows of cells; a `compact` table has many columns."""

    head: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    compact: bool = False


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """The first of a row is text, the others are numbers, aligned right."""
    head, *lines = (
        [Cell([text], "n" if i else "") for i, text in enumerate(row)] for row in (head, *rows)
    )
    return Table(head, lines)


def compact_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Likewise, of many columns; heads may have line breaks."""
    broken = [Cell(text.split("\n"), "n" if i else "") for i, text in enumerate(head)]
    return dataclasses.replace(table(head, rows), head=broken, compact=True)


def label(record: Record, name: str) -> str:
    """What people call a number; "name/level" keeps its level."""
    level = name.partition("/")[2]
    shown = described(name, record.numbers).titled
    return printable(f"{shown} ({level})" if level else shown, NAME)


def shown_value(record: Record, name: str, value: float) -> str:
    """A number of the eval split as tables give it."""
    return described(name, record.numbers).shown(value)


def _perplexity(record: Record) -> Fact:
    sizes = record.footprint
    name = next((n for n in record.final if n.partition("/")[0] == "perplexity"), "perplexity")
    if not is_number(record.final, name):
        return Fact("Perplexity", NONE)
    value = record.final[name]
    level = name.partition("/")[2]
    levels = () if sizes is None else [v for v in sizes.levels if level in ("", v.name)]
    if not levels:
        return Fact("Perplexity", fixed(value, ",.0f"))
    size = levels[0].codebook_size
    share = fixed(100 * value / size, ".0f")
    note = f"{share}% of the codebook" + (f", {level}" if level else "")
    return Fact("Perplexity", fixed(value, ",.0f"), f"of {size:,}", note)


def _heading(record: Record) -> list[str]:
    """Names of the numbers at the head of the page."""
    names = record.headline
    leading = [n for n in record.final if described(n, record.numbers).leads and n not in names]
    sizes = record.footprint
    if sizes is not None and not sizes.levels:
        names = tuple(name for name in names if name != "perplexity")
    always = (*names[:1], "perplexity")
    return leading + [n for n in names if n in always or is_number(record.final, n)]


def _headline(record: Record, name: str) -> Fact:
    """One number at the head of the page; a dash before the first evaluation."""
    if name == "perplexity":
        return _perplexity(record)
    what = described(name, record.numbers)
    shown = what.fact or what.label
    if not is_number(record.final, name):
        return Fact(shown, NONE)
    value = what.shown(record.final[name], what.fact_digits)
    unit = what.unit if what.fact_unit is None else what.fact_unit
    return Fact(shown, value, unit, what.per or (_early(record) if name == "psnr" else ""))


def _early(record: Record) -> str:
    reached = record.reached()
    seconds = None if reached is None else record.seconds_at(int(reached[0]))
    return "" if seconds is None else f"{REACHED:.0%} after {span(seconds)}"


def facts(record: Record) -> list[Fact]:
    """The run in one band of numbers."""
    sizes = record.footprint
    entries = [_headline(record, name) for name in _heading(record)]
    if sizes is not None and sizes.levels and record.sound is None:
        position = "pixel" if len(sizes.shape) == 3 else "position"
        tokens = f"{sizes.tokens:,} tokens per example"
        entries.append(Fact(f"Bits per {position}", number(sizes.bits_per_position, 3), "", tokens))
    if not record.is_imported:
        entries += _spent(record)
    if sizes is not None:
        entries.append(Fact("Parameters", count(sizes.total)))
    return entries


def _spent(record: Record) -> list[Fact]:
    """Steps and time."""
    total = record.total_steps
    done = total is not None and record.step >= total
    of = "" if total is None or done else f"of {total:,}"
    rate = "" if record.rate is None else f"{number(record.rate, 3)} examples/s"
    return [
        Fact("Steps", f"{record.step:,}", of, "" if done or not of else "not done yet"),
        Fact("Wall time", span(record.elapsed), "", rate),
    ]


def _best(record: Record, name: str) -> tuple[str, str]:
    """The best value and its step; dashes for a number of which neither way is known to be."""
    points = record.curve("eval", name)
    best = described(name, record.numbers).best
    if best is None:
        return NONE, NONE
    step, value = max(points, key=lambda point: worth(best, point[1]))
    return shown_value(record, name, value), f"{step:,.0f}"


def numbers_table(record: Record, in_others: Collection[str] = ()) -> Table | None:
    """All numbers of the newest evaluation but those that are `in_others`, beside the best ones;
    None before the first.
    """
    names = [name for name in record.names("eval") if is_number(record.final, name)]
    names = [name for name in names if name not in in_others]
    if not names:
        return None
    rows = []
    for name in names:
        newest = shown_value(record, name, record.final[name])
        rows.append([label(record, name), newest, *_best(record, name)])
    head = [f"Eval split, step {record.final['step']:,}", "Value", "Best", "at step"]
    return table(head, rows)


def run_table(record: Record) -> Table | None:
    """Sizes and machine; None where nothing is known of them."""
    rows: list[list[str]] = []
    sizes = record.footprint
    if sizes is not None:
        parts = {k: v for k, v in sizes.parameters.items() if v}
        rows += [[f"Parameters: {k}", f"{v:,}"] for k, v in parts.items()]
        if sizes.levels:
            rows.append(["Bits per token", number(sizes.bits / sizes.tokens, 4)])
            what = "example" if record.sound is None else "training window"
            rows.append([f"Bits per {what}", number(sizes.bits, 6)])
    if record.devices:
        rows.append(["Devices", record.devices])
    if record.starts > 1:
        rows.append(["Starts", str(record.starts)])
    for name, shown in (
        ("first_step_seconds", "To the first step"),
        ("compile_seconds", "Compiling"),
    ):
        points = record.curve("time", name)
        if points:
            rows.append([shown, span(points[-1][1])])
    waits = record.curve("time", "input_wait")
    if waits:
        rows.append(
            ["Waiting for input", f"{fixed(100 * sum(v for _, v in waits) / len(waits), '.1f')}%"]
        )
    if record.version:
        rows.append(["vqjax", record.version])
    return table(["Run", ""], rows) if rows else None
