"""What people see of a training: lines, a bar with rate and time left, seconds that count.

A stream that is gone, full or closed ends nothing.
"""

import contextlib
import os
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import tqdm

from vqjax.format import printable

UNHEARD = (OSError, ValueError, AttributeError)  # of a stream that is gone, full, closed or None
COLUMNS = 100  # of a terminal that does not say how large it is, and of lines elsewhere
ROWS = 24
BAR = 10  # columns of a bar that still says something
TICK = 1.0  # seconds between two looks at a clock on a terminal
QUIET = 15.0  # and between two lines elsewhere


def show(line: str) -> None:
    """One line on stderr, above a bar; where nobody can read it any more, nothing happens."""
    if sys.stderr is not None:  # tqdm would take stdout
        with contextlib.suppress(*UNHEARD):
            tqdm.tqdm.write(printable(line), file=sys.stderr)


def is_terminal() -> bool:
    """Whether somebody may sit before stderr."""
    try:
        return sys.stderr.isatty()
    except UNHEARD:
        return False


def columns() -> int | None:
    """How wide the terminal is; None: it does not say, as a pseudo-terminal, where no bar fits."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or None
    except UNHEARD:
        return None


def _size() -> dict[str, int | bool]:
    """What tqdm has to know of a terminal: it draws nothing on one of no rows."""
    if columns() is None:
        return {"ncols": COLUMNS, "nrows": ROWS}
    return {"dynamic_ncols": True}


def wrapped(head: str, items: Mapping[str, str]) -> list[str]:
    """`head` and the items, "name value" each, in lines that a terminal holds."""
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
        self._bar = tqdm.tqdm(total=total, initial=step, unit="step", **_size())

    def draw(self, step: int, numbers: Mapping[str, str]) -> None:
        """Shows `step` and the numbers, the first ones first, that leave room for a bar."""
        self._bar.set_postfix({}, refresh=False)
        meter = self._bar.format_dict
        width = meter["ncols"] or columns() or COLUMNS
        room = width - len(self._bar.format_meter(**{**meter, "ncols": 0})) - BAR - len("||")
        kept = {}
        for name, value in numbers.items():
            room -= len(f", {name}={value}")
            if room < 0:
                break
            kept[name] = value
        self._bar.set_postfix(kept, refresh=False)
        self._bar.update(step - self._bar.n)

    def says(self, what: str) -> None:
        """Shows what goes on instead of steps; "": nothing."""
        self._bar.set_description_str(what, refresh=True)

    def close(self) -> None:
        self._bar.close()


@contextlib.contextmanager
def waiting(what: str, say: Callable[[str], None] = show, bar: Bar | None = None) -> Iterator[None]:
    """Within `with`, a terminal shows `what` and how many seconds it has taken, elsewhere `say`
    hears of it now and then. Only what takes its time is shown at all.

    Args:
        what: goes on, such as "compiling the step".
        say: for lines where there is no terminal.
        bar: that is there already, and shows it.
    """
    over, terminal, started = threading.Event(), is_terminal(), time.monotonic()

    def count() -> None:
        seconds, clock = 0.0, None
        while not over.wait(TICK if terminal else QUIET):
            seconds = time.monotonic() - started
            with contextlib.suppress(*UNHEARD):
                if not terminal:
                    say(f"{what}: {seconds:.0f} s so far")
                elif bar is not None:
                    bar.says(f"{what}, {seconds:.0f} s")
                else:
                    if clock is None:
                        clock = tqdm.tqdm(bar_format="{desc}", leave=False, **_size())
                    clock.set_description_str(f"{what}, {seconds:.0f} s", refresh=True)
        with contextlib.suppress(*UNHEARD):
            if clock is not None:
                clock.close()
            elif bar is not None and seconds:
                bar.says("")

    thread = threading.Thread(target=count, name="waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
