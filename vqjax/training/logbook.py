"""What a run writes down: metrics.jsonl, TensorBoard, log.txt, pictures, and the terminal.

Lines of kind "train" and "eval" are deterministic: after a restart they come out again bit for
bit. Timings go into lines of kind "time".
"""

import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import tensorboardX
import tqdm

from vqjax.files import read_text
from vqjax.format import printable
from vqjax.types import Alarm

METRICS = "metrics.jsonl"
TAIL = 1 << 16  # bytes in which the last line is looked for
MAX_STEP = 1 << 53  # whole numbers below it are exact as floats
PLAIN_SECONDS = 5.0  # between progress lines where there is no terminal
PLAIN_COLUMNS = 100  # of the bar on a terminal that does not say how wide it is
SHOWN = 5  # numbers on the progress line


def read_metrics(run: str | pathlib.Path) -> list[dict[str, Any]]:
    """All whole lines of a run's metrics.jsonl, in order; [] where there are none.

    Each has a "kind", a str, and a "step", an int from 0 on; what else is there, is left out.

    Raises:
        DataError: a folder, a pipe or the like has its name, or it cannot be read.
    """
    lines = []
    for text in read_text(pathlib.Path(run) / METRICS, "", "replace").splitlines():
        if line := _parsed(text):
            lines.append(line)
    return lines


def _parsed(text: str) -> dict[str, Any] | None:
    """One line's content; None where a kill has torn it, or it is not ours."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) and _is_metrics(line) else None


def last_recorded(run: str | pathlib.Path) -> int:
    """The last step that a run's metrics.jsonl tells of; 0 where there is none."""
    path = pathlib.Path(run) / METRICS
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        texts = file.read().decode(errors="replace").splitlines()
    for text in reversed(texts):
        if line := _parsed(text):
            return line["step"]
    return 0


def _is_metrics(line: dict[str, Any]) -> bool:
    if not {"kind", "step"} <= line.keys() or not isinstance(line["kind"], str):
        return False
    return type(line["step"]) is int and 0 <= line["step"] < MAX_STEP  # type: True is an int, too


class Logbook:
    """Opens a run's records at `step`; what was written of later steps is cut.

    Only process 0 writes.

    Attributes:
        elapsed_before: seconds of training in earlier starts.
    """

    def __init__(self, run: pathlib.Path, step: int, total_steps: int) -> None:
        self.run = run
        self._writes = jax.process_index() == 0
        self._total = total_steps
        kept = [line for line in read_metrics(run) if line["step"] <= step]
        times = [line["elapsed"] for line in kept if "elapsed" in line]
        times = [t for t in times if type(t) in (int, float) and 0 <= t < MAX_STEP]
        self.elapsed_before = max(times, default=0.0)
        self._started = time.perf_counter()
        self._last_line = 0.0
        self._timed: tuple[int, float] | None = None  # the first progress: its step and time
        self._bar = None
        self._alarm: Alarm | None = None  # what is wrong at the moment
        if not self._writes:
            return
        path = run / METRICS
        part = path.with_suffix(".part")
        part.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        part.replace(path)
        self._metrics = path.open("a", encoding="utf-8")
        self._text = (run / "log.txt").open("a", encoding="utf-8")
        self._board = tensorboardX.SummaryWriter(str(run), purge_step=step + 1, flush_secs=20)

    def __enter__(self) -> "Logbook":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def say(self, line: str) -> None:
        """One line for people: to stderr and log.txt."""
        if not self._writes:
            return
        line = printable(line)
        tqdm.tqdm.write(line, file=sys.stderr)
        self._text.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        self._text.flush()

    def progress(self, step: int, numbers: Mapping[str, float]) -> None:
        """A bar with rate and ETA on a terminal, now and then a plain line elsewhere.

        The first call, after the first step, is where the rate starts to be measured.
        """
        if not self._writes:
            return
        shown = {k: f"{v:.3g}" for k, v in list(numbers.items())[:SHOWN]}
        if self._alarm is not None:
            shown = {"ALARM": self._alarm.short, **shown}
        if sys.stderr.isatty():
            if self._bar is None:
                width = None if _has_width() else PLAIN_COLUMNS
                self._bar = tqdm.tqdm(
                    total=self._total,
                    initial=step,
                    unit="step",
                    ncols=width,
                    dynamic_ncols=width is None,
                )
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(step - self._bar.n)
            return
        now = time.perf_counter()
        if self._timed is None:  # compilation is over now; the rate counts from here
            self._timed, self._last_line = (step, now), now
        elif now - self._last_line >= PLAIN_SECONDS or step == self._total:
            self._last_line = now
            rate = (step - self._timed[0]) / max(now - self._timed[1], 1e-9)
            left = (self._total - step) / max(rate, 1e-9)
            text = " ".join(f"{k}={v}" for k, v in shown.items())
            self.say(f"step {step}/{self._total}  {rate:.2f} steps/s  {_span(left)} left  {text}")

    def alarm(self, step: int, alarm: Alarm | None) -> None:
        """Says when something goes wrong and when it is well again; the bar shows it meanwhile."""
        if alarm is not None and self._alarm is None:
            self.say(f"step {step}: WARNING: {alarm.line}")
        elif alarm is None and self._alarm is not None:
            self.say(f"step {step}: alarm over (it was: {self._alarm.short})")
        self._alarm = alarm

    def train(self, step: int, numbers: Mapping[str, float]) -> None:
        """The metrics of update `step`."""
        self._write("train", step, numbers)

    def evaluation(self, step: int, numbers: Mapping[str, float], picture: Any) -> None:
        """Numbers over the eval split and, where there is one, a picture uint8[H, W, 3]."""
        self._write("eval", step, numbers)
        if self._writes and picture is not None:
            from PIL import Image  # only the process that draws needs it

            (self.run / "samples").mkdir(exist_ok=True)
            Image.fromarray(np.asarray(picture)).save(self.run / "samples" / f"{step:08d}.png")
            self._board.add_image("reconstructions", picture, step, dataformats="HWC")

    def timing(self, step: int, numbers: Mapping[str, float]) -> None:
        """Measured seconds and rates; `elapsed` counts all starts of the run."""
        elapsed = self.elapsed_before + time.perf_counter() - self._started
        self._write("time", step, {"elapsed": round(elapsed, 3), **numbers})

    def _write(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        if not self._writes:
            return
        self._metrics.write(json.dumps({"kind": kind, "step": step, **numbers}) + "\n")
        for name, value in numbers.items():
            if math.isfinite(value):
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def flush(self) -> None:
        """Before a step is sealed: its lines must not be younger than the seal."""
        if self._writes:
            self._metrics.flush()
            os.fsync(self._metrics.fileno())

    def close(self) -> None:
        if not self._writes:
            return
        if self._bar is not None:
            self._bar.close()
        self._board.close()
        self._metrics.close()
        self._text.close()


def _has_width() -> bool:
    """Whether the terminal knows its width; a pseudo-terminal may say 0, where no bar fits."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError):
        return False


def _span(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
