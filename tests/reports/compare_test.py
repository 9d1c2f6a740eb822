"""Runs side by side: where the numbers come from, what the tables say, what the page shows."""

import dataclasses
import json
import math
import re
import shutil
import types

import numpy as np
import pytest
from PIL import Image

from tests import tiny
from tests.reports.parts import comparison_page, part
from tests.reports.report_test import _check
from tests.small_source import SmallSource, small_experiment
from vqjax.cli.main import main
from vqjax.data import TFDS, CenterCrop, Folder, RandomFlip
from vqjax.media.gallery import Gallery, png_file
from vqjax.media.scatter import DOT, Box, Point, _scale, labels_of, scatter
from vqjax.quantizers import EMAVectorQuantizer, KMeans, VectorQuantizer
from vqjax.reports import compare
from vqjax.reports.compare import compare_runs
from vqjax.reports.compare_page import strips_of, write_comparison
from vqjax.reports.compare_table import (
    Row,
    columns_of,
    json_row,
    markdown_table,
    names_of,
    page_table,
    quantizer_text,
    text_table,
)
from vqjax.reports.history import read_record
from vqjax.runs.evaluate import evaluate_run
from vqjax.tasks import TokenizerTask
from vqjax.types import DataError, Level, UsageError


@pytest.fixture
def row(trained_records, trust):
    return Row.of(read_record(trained_records, trust), "a")


def with_levels(row, levels, **numbers):
    """`row` with other levels of tokens and, beside PSNR, these numbers ("_" stands for "/")."""
    footprint = dataclasses.replace(row.sizes, levels=levels)
    record = dataclasses.replace(row.record, footprint=footprint)
    given = {"psnr": 20.0} | {name.replace("__", "/"): v for name, v in numbers.items()}
    return dataclasses.replace(row, record=record, numbers=given)


def written(run, path, *lines):
    """A copy of a run with these lines of metrics."""
    shutil.copytree(run, path)
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def evaluation(step, **changes):
    line = {"kind": "eval", "step": step, "psnr": 12.5, "ssim": 0.5, "codebook_usage": 0.5}
    return {k: v for k, v in (line | {"perplexity": 3.0} | changes).items() if v is not None}


