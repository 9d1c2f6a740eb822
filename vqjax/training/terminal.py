"""The terminal of a training: lines, a bar with rate and time left, a clock for long waits.

A stream that is gone, full or closed does not end the run.
"""

import contextlib
import os
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import tqdm

from vqjax.format import printable

STREAM_ERRORS = (OSError, ValueError, AttributeError)  # a stream is gone, full, closed or None
COLUMNS = 100  # of a terminal of unknown size, and of lines elsewhere
ROWS = 24
BAR = 10  # least columns of a bar
TICK = 1.0  # seconds between two updates of a clock on a terminal
QUIET = 15.0  # and between two lines elsewhere
LISTED = 16  # numbers of an evaluation that lines show one by one; VQ-VAE-2 has a dozen


def show(line: str) -> None:
    """One line on stderr, above a bar; nothing happens where stderr is gone."""
    if sys.stderr is not None:  # tqdm would take stdout
        with contextlib.suppress(*STREAM_ERRORS):
            tqdm.tqdm.write(printable(line), file=sys.stderr)


def is_terminal() -> bool:
    """Whether stderr is a terminal, or the output of a notebook's cell, which draws a bar, too."""
    try:
        return sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel.")
    except STREAM_ERRORS:
        return False


def columns() -> int | None:
    """The terminal's width; None: unknown, as of a pseudo-terminal, where no bar fits."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or None
    except STREAM_ERRORS:
        return None


def _tqdm_size() -> dict[str, int | bool]:
    """Size arguments for tqdm, which draws nothing on a terminal of no rows."""
    if columns() is None:
        return {"ncols": COLUMNS, "nrows": ROWS}
    return {"dynamic_ncols": True}


def condensed(numbers: Mapping[str, float]) -> dict[str, str]:
    """Numbers as lines show them. Of more than `LISTED`, those of levels, "name/level", are left
    out where "name" stands for them, and else become one entry with the least and the largest.
    """
    if len(numbers) <= LISTED:
        return {name: f"{value:.4g}" for name, value in numbers.items()}
    shown: dict[str, list[float]] = {}
    for name, value in numbers.items():
        kind = name.partition("/")[0]
        if kind == name or kind not in numbers:
            shown.setdefault(kind, []).append(value)
    return {name: _span(values) for name, values in shown.items()}


def _span(values: Sequence[float]) -> str:
    least, largest = (f"{value:.4g}" for value in (min(values), max(values)))
    return least if least == largest else f"{least}..{largest}"


def wrapped(head: str, items: Mapping[str, str]) -> list[str]:
    """`head` and the items, "name value" each, in lines that fit a terminal."""
    text = "  ".join(f"{name}\0{value}" for name, value in items.items())
    lines = textwrap.wrap(
        f"{head}  {text}",
        min(columns() or COLUMNS, COLUMNS),
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
        fix_sentence_endings=False,
    )
    return [line.replace("\0", " ") for line in lines]


class Bar:
    """Steps done, rate, time left and a few numbers, on one line of a terminal.

    Args:
        total: steps of the run.
        step: at which it begins.
    """

    def __init__(self, total: int, step: int) -> None:
        self._bar = tqdm.tqdm(total=total, initial=step, unit="step", **_tqdm_size())

    def draw(self, step: int, numbers: Mapping[str, str]) -> None:
        """Shows `step` and as many of the first numbers as leave room for a bar."""
        self._bar.set_postfix({}, refresh=False)
        meter = self._bar.format_dict
        width = meter["ncols"] or columns() or COLUMNS
        room = width - len(self._bar.format_meter(**{**meter, "ncols": 0})) - BAR - len("||")
        shown = {}
        for name, value in numbers.items():
            room -= len(f", {name}={value}")
            if room < 0:
                break
            shown[name] = value
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(step - self._bar.n)

    def describe(self, what: str) -> None:
        """Shows an activity before the bar; "": none."""
        self._bar.set_description_str(what, refresh=True)

    def close(self) -> None:
        self._bar.close()


@contextlib.contextmanager
def waiting(what: str, say: Callable[[str], None] = show, bar: Bar | None = None) -> Iterator[None]:
    """Within `with`, a terminal shows `what` and the seconds since its start; elsewhere `say` is
    called now and then. What is over at once is not shown.

    Args:
        what: the activity, such as "compiling the step".
        say: for lines where there is no terminal.
        bar: an existing one that shows it.
    """
    done, terminal, started = threading.Event(), is_terminal(), time.monotonic()

    def count() -> None:
        seconds, clock = 0.0, None
        while not done.wait(TICK if terminal else QUIET):
            seconds = time.monotonic() - started
            with contextlib.suppress(*STREAM_ERRORS):
                if not terminal:
                    say(f"{what}: {seconds:.0f} s so far")
                elif bar is not None:
                    bar.describe(f"{what}, {seconds:.0f} s")
                else:
                    if clock is None:
                        clock = tqdm.tqdm(bar_format="{desc}", leave=False, **_tqdm_size())
                    clock.set_description_str(f"{what}, {seconds:.0f} s", refresh=True)
        with contextlib.suppress(*STREAM_ERRORS):
            if clock is not None:
                clock.close()
            elif bar is not None and seconds:
                bar.describe("")

    thread = threading.Thread(target=count, name="waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
