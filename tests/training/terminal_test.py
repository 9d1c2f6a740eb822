"""What people see: a bar that keeps room, seconds that count, lines that a terminal holds."""

import io
import os
import re
import time

import pytest

from vqjax.training import terminal
from vqjax.training.logbook import Logbook, read_metrics

LOSSES = {"l1": 0.0123, "generator": 0.345, "discriminator": 1.23, "commitment": 0.00456}


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(params=[True, False], ids=["terminal", "pipe"])
def stream(request, monkeypatch):
    monkeypatch.setattr(terminal, "TICK", 0.02)
    monkeypatch.setattr(terminal, "QUIET", 0.02)
    return Screen() if request.param else io.StringIO()


@pytest.mark.parametrize(("width", "least"), [(60, 0), (80, 1), (120, 3), (160, 4)])
def test_a_bar_keeps_its_room_and_shows_what_fits(monkeypatch, width, least):
    screen = Screen()
    screen.fileno = lambda: 2
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((width, 24)))
    bar = terminal.Bar(10_000, 0)
    bar.draw(1, {})
    bar.draw(5_000, {name: f"{value:.3g}" for name, value in LOSSES.items()})
    bar._bar.refresh()
    line = screen.getvalue().split("\r")[-1]
    bar.close()
    assert len(line) <= width and "5000/10000" in line and "step/s" in line
    drawn = re.search(r"\|(.*)\|", line)[1]
    assert len(drawn) >= terminal.BAR - 1
    shown = [name for name in LOSSES if f"{name}=" in line]
    assert shown == list(LOSSES)[: len(shown)] and len(shown) >= least


def test_something_moves_while_a_call_says_nothing(stream, monkeypatch):
    monkeypatch.setattr("sys.stderr", stream)
    with terminal.waiting("compiling"):
        time.sleep(0.3)
    found = [float(n) for n in re.findall(r"compiling[,:] (\d+) s", stream.getvalue())]
    assert len(found) > 2
    before = stream.getvalue()
    with terminal.waiting("nothing"):
        pass
    assert stream.getvalue() == before


def test_a_training_bar_says_what_goes_on(tmp_path, stream, monkeypatch):
    monkeypatch.setattr("sys.stderr", stream)
    with Logbook(tmp_path, 0, 10) as book:
        book.progress(1, {})
        book.progress(2, {"l1": 0.5})
        with book.waiting("evaluating"):
            time.sleep(0.2)
    assert re.search(r"evaluating[,:] \d+ s", stream.getvalue())


def test_an_error_in_what_is_waited_for_comes_through(stream, monkeypatch):
    monkeypatch.setattr("sys.stderr", stream)
    with pytest.raises(KeyError), terminal.waiting("x"):
        raise KeyError


def test_evaluations_are_lines_that_a_terminal_holds(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(terminal, "columns", lambda: 60)
    numbers = {f"a_number_{i}": i / 7 for i in range(9)}
    with Logbook(tmp_path, 0, 10) as book:
        book.evaluation(3, numbers, None)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("step 3 evaluated:  a_number_0 0  a_number_1 0.1429")
    assert len(lines) > 3 and all(len(line) <= 60 for line in lines)
    text = " ".join(lines)
    assert all(f"{name} {value:.4g}" in text for name, value in numbers.items())


def test_of_many_numbers_those_of_levels_stand_for_themselves_together(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(terminal, "columns", lambda: 100)
    counts = range(1, 8)
    numbers = {"si_sdr": 5.5, **{f"si_sdr/first_{n}": n - 3.0 for n in counts}}
    numbers |= {f"codebook_usage/tokens_{n}": 1.0 for n in counts}
    numbers |= {f"perplexity/tokens_{n}": 200.0 - n for n in counts}
    with Logbook(tmp_path, 0, 10) as book:
        book.evaluation(3, numbers, None)
    assert capsys.readouterr().err.splitlines() == [
        "step 3 evaluated:  si_sdr 5.5  codebook_usage 1  perplexity 193..199",
        "  (all 22 numbers: metrics.jsonl)",
    ]
    assert len(read_metrics(tmp_path)[0]) == 2 + len(numbers)


def test_of_two_levels_every_number_is_shown():
    numbers = {"psnr": 20.0, "perplexity/top": 3.0, "perplexity/bottom": 90.0}
    shown = {"psnr": "20", "perplexity/top": "3", "perplexity/bottom": "90"}
    assert terminal.condensed(numbers) == shown