def test_what_training_wrote_down_is_taken(run_dir, trust, tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "_evaluated", lambda *_: 1 // 0)
    run = written(run_dir, tmp_path / "a", evaluation(2), evaluation(4))
    (row,) = compare_runs([run], trust=trust).rows
    assert row.numbers["psnr"] == 12.5 and (row.step, row.params) == (4, "raw")
    assert compare_runs([run], trust=trust, params="raw").rows == (row,)


@pytest.mark.parametrize(
    ("lines", "options"),
    [
        ([], {}),
        ([evaluation(3)], {}),  # older than the checkpoint
        ([evaluation(4, perplexity=None)], {}),
        ([evaluation(4, ssim=math.nan)], {}),
        ([evaluation(4)], {"evaluate": True}),
    ],
)
def test_otherwise_the_checkpoint_is_evaluated(run_dir, trust, tmp_path, lines, options):
    run = written(run_dir, tmp_path / "a", *lines)
    before = sorted(run.rglob("*"))
    said = []
    (row,) = compare_runs([run], trust=trust, say=said.append, **options).rows
    assert row.numbers == evaluate_run(run_dir, trust=trust)[1].numbers and row.step == 4
    assert said == ["a: evaluating"] and sorted(run.rglob("*")) == before
    assert len(row.sheet.bands("originals")) == len(row.sheet.bands("reconstructions")) == 2


def test_the_parameters_asked_for_are_those_evaluated(make_run, trust, tmp_path):
    averaged = make_run(small_experiment(SmallSource(), ema_decay=0.9))
    run = written(averaged, tmp_path / "a", evaluation(4))
    said = []
    compared = compare_runs([run], trust=trust, say=said.append)
    assert compared.rows[0].params == "ema" and said == []
    assert compared.notes == ("averaged parameters (ema) of all runs",)
    compared = compare_runs([run], trust=trust, params="raw", say=said.append)
    assert compared.rows[0].params == "raw" and said and compared.notes == ()


def test_mistakes_name_the_run(run_dir, trust, tmp_path):
    with pytest.raises(DataError, match="nowhere is not a run directory"):
        compare_runs([run_dir, tmp_path / "nowhere"], trust=trust)
    with pytest.raises(UsageError, match=f"{run_dir}: this run keeps no averaged"):
        compare_runs([run_dir], trust=trust, params="ema")
    begun = tmp_path / "begun"
    begun.mkdir()
    shutil.copy(run_dir / "experiment.json", begun)
    with pytest.raises(DataError, match="no evaluation and no sealed checkpoint"):
        compare_runs([begun], trust=trust)


def test_runs_on_other_data_and_unfinished_ones_are_noted(make_run, run_dir, trust, tmp_path):
    other = make_run(small_experiment(SmallSource(count=7), total_steps=9))
    runs = [
        written(run, tmp_path / name, evaluation(4)) for run, name in [(run_dir, "a"), (other, "b")]
    ]
    compared = compare_runs(runs, trust=trust)
    assert compared.notes == (
        "b is evaluated on other data than a: count: 11 -> 7",
        "b is at step 4 of 9",
    )
    assert not compared.same_data and compare_runs(runs[:1], trust=trust).same_data
    unreadable = compare_runs(runs[:1])  # without trust
    assert "--trust" in unreadable.notes[0] and unreadable.rows[0].numbers["psnr"] == 12.5
    assert not unreadable.same_data
    assert text_table(unreadable.rows, columns_of(unreadable.rows)).count("12.50") == 1


def on_data(name, data):
    record = types.SimpleNamespace(experiment=tiny.vqvae(data=data), unreadable="")
    return Row(name, record, {}, 0)


def test_a_folder_that_is_read_in_another_way_is_said_to_be():
    old = Folder("a", 8, reading=1, formats=("png",))
    changes = {"old": {}, "new": {"reading": 2, "formats": ("jpeg",)}, "other": {"path": "b"}}
    rows = [on_data(name, dataclasses.replace(old, **change)) for name, change in changes.items()]
    reread, other = compare.notes_on_data(rows)
    way = "new reads its folder in another way than old, perhaps other pictures: reading: 1 -> 2"
    assert reread.startswith(way)
    assert other.startswith("other is evaluated on other data than old: path")


def test_flips_and_places_do_not_make_other_data():
    arrays = tiny.arrays()
    augments = {"plain": (), "flipped": (RandomFlip(),), "cut": (CenterCrop(4),)}
    rows = [on_data(k, dataclasses.replace(arrays, augment=v)) for k, v in augments.items()]
    assert compare.notes_on_data(rows[:2]) == []
    (note,) = compare.notes_on_data(rows)
    assert note.startswith("cut is evaluated on other data than plain: augment")
    rows = [on_data("a", TFDS("mnist", data_dir="/a")), on_data("b", TFDS("mnist", cache_bytes=0))]
    assert compare.notes_on_data(rows) == []


def test_what_was_written_down_stands_where_no_evaluation_can_be_made(
    run_dir, trust, tmp_path, monkeypatch
):
    def gone(*_):
        raise DataError("the data is gone")

    monkeypatch.setattr(compare, "_evaluated", gone)
    old, none = written(run_dir, tmp_path / "a", evaluation(3)), written(run_dir, tmp_path / "b")
    compared = compare_runs([old], trust=trust)
    assert compared.rows[0].numbers["psnr"] == 12.5
    assert compared.notes == (
        "a: the numbers of step 3, for now: the data is gone",
        "a is at step 3 of 4",
    )
    for runs, options in ([none], {}), ([old], {"evaluate": True}), ([old], {"params": "ema"}):
        with pytest.raises(DataError, match="the data is gone"):
            compare_runs(runs, trust=trust, **options)


def test_what_is_no_run_is_skipped_among_several_and_a_typo_is_not(
    run_dir, trust, tmp_path, capsys
):
    run = written(run_dir, tmp_path / "a", evaluation(4))
    page = tmp_path / "compare.html"
    words = ["compare", str(run), "--trust", *trust]
    for _ in range(2):  # the page of the first time is among the runs of the second
        assert main([*words, *map(str, tmp_path.glob("*.html"))]) == 0
        assert page.exists()
    assert f"{page} is not a run directory: skipped" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "typo")]) == 3
    assert main(["compare", str(page)]) == 3
    assert main([*words, "--out", str(page / "under.html")]) == 2
    assert f"{page} is not a folder" in capsys.readouterr().err


def test_names_are_as_short_as_they_can_be(trained_records, trust, tmp_path):
    record = read_record(trained_records, trust)
    paths = [tmp_path / p for p in ("x/a", "y/a", "y/b", "y/b")]
    records = [dataclasses.replace(record, path=path) for path in paths]
    assert names_of(records) == ["x/a", "y/a", "b", "b"]


