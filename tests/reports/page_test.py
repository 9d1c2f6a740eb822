"""One class writes every page: what strangers named is text on it, and it stays small."""

import dataclasses
import fnmatch
import pathlib
import re

import jinja2
import numpy as np
import pytest

from tests.reports.parts import TEMPLATES, comparison_page, page, part
from tests.reports.report_test import _check
from vqjax.media.gallery import lay, png_file
from vqjax.reports import page as frame
from vqjax.reports.compare import Comparison
from vqjax.reports.compare_page import strips_of
from vqjax.reports.compare_table import Row
from vqjax.reports.history import read_record
from vqjax.reports.tables import Fact
from vqjax.runs.drawn import picture_name

HOSTILE = "</p><script>alert('x')</script>\" onload=\"alert(1)\" ' & \x1b[2J\u202e" + "y" * 10_000
SHOWN = HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
LARGEST = 3 << 20  # bytes of a page of eight runs


@pytest.fixture
def hostile(trained_records, trust):
    """A run with that name everywhere where a stranger may have put it."""
    samples = trained_records / "samples"
    caption = png_file(lay([[np.zeros((8, 8, 3), np.uint8)] * 2]), HOSTILE)
    (samples / picture_name("sample", 400, 0)).write_bytes(caption)
    (samples / "prior_<script>'\".png").write_bytes(caption)
    record = read_record(trained_records, trust)
    return dataclasses.replace(
        record, name=HOSTILE, command=HOSTILE, devices=HOSTILE, version=HOSTILE, log=[HOSTILE] * 2
    )


def compared(records, name):
    rows = tuple(Row.of(record, f"{name}{i}") for i, record in enumerate(records))
    shared = strips_of(rows, "auto", (), lambda line: None)
    return comparison_page(Comparison(rows, (HOSTILE,), True), shared)


@pytest.mark.parametrize("kind", ["one", "several", "compare"])
def test_what_a_stranger_named_is_text_on_every_page(hostile, kind):
    # Of several runs the names are made of paths, which have an end.
    moved = dataclasses.replace(hostile, path=hostile.path / HOSTILE[:80].replace("/", "|"))
    text = {
        "one": lambda: page([hostile]),
        "several": lambda: page([hostile, moved]),
        "compare": lambda: compared([hostile, hostile], HOSTILE),
    }[kind]()
    parsed = _check(text)
    assert "<script" not in text and "\x1b" not in text and "\u202e" not in text
    assert {name for name, _ in parsed.attributes} <= {
        "alt", "aria-label", "charset", "class", "content", "cx", "cy", "height", "href",
        "http-equiv", "id", "lang", "name", "points", "r", "role", "src", "style", "text-anchor",
        "transform", "viewbox", "width", "x", "x1", "x2", "y", "y1", "y2",
    }  # fmt: skip
    whole = [words for words in parsed.text if SHOWN in words]
    assert len(whole) >= {"one": 6, "several": 8, "compare": 5}[kind]
    assert kind != "several" or text.count("&lt;|p&gt;&lt;script&gt;") >= 3  # lead, table, heading
    if kind != "compare":
        assert any("onload=" in v for k, v in parsed.attributes if k == "alt")  # its caption


def test_values_are_escaped_in_content_and_in_attributes():
    image = part("image", frame.Image("", 1, 1, HOSTILE))
    assert image.count('"') == 8 and "<script" not in image
    fact = Fact(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    assert part("facts", [fact]).count("&lt;script&gt;") == 4
    with pytest.raises(jinja2.UndefinedError):
        part("image", object())


def test_templates_leave_nothing_unescaped_and_run_nothing():
    for template in TEMPLATES.iterdir():
        text = template.read_text()
        if template.name == "style.css":
            assert not set("<&") & set(text) and "@import" not in text and "url(" not in text
            continue
        assert not re.search(r"\bsafe\b|autoescape|<script|<link|\son\w+=|href=\"[^#]", text)
        # Only between quotes is what is escaped one value.
        assert not re.search(r"=\s*\{\{", text), template.name


def test_a_page_of_eight_runs_is_small(trained_records, trust):
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 255, 64)[:, None, None] * np.ones((64, 64, 3))
    images = [(ramp * rng.uniform(0.2, 1, 3)).astype(np.uint8) for _ in range(32)]
    sheet = lay([images[i : i + 8] for i in range(0, 32, 8)], ("originals", "reconstructions"))
    for path in (trained_records / "samples").iterdir():
        path.write_bytes(png_file(sheet))
    record = read_record(trained_records, trust)
    names = ("l1", "commitment", "codebook", "total")
    noise = rng.lognormal(size=(1_500, len(names)))
    train = [dict(zip(names, line, strict=True)) for line in noise.tolist()]
    record = dataclasses.replace(
        record, train=[{"kind": "train", "step": i, **line} for i, line in enumerate(train)]
    )
    text = page([record] * 8)
    assert text.count("<section") == 8 and len(text.encode()) < LARGEST
    figures = re.findall(r'<figure class="chart">.*?</figure>', text)
    assert len(figures) == 4 * 8 and max(map(len, figures)) <= 40_000


def test_the_wheel_takes_all_templates():
    """By what setup.cfg says; that it does is tried in tests/install_test.py."""
    root = pathlib.Path(__file__).parents[2]
    pattern = re.search(r"(?m)^vqjax\.reports = (.*)$", (root / "setup.cfg").read_text())[1]
    files = [f"templates/{path.name}" for path in TEMPLATES.iterdir()]
    assert "templates/style.css" in files and "templates/page.html.j2" in files
    assert fnmatch.filter(files, pattern) == files
