"""What a report needs to know of a run, read from its directory alone.

Nothing here fails on a run that is still going on, was killed or is damaged in part: what is not
there is left out of the page.
"""

import dataclasses
import os
import pathlib
import re
import shlex
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vqjax.config import decode, find_frozen, read_json
from vqjax.files import read_text
from vqjax.numbers import Number
from vqjax.paths import as_path
from vqjax.runs.base import Run, can
from vqjax.runs.footprint import Footprint
from vqjax.runs.load import footprint_of, run_class
from vqjax.runs.tokenizer import TokenizerRun
from vqjax.tasks.adversary import ADVERSARIAL
from vqjax.training.experiment import Experiment
from vqjax.training.logbook import MAX_STEP, read_metrics
from vqjax.training.record import RECORD
from vqjax.types import ArraySpec, DataError, UsageError

Line = dict[str, Any]
Points = list[tuple[float, float]]
LARGEST = 1e60  # metrics are float32, which end at 3.4e38
REACHED = 0.95  # of the final PSNR
LOG_LINES = 60
IMPORT = "vqjax import "  # how the command of an imported run begins
HEAD = 3  # numbers at the head of a page of a run that names none
_START = re.compile(r"examples on (.+?); run: ")  # what a start writes to the log


@dataclasses.dataclass(frozen=True)
class Record:
    """One run.

    Attributes:
        path: the run directory.
        name: what the page calls it.
        version: of the vqjax that started it.
        command: as typed.
        experiment: the objects, or None where they cannot be read.
        unreadable: why the experiment cannot be read; "" where it can.
        footprint: sizes, or None where the experiment cannot be read.
        train: lines of kind "train"; likewise `evals` and `times`.
        samples: (step, picture file), in order.
        devices: what the run was made on, from its log.
        starts: how often it was started; 0 where the log does not tell.
        log: the last lines of log.txt.
        sound: what its sound is, with the rate; None: it has none.
    """

    path: pathlib.Path
    name: str
    version: str
    command: str
    experiment: Experiment | None
    unreadable: str
    footprint: Footprint | None
    train: list[Line]
    evals: list[Line]
    times: list[Line]
    samples: list[tuple[int, pathlib.Path]]
    devices: str
    starts: int
    log: list[str]
    sound: ArraySpec | None = None

    @property
    def step(self) -> int:
        """The newest step that anything was written of."""
        lines = (lines[-1]["step"] for lines in (self.train, self.evals, self.times) if lines)
        return max(lines, default=0)

    @property
    def kind(self) -> type[Run] | None:
        """The class that opens it; None: not known."""
        try:
            return None if self.experiment is None else run_class(self.experiment.task)
        except UsageError:
            return None

    @property
    def reconstructs(self) -> bool:
        """Whether it can; where nothing is known of it, as its numbers say."""
        if self.kind is None:
            return bool(self.curve("eval", "psnr"))
        return can(self.kind, self.experiment, "reconstruct")

    @property
    def shows(self) -> str:
        """The heading of its pictures; "": it has none."""
        kind = TokenizerRun if self.kind is None and self.reconstructs else self.kind
        return "Pictures" if kind is None else kind.shows

    @property
    def headline(self) -> tuple[str, ...]:
        """Names of the numbers at the head of its page."""
        kind = TokenizerRun if self.kind is None and self.reconstructs else self.kind
        named = () if kind is None else kind.headline
        return named or tuple(n for n in self.names("eval") if "/" not in n)[:HEAD]

    @property
    def numbers(self) -> Mapping[str, Number]:
        """What its own numbers are, beside those of `vqjax.numbers`."""
        return {} if self.kind is None else self.kind.numbers

    @property
    def depth(self) -> int:
        """On how many runs it builds."""
        return 0 if self.experiment is None else len(find_frozen(self.experiment))

    @property
    def is_imported(self) -> bool:
        """Whether others trained it: see `vqjax import`."""
        return self.command.startswith(IMPORT)

    @property
    def total_steps(self) -> int | None:
        return None if self.experiment is None else self.experiment.total_steps

    @property
    def final(self) -> Line:
        """The newest evaluation's numbers; {} before the first."""
        return self.evals[-1] if self.evals else {}

    @property
    def elapsed(self) -> float | None:
        """Seconds of training over all starts; None where nothing was timed."""
        return float(self.times[-1]["elapsed"]) if self.times else None

    @property
    def rate(self) -> float | None:
        """Examples per second of training: the median of the timings, of which the first, that of
        a run that is still warming up, counts only where it is the one; None before it.
        """
        rates = [value for _, value in self.curve("time", "examples_per_second")]
        return statistics.median(rates[1:] or rates) if rates else None

    def seconds_at(self, step: int) -> float | None:
        """Seconds of training until `step`, between two timings in proportion to the steps."""
        known = [(0, 0.0), *((line["step"], float(line["elapsed"])) for line in self.times)]
        for (a, start), (b, end) in zip(known, known[1:], strict=False):
            if a <= step <= b:
                return start + (end - start) * (step - a) / max(b - a, 1)
        return None

    def curve(self, kind: str, name: str) -> Points:
        """(step, value) of a number in lines of `kind`, finite ones only."""
        lines = {"train": self.train, "eval": self.evals, "time": self.times}[kind]
        return [(float(line["step"]), float(line[name])) for line in lines if is_number(line, name)]

    def names(self, kind: str) -> list[str]:
        """Names of the numbers in lines of `kind`, in the order in which they come up."""
        lines = {"train": self.train, "eval": self.evals, "time": self.times}[kind]
        names = dict.fromkeys(name for line in lines for name in line)
        return [name for name in names if name not in ("kind", "step")]

    @property
    def loss_names(self) -> list[str]:
        """The loss terms among the training numbers, the weighted sum last; without that where
        there are two players: the sum of what both lose says nothing.
        """
        terms = () if self.experiment is None else self.experiment.task.terms
        written = self.names("train")
        names = [name for name in written if name in terms]
        return (
            names
            if any(name in ADVERSARIAL for name in names)
            else names + [name for name in written if name == "total"]
        )

    def reached(self) -> tuple[float, float] | None:
        """(step, PSNR) of the first evaluation with at least `REACHED` of the final PSNR."""
        points = self.curve("eval", "psnr")
        if len(points) < 2 or points[-1][1] <= 0:
            return None
        return next(point for point in points if point[1] >= REACHED * points[-1][1])


