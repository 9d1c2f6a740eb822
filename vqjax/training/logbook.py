"""A run's records: metrics.jsonl, TensorBoard, log.txt, sheets of examples, and the terminal.

Lines of kind "train" and "eval" are deterministic: after a restart they are the same bit for bit.
Timings go into lines of kind "time".
"""

import contextlib
import json
import math
import pathlib
import time
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from vqjax.files import json_text, read_text
from vqjax.format import printable
from vqjax.media.clips import clip_files, is_clip_of_other_step
from vqjax.media.gallery import Gallery, Sheet, png_file
from vqjax.media.stream_gallery import StreamGallery
from vqjax.numbers import Number
from vqjax.training import distributed
from vqjax.training.board import Board
from vqjax.training.journal import BackgroundWriter, Journal, write_whole, writing
from vqjax.training.terminal import (
    STREAM_ERRORS,
    Bar,
    condensed,
    is_terminal,
    show,
    waiting,
    wrapped,
)
from vqjax.types import Alarm

METRICS = "metrics.jsonl"
TAIL = 1 << 16  # last bytes in which to look for the last line
MAX_STEP = 1 << 53  # whole numbers below it are exact as floats
PLAIN_SECONDS = 5.0  # between progress lines where there is no terminal
SHOWN = 5  # numbers on the progress line
TRACKER_SECONDS = 60.0  # that the end of a run waits for a tracker


def read_metrics(run: str | pathlib.Path) -> list[dict[str, Any]]:
    """All whole lines of a run's metrics.jsonl, in order; [] where there are none.

    Each has a "kind", a str, and a "step", an int from 0 on; other lines are left out. Numbers that
    are not finite are None: null in the file, or NaN as written by earlier versions.

    Raises:
        DataError: it is no plain file, or cannot be read.
    """
    lines = []
    for text in read_text(pathlib.Path(run) / METRICS, "", "replace").splitlines():
        if line := _parse(text):
            lines.append(line)
    return lines


def _parse(text: str) -> dict[str, Any] | None:
    """One line's content; None where it was torn by a kill, or is not one of a run."""
    try:
        line = json.loads(text, parse_constant=_null, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) and _is_metrics(line) else None


def last_recorded(run: str | pathlib.Path) -> int:
    """The last step in a run's metrics.jsonl; 0 where there is none."""
    path = pathlib.Path(run) / METRICS
    if not path.is_file():
        return 0
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            texts = file.read().decode(errors="replace").splitlines()
    except OSError:  # checkpoints can be used all the same
        return 0
    for text in reversed(texts):
        if line := _parse(text):
            return line["step"]
    return 0


def is_evaluated(run: str | pathlib.Path, step: int) -> bool:
    """Whether a run's metrics.jsonl has an evaluation of `step`."""
    return _has_evaluation(read_metrics(run), step)


def _has_evaluation(lines: Iterable[Mapping[str, Any]], step: int) -> bool:
    return any((line["kind"], line["step"]) == ("eval", step) for line in lines)


def _null(constant: str) -> None:
    """Parses NaN and Infinity, which JSON does not have."""


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _is_metrics(line: dict[str, Any]) -> bool:
    if not {"kind", "step"} <= line.keys() or not isinstance(line["kind"], str):
        return False
    return type(line["step"]) is int and 0 <= line["step"] < MAX_STEP  # type: True is an int, too


