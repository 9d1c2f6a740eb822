"""Runs side by side: what is compared, as a table for the terminal, Markdown, a page, or JSON.

The columns stand here once. A cell without a value is a dash, a column in which no run has one is
left out.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vqjax.config import tree
from vqjax.format import NONE, count, number, printable, shorten
from vqjax.media.gallery import Sheet
from vqjax.numbers import NUMBERS, described, worth
from vqjax.reports.history import REACHED, Record, is_number
from vqjax.reports.tables import Cell, Table
from vqjax.runs.footprint import Footprint

QUANTIZER_TEXT = 44  # characters of a quantizer on the terminal
PICTURE_RANK = 3  # of one example, [H, W, C]


def quantizer_text(task: Any) -> str | None:
    """How the quantizers of a task would be written, without what is default; None: it has none."""
    found: list[tuple[str, Any]] = []
    for path, value in tree.walk(getattr(task, "tokenizer", None)):
        parts = path.split(".")
        named = parts[-1] == "quantizer" or parts[-2:-1] == ["quantizers"]
        inside = any(path.startswith(f"{outer}.") for outer, _ in found)
        if named and not inside and tree.is_object(value):
            found.append((path, value))
    return " + ".join(_constructor_call(value) for _, value in found) or None


def _constructor_call(module: Any) -> str:
    """A constructor call: leading fields without a default by position, others by name."""
    fields, words, by_position = tree.fields_of(type(module)), [], True
    for name, value in tree.children(module).items():
        by_position = by_position and tree.is_required(fields[name])
        if tree.differs_from_default(fields[name], value):
            words.append(f"{'' if by_position else f'{name}='}{tree.show(value, 200)}")
    return f"{type(module).__name__}({', '.join(words)})"


def names_of(records: Sequence[Record]) -> list[str]:
    """A name for each run: its directory's, with as much of the path as tells it from others."""
    paths = {record.path for record in records}

    def tail(path: Any, parts: int) -> tuple[str, ...]:
        return path.parts[-parts:]

    names = []
    for record in records:
        parts = 1
        while any(tail(p, parts) == tail(record.path, parts) for p in paths - {record.path}):
            parts += 1
        names.append("/".join(tail(record.path, parts)))
    return names


@dataclasses.dataclass(frozen=True)
class Row:
    """One run.

    Attributes:
        name: what tables call it.
        record: the run's directory, read.
        numbers: of one evaluation.
        step: that was evaluated.
        params: which parameters were: "ema", "raw", or "" where the run cannot tell.
        sheet: what the evaluation drew; None: it was made while training, look in `record`.
    """

    name: str
    record: Record
    numbers: Mapping[str, Any]
    step: int
    params: str = ""
    sheet: Sheet | None = None

    @classmethod
    def of(cls, record: Record, name: str) -> "Row":
        """The run's newest evaluation while it was trained."""
        numbers = {k: v for k, v in record.final.items() if k not in ("kind", "step")}
        params = "" if record.experiment is None else "raw"
        if record.experiment is not None and record.experiment.ema_decay is not None:
            params = "ema"
        return cls(name, record, numbers, record.final["step"] if record.final else 0, params)

    @property
    def sizes(self) -> Footprint | None:
        return self.record.footprint

    def number(self, name: str) -> float | None:
        return float(self.numbers[name]) if is_number(self.numbers, name) else None

    def over_levels(self, kind: str) -> list[float]:
        """The finite numbers `kind` and `kind/level`; empty where nothing is discrete."""
        names = [name for name in self.numbers if name.partition("/")[0] == kind]
        discrete = self.sizes is None or self.sizes.levels
        return [float(self.numbers[n]) for n in names if discrete and is_number(self.numbers, n)]

    @property
    def perplexity(self) -> float | None:
        """The geometric mean over levels, which is exp of their mean entropy."""
        values = [v for v in self.over_levels("perplexity") if v > 0]
        return math.exp(sum(map(math.log, values)) / len(values)) if values else None

    @property
    def perplexity_share(self) -> float | None:
        """`perplexity` in parts of the (geometric mean) codebook size, at most 1."""
        if self.perplexity is None or self.sizes is None or not self.sizes.levels:
            return None
        logs = [math.log(level.codebook_size) for level in self.sizes.levels]
        return self.perplexity / math.exp(sum(logs) / len(logs))

    @property
    def seconds_to_reach(self) -> float | None:
        """Of training, to `REACHED` of the final PSNR."""
        reached = self.record.reached()
        return None if reached is None else self.record.seconds_at(int(reached[0]))