def is_number(line: Line, name: str) -> bool:
    """Whether `line` has a number of that name that a run may have written: finite, and so far from
    the largest float that sums and products of some stay finite.
    """
    if name not in line or isinstance(line[name], bool) or not isinstance(line[name], int | float):
        return False
    return abs(line[name]) <= LARGEST  # False also of NaN


def is_run(path: str | os.PathLike) -> bool:
    """Whether it is a directory that `vqjax train` made."""
    return (pathlib.Path(path) / RECORD).is_file()


def read_record(run: str | pathlib.Path, trust: Sequence[str] = ()) -> Record:
    """Reads a run directory.

    Raises:
        DataError: `run` is not a run directory, its record is not JSON, or where a file belongs
            there is something else.
        UsageError: `trust` itself is wrong.
    """
    path = as_path(run).absolute()
    described = path / RECORD
    if not os.path.lexists(described):
        raise DataError(f"{run} is not a run directory: it has no {RECORD}")
    header = read_json(described)
    if not isinstance(header, dict):
        raise DataError(f"{described} cannot be read: not a mapping")
    experiment, unreadable = _experiment(header, trust)
    lines = read_metrics(path)
    log = read_text(path / "log.txt", "", "replace").splitlines()
    started = [found[1] for line in log if (found := _START.search(line))]
    return Record(
        path=path,
        name=_text(header, "name") or path.name,
        version=_text(header, "vqjax"),
        command=_command(header),
        experiment=experiment,
        unreadable=unreadable,
        footprint=None if experiment is None else _footprint(experiment, header),
        train=_of_kind(lines, "train"),
        evals=_of_kind(lines, "eval"),
        times=[line for line in _of_kind(lines, "time") if _is_timed(line)],
        samples=_samples(path / "samples"),
        devices=started[-1] if started else "",
        starts=len(started),
        log=log[-LOG_LINES:],
        sound=next((spec for spec in _inputs(header).values() if _is_sound(spec)), None),
    )


def _of_kind(lines: Iterable[Line], kind: str) -> list[Line]:
    return [line for line in lines if "kind" in line and line["kind"] == kind]


def _is_timed(line: Line) -> bool:
    return is_number(line, "elapsed") and 0 <= line["elapsed"] < MAX_STEP


def _text(header: dict, name: str) -> str:
    return str(header[name]) if name in header else ""


def _command(header: dict) -> str:
    if "command" not in header:
        return ""
    command = header["command"]
    return shlex.join(map(str, command)) if isinstance(command, list) else str(command)


def _experiment(header: dict, trust: Sequence[str]) -> tuple[Experiment | None, str]:
    """The objects, or None and why they cannot be had."""
    if "experiment" not in header:
        return None, f"{RECORD} holds no experiment"
    try:
        experiment = decode(header["experiment"], trust=tuple(trust))
    except DataError as error:
        return None, str(error)
    if not isinstance(experiment, Experiment):
        return None, f"{RECORD} holds {type(experiment).__name__}, not an Experiment"
    try:
        experiment.check_parts()
    except UsageError as error:
        return None, str(error)
    return experiment, ""


def _footprint(experiment: Experiment, header: dict) -> Footprint | None:
    """The sizes, None where the header does not tell them."""
    try:
        return footprint_of(experiment, _inputs(header))
    except Exception:  # whatever a stranger's classes do: the page then lacks these numbers
        return None


def _inputs(header: dict) -> dict[str, ArraySpec]:
    """The arrays of a batch; {} where the header does not tell them."""
    try:
        return {name: ArraySpec.of_json(spec) for name, spec in header["inputs"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return {}


def _is_sound(spec: ArraySpec) -> bool:
    return spec.medium == "audio" and spec.rate is not None and 0 < spec.rate <= LARGEST


def _samples(folder: pathlib.Path) -> list[tuple[int, pathlib.Path]]:
    if not folder.is_dir():
        return []
    files = (p for p in folder.glob("*.png") if p.is_file())
    return sorted((int(p.stem), p) for p in files if p.stem.isdecimal())
