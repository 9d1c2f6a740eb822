"""What a run writes down survives kills and never says a step twice."""

import io
import json
import math

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from vqjax.media.gallery import Gallery
from vqjax.training import logbook
from vqjax.training.journal import Journal
from vqjax.training.logbook import Logbook, read_metrics
from vqjax.types import DataError

GREY = np.zeros((2, 4, 6, 3), np.uint8)


def lines_of(run):
    return [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]


def write(run, first, last):
    with Logbook(run, first, 10) as book:
        for step in range(first + 1, last + 1):
            book.train(step, {"l1": 1 / step})
            book.timing(step, {"examples_per_second": 2.0})


def test_lines_after_the_restored_step_and_torn_ones_are_cut(tmp_path):
    write(tmp_path, 0, 5)
    whole = lines_of(tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "step": 6, "l1')
    assert read_metrics(tmp_path) == whole
    write(tmp_path, 3, 5)
    again = lines_of(tmp_path)
    train = [line for line in again if line["kind"] == "train"]
    assert train == [line for line in whole if line["kind"] == "train"]
    assert [line["step"] for line in again] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


@pytest.mark.parametrize(
    "text",
    ["[]\n", "7\n", "null\n", '{"step": 1}\n', "\x00\xff\n", "\n", "[" * 100_000 + "\n"]
    + [f'{{"kind": "eval", "step": {step}}}\n' for step in ("true", "-1", "1.0", '"1"', "9" * 99)],
    ids=lambda text: text[:32].strip(),
)
def test_what_is_no_line_is_passed_over(tmp_path, text):
    write(tmp_path, 0, 1)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(text)
    assert len(read_metrics(tmp_path)) == 2
    write(tmp_path, 1, 2)
    assert len(lines_of(tmp_path)) == 4


def test_elapsed_counts_all_starts(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"kind": "time", "step": 1, "elapsed": 100.0}\n{"kind": "time", "step": 9, "elapsed": 900}'
    )
    with Logbook(tmp_path, 1, 10) as book:
        assert book.elapsed_before == 100.0
        book.timing(2, {})
    assert 100.0 <= lines_of(tmp_path)[-1]["elapsed"] < 160.0


def test_no_metrics_is_no_lines(tmp_path):
    assert read_metrics(tmp_path / "nowhere") == []


def test_pictures_scalars_and_their_purge_reach_tensorboard(tmp_path):
    gallery = Gallery({"originals": GREY, "samples": GREY})
    with Logbook(tmp_path, 3, 10) as book:
        book.evaluation(4, {"psnr": 20.0, "odd": float("nan")}, gallery)
        book.evaluation(5, {"psnr": 21.0}, None)
    assert [p.name for p in (tmp_path / "samples").iterdir()] == ["00000004.png"]
    (path,) = tmp_path.glob("events.*")
    events = list(records(path.read_bytes()))
    # TensorBoard drops events of this step and later ones; those of step 3 are still true.
    assert [e.step for e in events if e.HasField("session_log")] == [4]
    tags = {v.tag for e in events for v in e.summary.value}
    assert tags == {"eval/psnr", "samples"}


def test_the_newest_sounds_lie_beside_their_sheet(tmp_path):
    sounds = [np.sin(np.arange(n))[:, None] for n in (500, 300)]
    gallery = Gallery({"originals": sounds, "samples": sounds}, "audio", 8_000.0)
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "own_00000004.flac").write_bytes(b"own")
    for step, new in (4, gallery), (6, gallery), (8, Gallery({"samples": GREY})):
        with Logbook(tmp_path, step - 1, 10) as book:
            book.evaluation(step, {"si_sdr": 1.0}, new)
    assert sorted(p.name for p in (tmp_path / "samples").iterdir()) == [
        "00000004.png", "00000006.png", "00000006_0_originals.flac", "00000006_0_samples.flac",
        "00000006_1_originals.flac", "00000006_1_samples.flac", "00000008.png",
        "own_00000004.flac",
    ]  # fmt: skip