def _sized(value: Callable[[Footprint], float]) -> Callable[[Row], float | None]:
    """A number of tokens or bits; None where there are none."""
    return lambda row: None if row.sizes is None or not row.sizes.levels else value(row.sizes)


def _minutes(value: float) -> str:
    return f"{value:,.1f}" if value >= 9.95 else f"{value:.2f}"


def _per_pixel(value: float) -> str:
    return f"{value:.3f}" if value >= 0.1 else number(value, 3)


def _in_minutes(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 60


def _steps(row: Row) -> str:
    step, total = row.record.step, row.record.total_steps
    return f"{step:,}" + ("" if total in (None, step) else f" of {total:,}")


@dataclasses.dataclass(frozen=True)
class Column:
    """One number of every run.

    Attributes:
        key: its name in JSON.
        title: its head; a line break where it may be broken.
        value: of a row; None: a dash.
        shown: the value for people.
        best: where the best value lies, as `vqjax.numbers` says; None: runs are not ranked by it.
        is_text: words, aligned left.
    """

    key: str
    title: str
    value: Callable[[Row], Any]
    shown: Callable[[Any], str] = str
    best: str | None = None
    is_text: bool = False

    def cell(self, row: Row) -> str:
        value = self.value(row)
        return NONE if value is None else self.shown(value)

    def is_best(self, row: Row, rows: Sequence[Row]) -> bool:
        """Whether no other of several runs that have the number is better."""
        values = [v for v in map(self.value, rows) if v is not None]
        own = self.value(row)
        if self.best is None or own is None or len(values) < 2:
            return False
        return worth(self.best, own) == max(worth(self.best, value) for value in values)


def _measured(name: str, value: Callable[[Row], Any] | None = None) -> Column:
    """A number of the eval split, or what `value` makes of those of its levels."""
    what = NUMBERS[name]
    return Column(name, what.head, value or (lambda r: r.number(name)), what.shown, what.best)


QUANTIZER = Column(
    "quantizer",
    "Quantizer",
    lambda r: None if r.record.experiment is None else quantizer_text(r.record.experiment.task),
    is_text=True,
)
TOKENS = Column("tokens", "Tokens", _sized(lambda s: s.tokens), "{:,}".format)
BITS_PER_TOKEN = Column(
    "bits_per_token", "Bits/\ntoken", _sized(lambda s: s.bits / s.tokens), lambda v: number(v, 3)
)
BITS = Column("bits", "Bits/\nexample", _sized(lambda s: s.bits), lambda v: number(v, 5))
BITS_PER_PIXEL = Column(
    "bits_per_pixel", "Bits/\npixel", _sized(lambda s: s.bits_per_position), _per_pixel
)
PSNR, SSIM, LPIPS, L1, DETAIL, BOUND, DIVERSITY = map(
    _measured,
    ("psnr", "ssim", "lpips", "l1", "high_frequency_ratio", "nll_bound", "sample_diversity"),
)
SI_SDR, MEL, STFT, BITRATE = map(
    _measured, ("si_sdr", "mel_distance", "stft_distance", "kbits_per_second")
)
USAGE = _measured("codebook_usage", lambda r: min(r.over_levels("codebook_usage"), default=None))
PERPLEXITY = _measured("perplexity", lambda r: r.perplexity)
PERPLEXITY_SHARE = Column("perplexity_share", "of K,\n%", lambda r: r.perplexity_share, USAGE.shown)
RATE = Column("examples_per_second", "Images/\ns", lambda r: r.record.rate, lambda v: number(v, 3))
PARAMETERS = Column("parameters", "Para-\nmeters", lambda r: r.sizes and r.sizes.total, count)
STEPS = Column("steps", "Steps", _steps)
MINUTES = Column("minutes", "Min-\nutes", lambda r: _in_minutes(r.record.elapsed), _minutes)
EARLY = Column(
    f"minutes_to_{100 * REACHED:.0f}",
    f"to\n{REACHED:.0%}",
    lambda r: _in_minutes(r.seconds_to_reach),
    _minutes,
)
# Numbers that have columns of their own, or need none; others get theirs as they come.
WITH_COLUMNS = {
    *(c.key for c in (PSNR, SSIM, LPIPS, L1, DETAIL, BOUND, DIVERSITY, USAGE, PERPLEXITY)), "mse",
    *(c.key for c in (SI_SDR, MEL, STFT, BITRATE)), "codebook_alive", "code_entropy",
    "silent_clips",
}  # fmt: skip
# Of one example: windows of sound are as long as training took them, and say little.
PER_EXAMPLE = {column.key for column in (TOKENS, BITS, BITS_PER_PIXEL)}
REPORTED = (
    BITRATE, SI_SDR, MEL, STFT, PSNR, SSIM, LPIPS, L1, DETAIL, BOUND, DIVERSITY, USAGE, PERPLEXITY,
    PERPLEXITY_SHARE, BITS_PER_PIXEL, PARAMETERS, STEPS, MINUTES, EARLY,
)  # fmt: skip


def extra_names(rows: Sequence[Row]) -> list[str]:
    """Numbers of the eval split that only some tasks have, in the order in which they come up."""
    names = dict.fromkeys(name for row in rows for name in row.numbers)
    return [name for name in names if name.partition("/")[0] not in WITH_COLUMNS]


def _extra(name: str, rows: Sequence[Row]) -> Column:
    own = next((r.record.numbers for r in rows if name in r.numbers), {})
    title = "\n".join(name.rsplit("_", 1)).replace("_", " ")
    what = described(name, own)
    shown = number if what.digits is None else what.shown
    return Column(name, what.head or title, lambda r: r.number(name), shown, what.best)


def columns_of(rows: Sequence[Row]) -> tuple[Column, ...]:
    """The columns of `vqjax compare`."""
    extra = [_extra(name, rows) for name in extra_names(rows)]
    return (
        QUANTIZER, TOKENS, BITS_PER_TOKEN, BITS, BITS_PER_PIXEL, BITRATE, SI_SDR, MEL, STFT, PSNR,
        SSIM, DETAIL, BOUND, DIVERSITY, USAGE, PERPLEXITY, PERPLEXITY_SHARE, *extra, RATE,
        PARAMETERS, MINUTES, EARLY,
    )  # fmt: skip


def are_sounds(rows: Sequence[Row]) -> bool:
    """Whether all runs are of sound."""
    return bool(rows) and all(row.record.sound is not None for row in rows)


def _filled(rows: Sequence[Row], columns: Sequence[Column]) -> list[Column]:
    """The columns that some run has a value for, with heads that suit the data."""
    shapes = [row.sizes.shape for row in rows if row.sizes is not None]
    pictures = all(len(shape) == PICTURE_RANK for shape in shapes)
    filled = [c for c in columns if any(c.value(row) is not None for row in rows)]
    if are_sounds(rows):
        filled = [column for column in filled if column.key not in PER_EXAMPLE]
    if pictures:
        return filled
    titles = {BITS_PER_PIXEL.key: "Bits/\nposition", RATE.key: "Exam-\nples/s"}
    return [dataclasses.replace(c, title=titles.get(c.key, c.title)) for c in filled]


def text_table(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """The table in columns of equal width, its heads on two lines."""
    columns = _filled(rows, columns)
    lines = [[row.name, *(_short(column, row) for column in columns)] for row in rows]
    titles = [["", "Run"], *(["", *c.title.split("\n")][-2:] for c in columns)]
    heads = [list(line) for line in zip(*titles, strict=True)]
    left = [True, *(column.is_text for column in columns)]
    widths = [max(map(len, cells)) for cells in zip(*heads, *lines, strict=True)]
    out = []
    for line in (*heads, *lines):
        cells = zip(line, widths, left, strict=True)
        out.append("  ".join(f"{c:<{w}}" if at_left else f"{c:>{w}}" for c, w, at_left in cells))
    rule = "  ".join("-" * width for width in widths)
    return "\n".join(line.rstrip() for line in (*out[:2], rule, *out[2:]))


def _short(column: Column, row: Row) -> str:
    return shorten(column.cell(row), QUANTIZER_TEXT)


def _breakable(code: str) -> list[str]:
    """Code that a narrow cell may break between the words of a name and after brackets."""
    return re.split(r"(?<=[a-z])(?=[A-Z])|(?<=\()", code)


def _one_line(title: str) -> str:
    """A head on one line: words that were broken are put together again."""
    return title.replace("-\n", "").replace("/\n", "/").replace("\n", " ")


def titles_of(rows: Sequence[Row], columns: Sequence[Column]) -> dict[str, str]:
    """{key of a column that some run has a value for: its head on one line}."""
    return {column.key: _one_line(column.title) for column in _filled(rows, columns)}


def markdown_table(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """The table as Markdown."""
    columns = _filled(rows, columns)
    head = ["Run", *(plain(_one_line(c.title)) for c in columns)]
    rule = ["---", *("---" if c.is_text else "---:" for c in columns)]
    lines = []
    for row in rows:
        cells = [_code(c.cell(row)) if c.is_text else plain(c.cell(row)) for c in columns]
        lines.append([plain(row.name), *cells])
    return markdown_lines([head, rule, *lines])


def markdown_lines(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as Markdown; the first is the head, the second the rule below it."""
    return "\n".join(f"| {' | '.join(c.replace('|', chr(92) + '|') for c in x)} |" for x in lines)


def plain(text: str) -> str:
    """Text in Markdown that no reader of it takes for HTML, a link or an emphasis."""
    return re.sub(r"([\\`*\[\]<>&])", r"\\\1", printable(text))


def _code(text: str) -> str:
    return f"`{printable(text).replace('`', chr(39))}`"


def page_table(
    rows: Sequence[Row], columns: Sequence[Column], anchors: Sequence[str] = (), ranked: bool = True
) -> Table:
    """The table for a page.

    Args:
        anchors: ids of the sections that the runs' names lead to; none: plain names.
        ranked: whether the best of each number stands out.
    """
    columns = _filled(rows, columns)
    head = [Cell(c.title.split("\n"), "" if c.is_text else "n") for c in columns]
    lines = []
    for row, anchor in zip(rows, anchors or [""] * len(rows), strict=True):
        line = [Cell([row.name], anchor=anchor)]
        for column in columns:
            cell = column.cell(row)
            if column.is_text:
                line.append(Cell(_breakable(cell), "code"))
            else:
                is_best = ranked and column.is_best(row, rows)
                line.append(Cell([cell], "n best" if is_best else "n"))
        lines.append(line)
    return Table([Cell(["Run"]), *head], lines, compact=True)


def json_row(row: Row) -> dict[str, Any]:
    """All that is known of a run; null where there is no value, as JSON has no NaN."""
    values = {c.key: c.value(row) for c in columns_of([]) if c not in (MINUTES, EARLY)}
    numbers = {name: row.number(name) for name in row.numbers}
    return {
        "run": row.name,
        "path": str(row.record.path),
        "step": row.step,
        "total_steps": row.record.total_steps,
        "params": row.params or None,
        **values,
        "seconds": row.record.elapsed,
        f"seconds_to_{100 * REACHED:.0f}": row.seconds_to_reach,
        "numbers": numbers,
    }