class Logbook:
    """Opens a run's records at `step`; lines of later steps are cut.

    Only process 0 writes. metrics.jsonl belongs to the checkpoints: lines that could not be written
    to it wait for `flush`, which must succeed before a step is sealed. Everything else, including
    the terminal, neither ends nor blocks the run.

    Args:
        run: the run directory.
        step: finished updates.
        total_steps: of the run.
        may_write: called before every write; False once another process holds the run.
        tracker: makes one (`vqjax.training.trackers`), which gets what TensorBoard does; None:
            there is none.

    Attributes:
        elapsed_before: seconds of training in earlier starts.
        evaluated: whether there is an evaluation of `step`.

    Raises:
        DataError: metrics.jsonl cannot be read or written.
    """

    def __init__(
        self,
        run: pathlib.Path,
        step: int,
        total_steps: int,
        may_write: Callable[[], bool] = lambda: True,
        tracker: Any = None,
    ) -> None:
        self.run = run
        self.elapsed_before, self.evaluated = 0.0, False
        self._total = total_steps
        self._may_write = may_write
        self._started = time.perf_counter()
        self._last_line = 0.0
        self._rate_start: tuple[int, float] | None = None  # step and time of the first progress
        self._bar = None
        self._alarm: Alarm | None = None  # the current one
        self._nonfinite: set[tuple[str, str]] = set()  # kind and name of numbers already reported
        self._unwritten: list[str] = []  # lines of metrics.jsonl
        self._metrics: Journal | None = None
        self._text: Journal | None = None
        distributed.agree(lambda: self._open(step))
        self._writer = BackgroundWriter(self._warn, may_write)
        self._board = Board(run, step + 1)
        self._tracker = tracker
        self._tracking = tracker and BackgroundWriter(self._warn, may_write)  # it may be far away

    def _open(self, step: int) -> None:
        """Every process needs the times; process 0 cuts the lines."""
        path = self.run / METRICS
        with writing(path):
            lines = [line for line in read_metrics(self.run) if line["step"] <= step]
            if distributed.is_first():
                write_whole(path, "".join(json_text(n) + "\n" for n in lines))
                self._metrics = Journal(path)
        times = [line["elapsed"] for line in lines if "elapsed" in line]
        times = [t for t in times if type(t) in (int, float) and 0 <= t < MAX_STEP]
        self.elapsed_before = max(times, default=0.0)
        self.evaluated = _has_evaluation(lines, step)

    def __enter__(self) -> "Logbook":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _writes(self) -> bool:
        return self._metrics is not None and self._may_write()

    def say(self, line: str) -> None:
        """One line for people: to stderr and log.txt."""
        if not self._writes:
            return
        show(line)
        text = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {printable(line)}\n"
        self._writer.do("log.txt", lambda: self._append_log(text))

    def _append_log(self, text: str) -> None:
        if self._text is None:
            self._text = Journal(self.run / "log.txt")
        self._text.append(text.encode())

    def _warn(self, line: str) -> None:
        """Reports what is left out, which may be log.txt."""
        show(line) if "log.txt" in line else self.say(line)

    def progress(self, step: int, numbers: Mapping[str, float]) -> None:
        """A bar with rate and ETA on a terminal, now and then a plain line elsewhere.

        The first call, after the first step, is where the rate starts to be measured.
        """
        if not self._writes:
            return
        shown = {k: f"{v:.3g}" for k, v in list(numbers.items())[:SHOWN]}
        if self._alarm is not None:
            shown = {"ALARM": self._alarm.short, **shown}
        if is_terminal():
            with contextlib.suppress(*STREAM_ERRORS):
                self._bar = self._bar or Bar(self._total, step)
                self._bar.draw(step, shown)
            return
        now = time.perf_counter()
        if self._rate_start is None:  # compilation is over now; the rate counts from here
            self._rate_start, self._last_line = (step, now), now
        elif now - self._last_line >= PLAIN_SECONDS or step == self._total:
            self._last_line = now
            rate = (step - self._rate_start[0]) / max(now - self._rate_start[1], 1e-9)
            left = _duration((self._total - step) / max(rate, 1e-9))
            text = " ".join(f"{k}={v}" for k, v in shown.items())
            self.say(f"step {step}/{self._total}  {rate:.2f} steps/s  {left} left  {text}")

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Within `with`, the user sees that `what` goes on, and for how long."""
        if not self._writes:
            yield
            return
        with waiting(what, self.say, self._bar):
            yield

    def alarm(self, step: int, alarm: Alarm | None) -> None:
        """Reports when an alarm begins and when it is over; the bar shows it meanwhile."""
        if alarm is not None and self._alarm is None:
            self.say(f"step {step}: WARNING: {alarm.line}")
        elif alarm is None and self._alarm is not None:
            self.say(f"step {step}: alarm over (it was: {self._alarm.short})")
        self._alarm = alarm

    def train(self, step: int, numbers: Mapping[str, float]) -> None:
        """The metrics of update `step`."""
        self._write("train", step, numbers)

    def evaluation(
        self,
        step: int,
        numbers: Mapping[str, float],
        gallery: Gallery | StreamGallery | None,
        described: Mapping[str, Number] = types.MappingProxyType({}),
    ) -> None:
        """Numbers over the eval split and, where there is one, a gallery; `described`: see
        `Board.numbers`.
        """
        self._write("eval", step, numbers, described)
        shown = condensed(numbers)
        for line in wrapped(f"step {step} evaluated:", shown):
            self.say(line)
        if len(shown) < len(numbers):
            self.say(f"  (all {len(numbers)} numbers: {METRICS})")
        if self._writes and gallery is not None:
            sheet, when, name = gallery.sheet(), time.time(), list(gallery.rows)[-1]
            self._writer.do("samples", lambda: self._write_samples(step, gallery, sheet))
            self._board_do(lambda board: board.image(name, step, sheet.image, when))

    def _write_samples(self, step: int, gallery: Gallery | StreamGallery, sheet: Sheet) -> None:
        """The sheet, and before it what is heard of it: of the newest evaluation alone."""
        folder = self.run / "samples"
        folder.mkdir(exist_ok=True)
        clips = clip_files(step, gallery)
        for name, content in {**clips, f"{step:08d}.png": png_file(sheet)}.items():
            _write_file(folder / name, content)
        if clips:
            for path in folder.iterdir():
                if is_clip_of_other_step(path.name, step):
                    path.unlink(missing_ok=True)

    def timing(self, step: int, numbers: Mapping[str, float]) -> None:
        """Measured seconds and rates; `elapsed` counts all starts of the run."""
        elapsed = self.elapsed_before + time.perf_counter() - self._started
        self._write("time", step, {"elapsed": round(elapsed, 3), **numbers})

    def _write(
        self, kind: str, step: int, numbers: Mapping[str, float], described: Any = None
    ) -> None:
        if not self._writes:
            return
        line = {"kind": kind, "step": step, **numbers}
        self._unwritten.append(json_text(line) + "\n")
        with contextlib.suppress(OSError):
            self._append()  # else with the next line; only `flush` must succeed
        numbers, when = dict(numbers), time.time()
        self._board_do(lambda board: board.numbers(kind, step, numbers, when, described))
        odd = [n for n, v in numbers.items() if not math.isfinite(v)]
        odd = [n for n in odd if (kind, n) not in self._nonfinite]
        if odd:
            self._nonfinite.update((kind, name) for name in odd)
            names = ", ".join(odd[:SHOWN]) + (", ..." if len(odd) > SHOWN else "")
            self.say(f"step {step}: {kind}: {names} not finite, which {METRICS} has as null")

    def _board_do(self, write: Callable[[Any], object]) -> None:
        """Writes to TensorBoard's file and to the tracker."""
        board, tracker = self._board, self._tracker
        self._writer.do("events", lambda: write(board))
        if tracker is not None:
            self._tracking.do("to the tracker", lambda: write(tracker))

    def _append(self) -> None:
        self._metrics.append("".join(self._unwritten).encode())
        self._unwritten.clear()

    def flush(self) -> None:
        """To be called before a step is sealed: its lines must be on disk before the seal.

        Raises:
            DataError: they cannot be written.
        """
        if not self._writes:
            return
        with writing(self.run / METRICS):
            self._append()
            self._metrics.sync()

    def close(self) -> None:
        if self._bar is not None:
            with contextlib.suppress(*STREAM_ERRORS):
                self._bar.close()
        if self._writes:
            with contextlib.suppress(OSError):
                self._append()
        self._board_do(lambda board: board.close())
        self._writer.close()
        if self._tracking is not None:
            self._tracking.close(TRACKER_SECONDS)
        for journal in (self._metrics, self._text):
            if journal is not None:
                journal.close()


def _write_file(path: pathlib.Path, content: bytes) -> None:
    """Whole or not at all."""
    temporary = path.with_suffix(".part")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
