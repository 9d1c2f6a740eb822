"""Numbers of an evaluation as lines: those of levels, classes and codecs in tables."""

from collections.abc import Mapping

from vqjax.format import printable
from vqjax.numbers import Number, described

FIRST = "first_"  # n: the level of a number of the first n codebooks
WHOLE = "all"  # the row of numbers without a level
LEADING = ("kbits_per_second",)  # columns in front of the others
GAP = 2  # spaces between columns


def number_lines(numbers: Mapping[str, float], extra: Mapping[str, Number]) -> list[str]:
    """One line for each number of its own, and a table for those of one kind and many levels, such
    as "perplexity/tokens_0": a row for each level, a column for each kind.

    Args:
        numbers: by name, "kind" or "kind/level".
        extra: descriptions of those that `vqjax.numbers` lacks.
    """
    levels: dict[str, dict[str, float]] = {}  # {level: {kind: value}}
    for name, value in numbers.items():
        kind, _, level = printable(name).partition("/")
        levels.setdefault(level, {})[kind] = value
    whole = levels.pop("", {})
    tables = _tables(levels)
    # A number of the whole is a row of the table that has it by levels.
    rows = [{k: v for k, v in whole.items() if any(k in row for row in t.values())} for t in tables]
    in_tables = {kind for row in rows for kind in row}
    single = {kind: value for kind, value in whole.items() if kind not in in_tables}
    width = max(map(len, single), default=0)
    lines = [f"{kind:<{width}}  {value:>12.4f}" for kind, value in single.items()]
    for table, row in zip(tables, rows, strict=True):
        lines += ["", *_table_lines(_with_whole(table, row), extra)]
    return lines


def _tables(levels: Mapping[str, Mapping[str, float]]) -> list[dict[str, Mapping[str, float]]]:
    """Levels that have a kind of number in common stand in one table."""
    tables: list[dict[str, Mapping[str, float]]] = []
    for level, values in levels.items():
        for table in tables:
            if any(kind in row for row in table.values() for kind in values):
                table[level] = values
                break
        else:
            tables.append({level: values})
    return tables


def _with_whole(
    table: Mapping[str, Mapping[str, float]], whole: Mapping[str, float]
) -> dict[str, Mapping[str, float]]:
    """The rows of a table: the first n codebooks in order, then all, then the others."""
    counts = {level: count for level in table if (count := _count(level))}
    rows = {
        f"{count} codebook{'s' if count > 1 else ''}": table[level]
        for level, count in sorted(counts.items(), key=lambda item: item[1])
    }
    rows |= {WHOLE: whole} if whole else {}
    return rows | {level: row for level, row in table.items() if level not in counts}


def _count(level: str) -> int | None:
    """n of the first n codebooks."""
    number = level.removeprefix(FIRST)
    return int(number) if level != number and number.isdecimal() else None


def _table_lines(rows: Mapping[str, Mapping[str, float]], extra: Mapping[str, Number]) -> list[str]:
    kinds = list(dict.fromkeys(kind for row in rows.values() for kind in row))
    kinds.sort(key=lambda kind: kind not in LEADING)
    columns = [["", "", *rows]]
    for kind in kinds:
        what = described(kind, extra)
        cells = [what.shown(row[kind]) if kind in row else "" for row in rows.values()]
        columns.append([printable(what.label), printable(what.unit), *cells])
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for first, *others in zip(*columns, strict=True):
        cells = [f"{cell:>{w}}" for cell, w in zip(others, widths[1:], strict=True)]
        lines.append((" " * GAP).join([f"{first:<{widths[0]}}", *cells]).rstrip())
    return [line for line in lines if line]