def test_a_quantizer_is_written_without_its_defaults():
    def text(quantizer):
        tokenizer = small_experiment(SmallSource()).task.tokenizer.clone(quantizer=quantizer)
        return quantizer_text(TokenizerTask(tokenizer=tokenizer, loss_weights={}))

    assert text(VectorQuantizer(512, 64)) == "VectorQuantizer(512, 64)"
    made = VectorQuantizer(codebook_size=8, codebook_dim=3, start=KMeans(samples=4), decay=0.5)
    assert text(made) == "VectorQuantizer(8, 3, start=KMeans(samples=4), decay=0.5)"
    assert text(EMAVectorQuantizer(8, 3, revival=None)) == "EMAVectorQuantizer(8, 3, revival=None)"
    assert quantizer_text(object()) is None


def test_numbers_over_levels(row):
    levels = (Level("top", (2, 2), 16), Level("bottom", (4, 4), 64))
    numbers = {"perplexity__top": 4.0, "perplexity__bottom": 36.0, "codebook_usage__top": 1.0}
    two = with_levels(row, levels, codebook_usage__bottom=0.75, **numbers)
    found = json_row(two)
    assert found["perplexity"] == pytest.approx(12.0)
    assert found["perplexity_share"] == pytest.approx(12.0 / 32.0)
    assert found["codebook_usage"] == 0.75
    assert found["tokens"] == 20 and found["bits"] == 4 * 4 + 16 * 6
    assert found["bits_per_token"] == pytest.approx(112 / 20)
    assert found["bits_per_pixel"] == pytest.approx(112 / 64)


def test_without_tokens_there_are_dashes(row):
    plain = with_levels(row, (), elbo=-99.0, codebook_usage=0.0, codebook_alive=3.0)
    found = json_row(plain)
    names = ("tokens", "bits", "bits_per_token", "bits_per_pixel", "codebook_usage", "perplexity")
    assert all(found[name] is None for name in (*names, "perplexity_share"))
    rows = [dataclasses.replace(row, name="b"), plain]
    text = markdown_table(rows, columns_of(rows)).splitlines()
    head, first, second = (
        [c.strip() for c in line.split("|")[1:-1]] for line in text[:1] + text[2:]
    )
    assert second[head.index("Perplexity")] == "–" != first[head.index("Perplexity")]
    assert second[head.index("elbo")] == "-99" and first[head.index("elbo")] == "–"
    assert not any("alive" in title for title in head)
    assert "elbo" not in markdown_table(rows[:1], columns_of(rows[:1]))
    assert "Perplexity" not in markdown_table([plain], columns_of([plain]))


def test_rate_and_time_are_those_of_training(row, tmp_path, trained_records, trust):
    lines = (trained_records / "metrics.jsonl").read_text().splitlines()
    rates = iter([3.0, 100.0, 600.0, 110.0])
    timed = [json.loads(x) | {"examples_per_second": next(rates)} for x in lines[2:10:2]]
    record = dataclasses.replace(row.record, times=timed)
    assert record.rate == 110.0  # the median without the first
    assert dataclasses.replace(record, times=timed[:1]).rate == 3.0
    assert dataclasses.replace(record, times=[]).rate is None
    found = json_row(row)
    step, _ = row.record.reached()
    assert found["seconds"] == 108.25 and found["seconds_to_95"] == 8.25 + step / 4


def test_tables_say_the_same(row):
    rows = [row, dataclasses.replace(row, name="b|c", numbers={**row.numbers, "psnr": 29.126})]
    text = text_table(rows, columns_of(rows)).splitlines()
    assert len(text) == 5 and len({len(line) for line in text[1:]}) == 1
    marks = markdown_table(rows, columns_of(rows)).splitlines()
    assert len(marks) == 4 and "b\\|c" in marks[3]
    page = part("table", page_table(rows, columns_of(rows)))
    plain = part("table", page_table(rows, columns_of(rows), ranked=False))
    for shown in ("29.13", "VectorQuantizer(8, 3)", "0.750", "1.80"):
        places = (text[-1], marks[-1], page.replace("<wbr>", ""))
        assert all(shown in place for place in places), shown
    assert 'best">29.13' in page and "best" not in plain


def test_a_number_that_is_none_is_null(row):
    bad = dataclasses.replace(row, numbers={"psnr": math.nan, "ssim": math.inf, "l1": "x"})
    found = json.loads(json.dumps(json_row(bad), allow_nan=False))
    assert found["psnr"] is None and found["numbers"] == {"psnr": None, "ssim": None, "l1": None}


@pytest.mark.parametrize("seed", range(4))
def test_no_label_covers_another_or_a_point(seed):
    rng = np.random.default_rng(seed)
    points = [Point("run " * rng.integers(1, 6), *rng.choice(9, 2) / (4.0, 1.0)) for _ in range(14)]
    points += [Point("the same", 0.5, 5.0)] * 3 + [
        Point("no", None, y, "no tokens") for y in (4, 5)
    ]
    x = _scale([p.x for p in points if p.x is not None], 60, 736)
    y = _scale([p.y for p in points], 374, 12)
    boxes = [label.box for label in labels_of(points, x, y)]
    dots = [
        Box(x(p.x) - DOT, y(p.y) - DOT, x(p.x) + DOT, y(p.y) + DOT)
        for p in points
        if p.x is not None
    ]
    for i, box in enumerate(boxes):
        assert all(box.overlap(other) == 0 for other in boxes[i + 1 :] + dots)


