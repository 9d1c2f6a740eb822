"""The page: whole, self-contained, escaped, and with the run's own numbers."""

import dataclasses
import html.parser
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from tests.reports.parts import comparison_page, page, part
from vqjax.format import count, number, span
from vqjax.media import gallery
from vqjax.media.chart import Mark, Series, line_chart, log_ticks, nice_ticks
from vqjax.media.gallery import GAP, png_file, read_sheet
from vqjax.reports import page as frame
from vqjax.reports.compare import Comparison
from vqjax.reports.compare_table import (
    Row,
    columns_of,
    json_row,
    markdown_table,
    text_table,
)
from vqjax.reports.history import read_record
from vqjax.reports.report import write_report
from vqjax.types import DataError, UsageError

HOSTILE = "<img src=x onerror=alert(1)>"
VOID = {"meta", "img", "br", "wbr"}


class Page(html.parser.HTMLParser):
    """Balanced tags, all attributes, visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> inside {self.open}"
        self.open.pop()

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "title"):
            self.text.append(data)


def _check(text: str) -> Page:
    """The laws of every page."""
    parsed = Page(text)
    assert "script" not in parsed.tags and "link" not in parsed.tags
    whole = text.startswith("<!DOCTYPE html>")
    assert whole == (("content", frame.POLICY) in parsed.attributes)
    assert "http:" not in text and "https:" not in text and "@import" not in text
    for name, value in parsed.attributes:
        assert not name.startswith("on"), name
        if name == "src":
            assert value.startswith(("data:image/png;base64,", "data:audio/flac;base64,"))
        if name == "href":
            assert value.startswith("#")
    assert not re.findall(r"url\((?!#)", text)
    assert re.findall(r"\bnan\b|\binf\b", " ".join(parsed.text).lower()) == []
    ids = [value for name, value in parsed.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    for figure in re.findall(r'<figure class="chart">.*?</figure>', text, re.DOTALL):
        ElementTree.fromstring(figure)
    return parsed


def _rows(parsed: Page) -> str:
    return "\n".join(parsed.text)


def test_a_finished_run_has_everything(trained_records, trust):
    path = write_report([trained_records], trust=trust)
    assert path == trained_records / "report.html"
    text = path.read_text()
    parsed = _check(text)
    shown = _rows(parsed)
    lines = [
        json.loads(x) for x in (trained_records / "metrics.jsonl").read_text().split("\n")[:-1]
    ]
    final = [line for line in lines if line["kind"] == "eval"][-1]
    assert f"{final['psnr']:.2f}" in parsed.text
    assert f"{final['ssim']:.3f}" in parsed.text and f"{final['ssim']:.4f}" in parsed.text
    assert f"{final['perplexity']:.1f}" in parsed.text
    assert f"{final['high_frequency_ratio']:.4f}" in parsed.text
    # 16 tokens of 3 bits for 64 pixels of 8 bits; 400 steps in 8.25 + 100 s.
    for words in ("0.75", "4 × 4 tokens of 8 codes, 10.7 times smaller", "1 min 48 s", "1 x cpu"):
        assert words in shown, words
    assert text.count('<figure class="chart">') == 5
    assert parsed.tags.count("img") == 1 + 1 + 5  # the newest sheet; originals and five steps
    assert "VectorQuantizer" in shown and "Losses that change sign" in shown


def test_time_to_95_percent_is_that_of_the_first_such_evaluation(trained_records, trust):
    record = read_record(trained_records, trust)
    evals = [(line["step"], line["psnr"]) for line in record.evals]
    expected = next(step for step, psnr in evals if psnr >= 0.95 * evals[-1][1])
    step, _ = record.reached()
    assert step == expected and 50 < step < 400
    assert record.seconds_at(step) == pytest.approx(8.25 + step / 4)
    assert f"95% after {span(8.25 + step / 4)}" in page([record])


def test_seconds_between_two_timings_follow_the_steps(trained_records, trust):
    record = read_record(trained_records, trust)
    assert record.seconds_at(15) == pytest.approx(8.25 + 15 / 4)
    assert record.seconds_at(0) == 0.0
    assert record.seconds_at(401) is None


def test_hostile_names_and_logs_are_text(trained_records, trust):
    picture = np.zeros((4, 4, 3), np.uint8)
    drawn = trained_records / "samples" / f"{HOSTILE}\x1b[2J.png"
    drawn.write_bytes(png_file(picture, f"{HOSTILE}\x1b" * 999))
    line = {"kind": "eval", "step": 400, "psnr": 20.0, "perplexity": 2.0}
    names = {f"{kind}/{HOSTILE}\x1b\ud800": 0.5 for kind in ("x", "codebook_usage", "perplexity")}
    with (trained_records / "metrics.jsonl").open("a") as file:
        file.write("\n" + json.dumps(line | names) + "\n")
    record = read_record(trained_records, trust)
    text = page([record])
    parsed = _check(text)
    assert "digits <b>vqgan</b> & co" in parsed.text and HOSTILE not in text
    for shown in ("<script>alert(1)</script>", "<b>first</b> step", HOSTILE, "\\x1b", "\\ud800"):
        assert any(shown in words for words in parsed.text), shown
    text.encode()
    rows = [Row.of(record, "a"), Row.of(record, f"b {HOSTILE}|")]
    assert HOSTILE not in markdown_table(rows, columns_of(rows))
    assert HOSTILE not in comparison_page(Comparison(tuple(rows), (HOSTILE,), True), [])


def test_a_run_that_has_only_begun_has_a_page(run_dir, trust, tmp_path):
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "experiment.json").write_text((run_dir / "experiment.json").read_text())
    parsed = _check(page([read_record(begun, trust)]))
    assert "No numbers yet." in parsed.text and "No evaluation yet." in parsed.text
    (begun / "metrics.jsonl").write_text(
        '{"kind": "train", "step": 1, "total": 0.5, "l1": 0.5}\n{"ki'
    )
    parsed = _check(page([read_record(begun, trust)]))
    assert "No numbers yet." not in parsed.text and "Losses" in parsed.text
    assert "No evaluation yet." in parsed.text


def test_damaged_records_leave_out_what_they_spoil(trained_records, trust):
    header = json.loads((trained_records / "experiment.json").read_text())
    header["experiment"]["class"] = "Nobody"
    (trained_records / "experiment.json").write_text(json.dumps(header))
    (trained_records / "samples" / "00000400.png").write_bytes(b"\x89PNG torn")
    with (trained_records / "metrics.jsonl").open("a") as file:
        file.write('\n{"kind": "eval", "step": 410, "psnr": NaN, "ssim": "x"}\n[1]\n"a"\n')
        file.write('{"kind": "time", "step": 410}\n{"step": 411}\n')
    parsed = _check(page([read_record(trained_records, trust)]))
    assert any("Nobody" in text for text in parsed.text)  # the real reason
    assert any(text.startswith("Step 350") for text in parsed.text)


@pytest.mark.parametrize("value", ["1.7e308", "-1.7e308", "1e61", "1e999", "null", "NaN", "5e-324"])
def test_numbers_that_no_run_writes_break_nothing(trained_records, trust, value):
    numbers = ("psnr", "ssim", "perplexity", "codebook_usage", "nll_bound", "l1")
    odd = ", ".join(f'"{name}": {value}' for name in numbers)
    timed = f'"elapsed": {value}, "examples_per_second": {value}, "input_wait": {value}'
    with (trained_records / "metrics.jsonl").open("a") as file:
        for step in (400, 401, 402):
            file.write(f'\n{{"kind": "eval", "step": {step}, {odd}}}')
            file.write(f'\n{{"kind": "train", "step": {step}, {odd}, "total": {value}}}')
            file.write(f'\n{{"kind": "time", "step": {step}, {timed}}}')
    record = read_record(trained_records, trust)
    text = page([record, record])
    _check(text)
    assert not re.search(r"\d{16}", re.sub('base64,[^"]*', "", text))
    row = Row.of(record, "a")
    json.dumps(json_row(row), allow_nan=False)
    assert max(map(len, text_table([row], columns_of([row])).splitlines())) < 400


def test_hostile_records_are_left_out(trained_records, trust):
    with (trained_records / "metrics.jsonl").open("a") as file:
        huge = "9" * 400
        for step in ("-1", "true", '"5"', "4.5", "[]", huge):
            file.write(f'\n{{"kind": "eval", "step": {step}, "psnr": 99.25}}')
        file.write(f'\n{{"kind": "eval", "step": 400, "psnr": {huge}, "ssim": 0.5}}')
        file.write(f'\n{{"kind": "time", "step": 400, "elapsed": {huge}}}')
        file.write("\n" + "[" * 100_000)
    record = read_record(trained_records, trust)
    parsed = _check(page([record]))
    assert record.step == 400 and not any("99.25" in text for text in parsed.text)


def test_a_header_that_is_no_json_is_one_line(trained_records, trust):
    for text in ("[" * 100_000, "{", "[]", "\udcff"):
        (trained_records / "experiment.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(DataError, match="experiment.json") as raised:
            read_record(trained_records, trust)
        assert "\n" not in str(raised.value)


def test_why_a_run_cannot_be_read_is_told(trained_records, trust):
    with pytest.raises(UsageError, match="--trust nofile.py: no such file"):
        read_record(trained_records, ("nofile.py",))
    record = read_record(trained_records, ())
    assert record.experiment is None and f"--trust {trust[0]}" in record.unreadable
    assert any(record.unreadable in text for text in _check(page([record])).text)


def test_pictures_that_are_none_or_too_large_are_left_out(trained_records, monkeypatch):
    path = trained_records / "samples" / "00000400.png"
    assert read_sheet(path).image.dtype == np.uint8
    monkeypatch.setattr(gallery, "MAX_PIXELS", 16)
    assert read_sheet(path) is None
    monkeypatch.undo()
    Image.new("RGB", (4, 4)).save(path, "JPEG")
    assert read_sheet(path) is None
    monkeypatch.setattr(Image, "open", lambda *_, **__: 1 // 0)  # decoders raise what they like
    assert read_sheet(path) is None


def test_a_page_tells_no_pictures_from_those_that_it_cannot_show(trained_records, tmp_path):
    record = read_record(trained_records)
    assert "No pictures yet" in page([dataclasses.replace(record, samples=[])])
    (bad := tmp_path / "00000400.png").write_bytes(b"")
    shown = page([dataclasses.replace(record, samples=[(400, bad)])])
    assert "each is damaged, or of more than 160 million pixels" in shown


def test_what_a_training_draws_is_read_and_shown_smaller(tmp_path, monkeypatch):
    for side in (1_024, 2_048):  # 8 columns, 4 rows
        assert (8 * (side + GAP) + GAP) * (4 * (side + GAP) + GAP) <= gallery.MAX_PIXELS
    monkeypatch.setattr(frame, "SHOWN_PIXELS", 200)
    picture = np.zeros((20, 40, 3), np.uint8)
    assert 'width="20" height="10"' in part("image", frame.Image.of(picture, ""))
    assert 'width="4" height="3"' in part("image", frame.Image.of(picture[:3, :4], ""))


def test_several_runs_are_compared_and_the_best_stands_out(
    trained_records, run_dir, trust, tmp_path
):
    out = tmp_path / "pages" / "both.html"
    write_report([trained_records, run_dir], out, trust)
    text = out.read_text()
    parsed = _check(text)
    assert "Side by side" in parsed.text and "2 runs" in parsed.text
    assert ("href", "#run-0") in parsed.attributes
    assert text.count('class="n best"') == 0  # one of them has no numbers: nothing to rank
    again = tmp_path / "again"
    again.mkdir()
    for name in ("experiment.json", "metrics.jsonl"):
        content = (trained_records / name).read_text()
        (again / name).write_text(re.sub(r'"psnr": \d+', '"psnr": 31', content))
    text = page([read_record(trained_records, trust), read_record(again, trust)])
    _check(text)
    assert re.findall(r'best">(31\.\d\d)<', text)


@pytest.mark.parametrize("levels", [2, 3])
def test_many_codebooks_have_a_table_of_their_own(trained_records, trust, levels):
    kinds = {"codebook_usage": 0.5, "perplexity": 3.0}
    line = {f"{kind}/level {n}": v + n / 4 for kind, v in kinds.items() for n in range(levels)}
    evals = [{"kind": "eval", "step": step, "psnr": 20.0, **line} for step in (200, 400)]
    (trained_records / "metrics.jsonl").write_text("\n".join(map(json.dumps, evals)))
    text = page([read_record(trained_records, trust)])
    _check(text)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall("<tr>(.*?)</tr>", text)]
    assert (["level 1", "75.0", "3.2"] in cells) == (levels == 3)
    assert ("Perplexity (level 1)" in text) == (levels == 2)
    curves = re.search(r"<figcaption>Codebook, on the eval split.*?</ul>", text)[0].count("<li>")
    assert curves == (4 if levels == 2 else 2)


def test_what_is_no_run_or_cannot_be_written_is_one_line(trained_records, trust, tmp_path):
    with pytest.raises(DataError, match="not a run directory"):
        write_report([tmp_path / "nothing"])
    with pytest.raises(UsageError, match="is a directory"):
        write_report([trained_records], tmp_path, trust)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        write_report([trained_records], file / "page.html", trust)


def test_ticks_are_round_and_inside():
    assert nice_ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    np.testing.assert_allclose(nice_ticks(0.012, 0.019), [0.012, 0.014, 0.016, 0.018])
    assert log_ticks(0.01, 100_000) == [0.01, 0.1, 1, 10, 100, 1_000, 10_000, 100_000]
    np.testing.assert_allclose(log_ticks(0.03, 0.7), [0.05, 0.1, 0.2, 0.5])
    assert all(0.5 <= t < 0.601 for t in log_ticks(0.5, 0.6)) and len(log_ticks(0.5, 0.6)) > 1


@pytest.mark.parametrize(
    "values",
    [
        [1.0],
        [2.0, 2.0],
        [0.0, 0.0],
        [-1.0, 5.0],
        [1e-9, 1e9],
        [5e-324],
        [0.0, 5e-324],
        [1e60, -1e60],
    ]
    + [[1.0, 1.0 + 2e-16], [1e60], [1e38] * 99],
    ids=str,
)
@pytest.mark.parametrize("log", [False, True])
def test_any_curve_can_be_drawn(values, log):
    points = [(float(i), v) for i, v in enumerate(values)]
    chart = line_chart("t", [Series("<a>", points)], "x", "y", log=log, mark=Mark(0, 1, "<m>"))
    text = part("chart", chart)
    assert text or log and max(values) < 1e-60
    if text:
        Page(text)
        assert "nan" not in text and "<a>" not in text and "<m>" not in text


def test_points_stand_where_their_values_are():
    chart = line_chart("t", [Series("a", [(0, 0.0), (10, 50.0), (20, 100.0)])], "x", "y")
    text = part("chart", chart)
    places = re.search(r'class="line"[^>]*points="([^"]*)"', text)[1].split()
    x, y = zip(*[tuple(map(float, p.split(","))) for p in places], strict=True)
    assert x[2] - x[1] == pytest.approx(x[1] - x[0], abs=0.2)
    assert y[0] - y[1] == pytest.approx(y[1] - y[2], abs=0.2) and y[0] > y[2]


def test_numbers_for_people():
    shown = [number(v) for v in (0, 1234567, 27.314159, 0.00123, 1e-7, 100.0)]
    assert shown == ["0", "1,234,567", "27.31", "0.00123", "1e-07", "100"]
    assert [span(v) for v in (None, 4.2, 59, 266, 7620)] == [
        "–", "4.2 s", "59 s", "4 min 26 s", "2 h 07 min"
    ]  # fmt: skip
    assert [count(v) for v in (913, 48_123, 1_240_000)] == ["913", "48.1 k", "1.24 M"]
