"""A report as somebody reads it who knows nothing of the run: what it is, what its numbers mean,
and whether it fits the window.
"""

import dataclasses
import re

import pytest

from tests import tiny
from tests.reports.parts import CSS, comparison_page, page, part
from tests.reports.report_test import _check
from vqjax import numbers
from vqjax.media.chart import ON_PAGE, Series, line_chart
from vqjax.reports.compare import Comparison
from vqjax.reports.compare_table import Row, columns_of, page_table
from vqjax.reports.history import read_record
from vqjax.reports.legend import READING
from vqjax.reports.tables import numbers_table


@pytest.fixture
def tokenizer(trained_records, trust):
    return read_record(trained_records, trust)


@pytest.fixture
def prior(tokenizer, tmp_path):
    """A prior of 40 steps of 90, better at step 20 than at step 40."""
    numbers = [(20, 3.25, 1.125), (40, 3.5, 1.25)]
    keys = ("step", "nats_per_token", "bits_per_dim")
    evals = [{"kind": "eval", **dict(zip(keys, line, strict=True))} for line in numbers]
    train = [{"kind": "train", "step": s, "nll": 4.0 - s / 50, "total": 4.0 - s / 50}
             for s in (20, 40)]  # fmt: skip
    (tmp_path / "gpt").mkdir()
    return dataclasses.replace(
        tokenizer,
        path=tmp_path / "gpt",
        name="gpt",
        experiment=tiny.token_prior(total_steps=90),
        evals=evals,
        train=train,
        times=[],
        samples=[],
    )


def lead(text):
    """The sentences under the page's title."""
    return re.search(r'<header>.*?<p class="lead">(.*?)</p></header>', text)[1]


def cells(markup):
    """{first cell of a row: the others}."""
    rows = re.findall(r"<tr>(.*?)</tr>", markup)
    found = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    return {row[0]: row[1:] for row in found if row}


def test_a_page_begins_with_one_sentence_that_says_what_it_is(tokenizer, prior):
    assert lead(page([tokenizer])) == (
        "This page shows what came of training digits &lt;b&gt;vqgan&lt;/b&gt; &amp; co: a "
        "tokenizer that learns to turn pictures from SmallSource (8 × 8 × 1 values) into 4 × 4 "
        "tokens of 8 codes, 10.7 times smaller, and back; all 400 steps are done."
    )
    assert lead(page([prior])) == (
        "This page shows what came of training gpt: a prior that learns to make new pictures like "
        "those in Arrays (8 × 8 × 1 values), conditioned on the class, by drawing 4 × 4 tokens of "
        "8 codes of the tokenizer nowhere; 40 of 90 steps are done."
    )
    both = lead(page([prior, tokenizer]))
    assert both.startswith("This page shows 2 training runs of vqjax: ") and both.count(". ") == 0
    assert "(all 400 steps are done); and gpt, a prior" in both
    many = lead(page([tokenizer, prior, prior, prior]))
    assert many == (
        "This page shows 4 training runs of vqjax: 1 tokenizer and 3 priors, trained on "
        "SmallSource and Arrays; 1 of them is done."
    )


@pytest.mark.parametrize(
    ("experiment", "words"),
    [
        (tiny.classifier(), "a classifier that learns to tell the class of examples from Digits;"),
        (tiny.vae(), "a tokenizer that learns to turn examples from Arrays into tokens and back;"),
        (None, "a run whose experiment cannot be read (why is said at its end);"),
    ],
    ids=("classifier", "vae", "unreadable"),
)
def test_every_kind_of_run_can_be_told(tokenizer, experiment, words):
    record = dataclasses.replace(tokenizer, experiment=experiment, footprint=None, train=[])
    assert words in lead(page([record])) and lead(page([record, record])).endswith(").")


def test_of_a_run_that_cannot_be_read_its_numbers_say_what_it_is(tokenizer):
    unread = dataclasses.replace(tokenizer, experiment=None, footprint=None)
    assert unread.reconstructs and unread.shows == "Reconstructions"
    evals = [{"kind": "eval", "step": 10, "velocity": 0.5, "speed": 2.0}]
    other = dataclasses.replace(unread, evals=evals)
    assert not other.reconstructs and other.shows == "Pictures"
    assert other.headline == ("velocity", "speed")
    assert "PSNR" not in page([other]) and "Reconstructions" not in page([other])


def test_a_tokenizer_comes_before_its_prior(tokenizer, prior):
    for records in ([prior, tokenizer], [tokenizer, prior]):
        heads = re.findall(r'<h2 class="run">(.*?)</h2>', page(records))
        assert heads == ["digits &lt;vqgan&gt; &amp; co", "gpt"]


def test_best_is_best_in_every_number(prior):
    shown = cells(part("table", numbers_table(prior)))
    assert shown["Nats per token"] == ["3.5000", "3.2500", "20"]
    assert shown["Bits per dimension"] == ["1.2500", "1.1250", "20"]
    numbers = {"psnr": 20, "ssim": 0.5, "accuracy": 0.5, "nll_bound": 9, "cross_entropy": 2,
               "lpips": 0.5, "l1": 0.5, "mse": 0.5, "high_frequency_ratio": 0.75,
               "sample_diversity": 1.25, "perplexity": 9, "mine": 1}  # fmt: skip
    worse = {name: value + 0.5 for name, value in numbers.items()}
    evals = [{"step": 1, **numbers}, {"step": 2, **worse}]
    shown = cells(part("table", numbers_table(dataclasses.replace(prior, evals=evals))))
    at_step = {name: row[2] for name, row in shown.items()}
    higher = ("PSNR, dB", "SSIM", "Accuracy, %")
    assert {name: step for name, step in at_step.items() if step == "2"}.keys() == {*higher}
    assert at_step["Perplexity"] == at_step["mine"] == "–"
    assert list(at_step.values()).count("1") == 7


