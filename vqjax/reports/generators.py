"""What draws, side by side: the samples of several runs before one judge."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from vqjax.format import NONE, number, printable
from vqjax.media.gallery import Gallery, Sheet
from vqjax.numbers import JUDGED
from vqjax.reports.compare_table import markdown_lines, plain
from vqjax.runs.base import Run, with_article
from vqjax.runs.classifier import ClassifierRun
from vqjax.runs.judge import Judgement, first_of_classes, judge_samples
from vqjax.sampling import Guidance
from vqjax.types import UsageError

COLUMNS = (
    "class_accuracy", "frechet_distance", "precision", "recall", "network_evaluations",
    "sample_seconds",
)  # fmt: skip
NEAR = "frechet_training"  # what a scale of guidance is chosen by
REAL = "real examples"


@dataclasses.dataclass(frozen=True)
class Judged:
    """One row.

    Attributes:
        name: of the run.
        kind: of run.
        scale: of guidance; None: without.
        numbers: of a `Judgement`.
        protocol: of it.
        shown: samples to look at.
    """

    name: str
    kind: str
    scale: float | None
    numbers: Mapping[str, float]
    protocol: str
    shown: Sequence[np.ndarray] = ()


def judge_runs(
    runs: Sequence[tuple[str, Run]],
    judge: ClassifierRun,
    n: int,
    scales: Sequence[float] = (),
    say: Callable[[str], None] = lambda line: None,
) -> list[Judged]:
    """A row for each run without guidance, and one with the scale of `scales` whose samples are
    nearest to training examples, where it can be guided.

    Args:
        runs: (name, run) pairs.
        judge: a classifier of the same data.
        n: samples of each.
        scales: of guidance, tried one by one; (): none.
        say: takes a line for each row as it comes.

    Raises:
        UsageError: a run that draws nothing, or a judge that does not fit.
        DataError: the judge's data is not at hand.
    """
    rows = []
    for name, run in runs:
        rows.append(_row(name, run, None, judge_samples(run, judge, n)))
        say(_line(rows[-1]))
        guided = []
        for scale in scales if _can_be_guided(run) else ():
            found = judge_samples(run, judge, n, guidance=Guidance(scale))
            guided.append(_row(name, run, scale, found))
            say(_line(guided[-1]))
        rows += [min(guided, key=lambda row: row.numbers[NEAR])] if guided else []
    return rows


def _row(name: str, run: Run, scale: float | None, found: Judgement) -> Judged:
    return Judged(name, run.kind, scale, found.numbers, found.protocol, found.shown)


def _can_be_guided(run: Run) -> bool:
    task = getattr(run.experiment, "task", None)
    network = getattr(task, "prior", None) or getattr(task, "denoiser", None)
    condition = getattr(network, "condition", None)
    return condition is not None and condition.dropout > 0.0


def _line(row: Judged) -> str:
    cells = zip(COLUMNS, _cells(row.numbers), strict=True)
    numbers = ", ".join(f"{name} {cell}" for name, cell in cells if cell != NONE)
    return f"{row.name}, guidance {_scale(row)}: {numbers}"


def _scale(row: Judged) -> str:
    return NONE if row.scale is None else number(row.scale, 3)


def _cells(numbers: Mapping[str, float]) -> list[str]:
    return [JUDGED[name].shown(numbers[name]) if name in numbers else NONE for name in COLUMNS]


def generators_table(rows: Sequence[Judged]) -> str:
    """The rows as Markdown, with one of real training examples, which is what perfect samples would
    have.

    Raises:
        UsageError: there are none.
    """
    if not rows:
        raise UsageError("nothing was judged")
    titles = [JUDGED[name].titled for name in COLUMNS]
    lines = [["Run", "", "Guidance", *map(plain, titles)], ["---", "---", *["---:"] * 7]]
    for row in rows:
        kind = with_article(row.kind)
        lines.append([plain(row.name), plain(kind), _scale(row), *_cells(row.numbers)])
    real = {"frechet_distance": rows[0].numbers["frechet_real"]}
    lines.append([REAL, "", NONE, *_cells(real)])
    return f"{markdown_lines(lines)}\n\n{printable(rows[0].protocol)}"


def generators_sheet(rows: Sequence[Judged], judge: ClassifierRun) -> Sheet:
    """A line of held-out examples, then one of the first samples of each row, of the same classes.

    Raises:
        DataError: the judge's data is not at hand, or lacks a class.
    """
    lines = {REAL: first_of_classes(judge)}
    lines |= {f"{row.name}, guidance {_scale(row)}": row.shown for row in rows}
    count = min(map(len, lines.values()))
    spec = judge.experiment.data.example_spec()[judge.experiment.task.inputs]
    rows_of_equal = {name: shown[:count] for name, shown in lines.items()}
    return Gallery(rows_of_equal, spec.shown_as, spec.rate, columns=count).sheet()