def test_the_plot_is_whole_and_escaped():
    points = [
        Point("<a>", 0.25, 20.0),
        Point("b", 0.25, 20.0),
        Point("<c>", None, 30.0, "no tokens"),
    ]
    text = part("chart", scatter("t", points, "bits per pixel", "PSNR, dB"))
    _check(text)
    assert "&lt;c&gt;, no tokens" in text and text.count("<circle") == 2
    assert scatter("t", points[2:], "x", "y") is None
    far = [Point("a" * 300, 0.01, 1.0), Point("b", 9.0, 1.0)]
    _check(part("chart", scatter("t", far, "x", "y")))
    for y in (1e60, 5e-324, 0.0):
        odd = [Point("a", 1.0, y), Point("b", 1.0, -y)]
        _check(part("chart", scatter("t", odd, "x", "y")))


def test_the_page_shows_the_same_pictures_through_each_run(trained_records, trust, tmp_path):
    runs = [tmp_path / "one", tmp_path / "two"]
    for run in runs:
        shutil.copytree(trained_records, run)
    Image.new("RGB", (9, 9)).save(runs[1] / "samples" / "prior_00000400.png")
    compared = compare_runs(runs, trust=trust)
    path = write_comparison(compared, tmp_path / "page.html", trust=trust)
    text = path.read_text()
    parsed = _check(text)
    assert parsed.tags.count("img") == 3 + 1  # originals, two runs; and the prior's
    assert "Samples" in parsed.text and "prior_00000400" in parsed.text
    assert "one" in parsed.text and "Rate and distortion" in parsed.text
    assert len(re.findall("<circle", text)) == 2
    single = compare_runs(runs[:1], trust=trust)
    assert "<h1>one</h1>" in comparison_page(single, [])


def drawn(run, path, source):
    """A copy of a run with a picture of training: black reconstructions of its eval split."""
    written(run, path, evaluation(4))
    (path / "samples").mkdir()
    images = np.stack([source.example(i) for i in range(source.count)])
    sheet = Gallery({"originals": images, "reconstructions": 0 * images}).sheet()
    (path / "samples" / "00000004.png").write_bytes(png_file(sheet))
    return path


def test_a_sheet_of_an_older_version_is_shown_whole(run_dir, trust, tmp_path):
    """Nothing tells what lies where on it, and nobody guesses."""
    runs = [drawn(run_dir, tmp_path / name, SmallSource()) for name in "ab"]
    plain = runs[1] / "samples" / "00000004.png"
    Image.open(plain).copy().save(plain)  # without what it says of itself
    rows = compare_runs(runs, trust=trust).rows
    (strip,) = strips_of(rows, "auto", trust, lambda line: None)
    assert [row.name for row, _ in strip.through][0] == "a"
    alone = compare_runs(runs[1:], trust=trust)
    assert strips_of(alone.rows, "auto", trust, lambda line: None) == []
    text = comparison_page(alone, [])
    assert _check(text).tags.count("img") == 1


@pytest.mark.slow
def test_pictures_of_other_originals_are_made_anew(make_run, run_dir, trust, tmp_path):
    """A run on pictures of another size takes the first run's; one of three channels cannot."""
    sources = [SmallSource(), SmallSource(shape=(12, 8, 1)), SmallSource(shape=(8, 8, 3))]
    runs = [run_dir, *(make_run(small_experiment(source)) for source in sources[1:])]
    runs = [drawn(r, tmp_path / n, s) for r, n, s in zip(runs, "abc", sources, strict=True)]
    said = []
    compared = compare_runs(runs, trust=trust, say=said.append)
    first, other = strips_of(compared.rows, "auto", trust, said.append)
    assert [row.name for row, _ in first.through] == ["a", "b"]
    assert [row.name for row, _ in other.through] == ["c"] and other.of == "c"
    images = np.stack([SmallSource().example(i) for i in range(11)])
    np.testing.assert_array_equal(
        first.originals, Gallery({"a": images, "b": images}).sheet().bands("a")[0]
    )
    assert first.through[1][1].shape == first.originals.shape
    assert (first.through[1][1] != first.through[0][1]).any()
    assert len(said) == 1 and "c: its own pictures are shown: images: 1 channels" in said[0]
