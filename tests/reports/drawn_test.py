"""Pictures that were asked for come first, each column under what it is of."""

import re

import numpy as np
import pytest

from tests.reports.parts import page
from tests.reports.report_test import HOSTILE, _check
from vqjax.media.gallery import lay, png_file
from vqjax.reports import drawn as module
from vqjax.reports.history import read_record
from vqjax.runs.drawn import conditions_in_names, picture_name


def pictures(count, size=8):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 120, (size, size, 3)).astype(np.uint8) for _ in range(count)]


def written(run, verb, drawn, columns, said, kinds=(), seed=0):
    """A sheet as a verb leaves it."""
    sheet = lay([drawn[i : i + columns] for i in range(0, len(drawn), columns)])
    path = run / "samples" / picture_name(verb, 400, seed, None, conditions_in_names(kinds))
    path.write_bytes(png_file(sheet, said))
    return path


def headings(run, trust):
    """(columns, text) of every heading on the page."""
    text = page([read_record(run, trust)])
    _check(text)
    return re.findall(r'<span style="grid-column:span (\d+)"[^>]*>(.*?)</span>', text)


def test_pictures_come_first_and_say_whose_they_are(trained_records, trust):
    written(trained_records, "sample", pictures(4), 2, "a cat, a dog", ["a cat", "a dog"])
    record = read_record(trained_records, trust)
    text = page([record])
    assert text.index("Drawn to order") < text.index('class="facts"') < text.index("<h2>Recons")
    text = page([record, record])
    places = [text.index(x) for x in ("Drawn to order", "Side by side", '<h2 class="run">')]
    assert places == sorted(places)
    assert re.search(r'Samples <small><a href="#run-0">', text)


def test_each_prompt_or_class_heads_its_column(trained_records, trust):
    drawn = pictures(6)
    written(trained_records, "sample", drawn, 3, "a, b, c", ["a", "b", "c"])
    assert headings(trained_records, trust) == [("1", "a"), ("1", "b"), ("1", "c")]
    written(trained_records, "sample", drawn, 3, "3, -1, 7", [3, -1, 7], seed=1)
    assert headings(trained_records, trust)[3:] == [
        ("1", "class 3"), ("1", "no class"), ("1", "class 7")
    ]  # fmt: skip


@pytest.mark.parametrize("kinds", [["a, b"], ["a, b", "c"], [HOSTILE]], ids=str)
def test_a_comma_in_a_prompt_makes_no_columns(trained_records, trust, kinds):
    said = ", ".join(kinds)
    written(trained_records, "sample", pictures(4), 2, said, kinds)
    ((count, text),) = headings(trained_records, trust)
    assert count == "2"
    assert text.replace(" · ", ", ") == said.replace("<", "&lt;").replace(">", "&gt;")


def test_an_edit_shows_the_original_the_mask_and_the_results(trained_records, trust):
    said = "the original, the mask, results, a cat"
    written(trained_records, "edit-inpaint", pictures(4), 4, said, ["a cat"])
    assert headings(trained_records, trust) == [
        ("1", "original"), ("1", "mask"), ("2", "edited: a cat")
    ]  # fmt: skip
    written(trained_records, "edit-upscale", pictures(3), 3, "the original, results")
    assert headings(trained_records, trust)[3:] == [("1", "original"), ("2", "upscaled")]


def test_results_in_several_rows_stay_under_their_heading(tmp_path):
    drawn = pictures(9)
    sheet = lay([drawn[:4], drawn[4:8], drawn[8:]])
    path = tmp_path / "edit-inpaint_00000400_seed0.png"
    said = "the original, the mask, results"
    shown, heads = module._headed(path, sheet, said)
    assert heads == [("original", 1), ("mask", 1), ("edited", 2)]
    blank = np.full_like(drawn[0], 128)
    rows = [drawn[:4], [blank, blank, *drawn[4:6]], [blank, blank, *drawn[6:8]]]
    np.testing.assert_array_equal(shown, lay([*rows, [blank, blank, drawn[8]]]).image)


def test_what_has_no_known_columns_has_no_headings(trained_records, trust, tmp_path):
    for name, said in (("mine", "a, b"), ("interpolation_00000400", "x"), ("sample_00000400", "")):
        (trained_records / "samples" / f"{name}.png").write_bytes(
            png_file(lay([pictures(2)]), said)
        )
    (trained_records / "samples" / "plain.png").write_bytes(png_file(pictures(1)[0], "a"))
    (trained_records / "samples" / "torn.png").write_bytes(b"\x89PNG")
    assert headings(trained_records, trust) == []
    text = page([read_record(trained_records, trust)])
    assert text.count('class="headed"') == 4
    words = "the original, results"
    path = tmp_path / "edit-upscale_00000400_seed0.png"
    assert module._headed(path, lay([pictures(1)]), words)[1] == []