def test_a_number_that_is_not_finite_is_null_and_said_once(tmp_path, capsys):
    old = '{"kind": "eval", "step": 1, "psnr": NaN, "l1": -Infinity, "mse": 1e999, "ssim": 0.1}\n'
    (tmp_path / "metrics.jsonl").write_text(old)
    with Logbook(tmp_path, 1, 10) as book:
        for step in (2, 3):
            book.evaluation(step, {"psnr": math.nan, "ssim": 0.25, "l1": math.inf}, None)
            book.train(step, {"psnr": math.nan})
    text = (tmp_path / "metrics.jsonl").read_text()
    strict = [json.loads(line, parse_constant=lambda _: 1 // 0) for line in text.splitlines()]
    assert strict == read_metrics(tmp_path)
    assert strict[0] == {"kind": "eval", "step": 1, "psnr": None, "l1": None, "mse": None,
                         "ssim": 0.1}  # fmt: skip
    assert strict[1] == {"kind": "eval", "step": 2, "psnr": None, "ssim": 0.25, "l1": None}
    said = [line for line in capsys.readouterr().err.splitlines() if "not finite" in line]
    assert said == [
        "step 2: eval: psnr, l1 not finite, which metrics.jsonl has as null",
        "step 2: train: psnr not finite, which metrics.jsonl has as null",
    ]


def records(content):
    """The events of a TFRecord file: length, its check sum, the event, its check sum."""
    while content:
        size = int.from_bytes(content[:8], "little")
        yield Event.FromString(content[12 : 12 + size])
        content = content[16 + size :]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar_others_plain_lines(tmp_path, monkeypatch):
    terminal, pipe = Terminal(), io.StringIO()
    monkeypatch.setattr(logbook, "PLAIN_SECONDS", 0.0)
    for stream in (terminal, pipe):
        monkeypatch.setattr("sys.stderr", stream)
        with Logbook(tmp_path, 2, 10) as book:
            book.say("hello")
            book.progress(3, {})
            book.progress(4, {"l1": 0.123456, "l2": 5.0})
            book.progress(10, {"l1": 0.1})
    bar = terminal.getvalue()
    assert "hello" in bar and "10/10" in bar and "l1=0.1" in bar and "\r" in bar
    plain = pipe.getvalue().splitlines()
    assert plain[0] == "hello" and plain[1].startswith("step 4/10  ") and "left" in plain[1]
    assert plain[1].endswith("l1=0.123 l2=5") and len(plain) == 3
    assert "hello" in (tmp_path / "log.txt").read_text()


def test_lines_wait_for_a_full_disk_and_no_step_is_sealed_without_them(tmp_path, monkeypatch):
    def full(self, piece):
        raise OSError(28, "No space left on device")

    with Logbook(tmp_path, 0, 10) as book:
        book.train(1, {"l1": 1.0})
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "append", full)
            for step in (2, 3):
                book.train(step, {"l1": 1.0})
                book.say("hello")
            with pytest.raises(DataError, match=r"cannot write .*metrics.jsonl: No space left"):
                book.flush()
        book.train(4, {"l1": 1.0})
        book.flush()
        assert [line["step"] for line in lines_of(tmp_path)] == [1, 2, 3, 4]
        (tmp_path / "metrics.jsonl").unlink()
        with pytest.raises(DataError, match=r"cannot write .*metrics.jsonl: No such file"):
            book.flush()


def test_records_that_cannot_be_begun(tmp_path, capsys):
    with pytest.raises(DataError, match=r"cannot write .*metrics.jsonl: No such file"):
        Logbook(tmp_path / "nowhere", 0, 10)
    (tmp_path / "log.txt").mkdir()
    (tmp_path / "samples").write_text("a file")
    with Logbook(tmp_path, 0, 10) as book:
        for step in (1, 2):
            book.say("hello")
            book.evaluation(step, {"psnr": 20.0}, Gallery({"samples": GREY}))
    said = capsys.readouterr().err.splitlines()
    assert sorted(said) == [
        "cannot write log.txt (Is a directory): left out, training goes on",
        "cannot write samples (File exists): left out, training goes on",
        "hello",
        "hello",
        "step 1 evaluated:  psnr 20",
        "step 2 evaluated:  psnr 20",
    ]
    assert len(lines_of(tmp_path)) == 2 and len(list(tmp_path.glob("events.*"))) == 1


def test_nothing_is_written_for_another_process(tmp_path):
    mine = [True]
    with Logbook(tmp_path, 0, 10, lambda: mine[0]) as book:
        book.train(1, {"l1": 1.0})
        book.say("hello")
        mine[0] = False
        before = (tmp_path / "metrics.jsonl").read_text()
        book.train(2, {"l1": 1.0})
        book.say("no more")
        book.flush()
    assert (tmp_path / "metrics.jsonl").read_text() == before


class Gone(io.StringIO):
    """A stream whose reader has left."""

    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")

    flush = fileno = lambda self: self.write("")


@pytest.mark.parametrize("stream", ["none", "closed", "pipe", "terminal"])
def test_a_stderr_that_is_gone_ends_nothing(tmp_path, monkeypatch, stream, capsys):
    streams = {"none": None, "closed": io.StringIO(), "pipe": Gone(False), "terminal": Gone(True)}
    streams["closed"].close()
    monkeypatch.setattr(logbook, "PLAIN_SECONDS", 0.0)
    monkeypatch.setattr("sys.stderr", streams[stream])
    with Logbook(tmp_path, 2, 10) as book:
        book.say("hello")
        for step in (3, 4, 10):
            book.progress(step, {"l1": 0.5})
            book.say("there")
    assert capsys.readouterr().out == ""
    assert (tmp_path / "log.txt").read_text().count("there") == 3