def test_rankings_of_runs_and_of_steps_know_the_same_directions(prior):
    rows = [Row.of(dataclasses.replace(prior, evals=[line]), "a") for line in prior.evals]
    assert 'best">3.25<' in part("table", page_table(rows, columns_of(rows)))
    direction = lambda name: numbers.described(name).best  # noqa: E731
    for column in columns_of(rows):
        assert column.best == direction(column.key), column.key
    assert set(numbers.IN_WORDS) >= {n.best for n in numbers.NUMBERS.values()} - {None}


def test_the_glossary_explains_what_is_on_the_page_and_nothing_else(tokenizer, prior):
    def explained(text):
        assert text.count('class="reading"') == 1
        return re.findall(r"<dt>(.*?)</dt>", text[text.index('class="reading"') :])

    assert explained(page([prior])) == [
        "Nats per token", "Bits per dimension", "Loss nll", "Loss total", "Bits", "Parameters"
    ]  # fmt: skip
    names = explained(page([tokenizer]))
    assert "PSNR, dB" in names and "Loss commitment" in names and "95% after" in names
    assert not {"Nats per token", "LPIPS", "Loss nll", "Accuracy, %"} & {*names}
    assert len(explained(page([prior, tokenizer]))) == len({*names, *explained(page([prior]))})
    names = explained(page([tokenizer, tokenizer]))  # with a table of both
    assert "High-frequency ratio (HF ratio)" in names and "of K, %" in names
    duel = [line | {"generator": 1.0, "discriminator": 0.5} for line in tokenizer.train]
    record = dataclasses.replace(tokenizer, experiment=tiny.vqgan(), train=duel)
    names = explained(page([record]))
    assert "Loss generator" in names and "Loss total" not in names  # it is not drawn
    begun = dataclasses.replace(tokenizer, evals=[], train=[], footprint=None)
    assert 'class="reading"' not in page([begun])


def test_pages_share_their_words(tokenizer):
    rows = tuple(Row.of(tokenizer, name) for name in "ab")
    compared = comparison_page(Comparison(rows, (), True), [])
    meaning = numbers.NUMBERS["high_frequency_ratio"].help
    assert ("HF ratio", meaning) in READING
    for text in (compared, page([tokenizer])):
        assert meaning[1:] in text and _check(text).tags.count("dl") >= 1


def test_curves_of_the_same_numbers_are_one(prior):
    points = [(1.0, 2.0), (2.0, 1.0)]
    near = [(x, y * (1 + 1e-8)) for x, y in points]
    other = [(1.0, 2.0), (2.0, 1.001)]
    series = [Series("nll", points), Series("total", near), Series("l1", other)]
    text = part("chart", line_chart("t", series, "x", "y"))
    assert text.count("<polyline") == 2 and text.count("<li>") == 2 and "nll = total <b>" in text
    two = line_chart("t", [series[0], Series("a", points[:1])], "x", "y")
    assert two.svg.count("<polyline") == 2
    assert "nll = total" in page([prior])


def test_all_charts_are_drawn_and_shown_at_one_scale(tokenizer, prior):
    for record, count in ((tokenizer, 5), (prior, 2)):
        text = page([record])
        boxes = re.findall(r'<svg viewBox="([^"]*)" role="img"', text)
        assert boxes == [f"0 0 {ON_PAGE[0]} {ON_PAGE[1]}"] * count
    # A chart that stands alone keeps its column's width: auto-fit would give it the whole page.
    assert "auto-fill" in re.search(r"\.charts\{[^}]*\}", CSS)[0]


def test_a_prior_shows_what_it_is_judged_by(prior):
    assert "-log p, on the eval split" in page([prior])


def test_nothing_is_broader_than_a_telephone(tokenizer, prior):
    """What cannot get narrower is in a box that scrolls, and nothing has a fixed least width."""
    text = page([prior, tokenizer])
    for table in re.finditer("<table>", text):
        assert text[: table.start()].endswith(('<div class="wide">', '<div class="wide compact">'))
    for kind in (".wide", ".scroll", "pre"):
        assert re.search(rf"(?m)^[^@\n]*{re.escape(kind)}\{{[^}}]*overflow-x:auto", CSS), kind
    assert ".sheet img{display:block;width:100%;height:auto;image-rendering:pixelated" in CSS
    least = re.findall(r"minmax\((\d+px|min\([^)]*\))", CSS)
    assert all(width.startswith("min(100%,") or int(width[:-2]) <= 136 for width in least)
    names = re.search(r"([^\n{]*)\{overflow-wrap:anywhere\}", CSS)[1].split(",")
    assert {"h1", "h2", "p", "figcaption", "footer"} <= {*names}  # a name may have no space
    phone = CSS[CSS.index("@media (max-width:640px)") :]
    assert "svg text,.charts svg .note{font-size:17px}" in phone
